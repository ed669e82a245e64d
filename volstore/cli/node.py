"""`volstore node`: client nodes, their plugins, and the volumes claimed on them."""

from __future__ import annotations

from typing import Any

import click

from volstore.cli.arguments import Group, complete_ids, connected, output_options
from volstore.cli.node_agent import COMMANDS
from volstore.cli.node_plugins import node_plugins
from volstore.cli.output import Form, echo, failing, fields, only_match, table
from volstore.cli.paging import Paging, list_options
from volstore.client import Client, segment


@click.group(cls=Group)
def node() -> None:
    """Inspect client nodes, and the plugins on this host."""


node.add_command(node_plugins)
for _command in COMMANDS:
    node.add_command(_command)


@node.command()
@click.argument("node_id", metavar="[ID]", required=False, shell_complete=complete_ids("/v1/nodes"))
@click.option("--short", is_flag=True, help="Omit plugins and volumes.")
@click.option("--verbose", is_flag=True, help="Show whole IDs of nodes.")
@list_options
@output_options
@connected
def status(client: Client, paging: Paging, node_id: str | None, short: bool, verbose: bool, form: Form) -> None:
    """Show a node, or list all nodes.

    ID may be the beginning of an ID, if only one node matches.
    """
    if node_id is not None and paging.given:
        raise click.UsageError("--filter and the options of pages are for lists; leave the ID out")
    with failing("querying node"):
        if node_id is None:
            nodes = paging.fetch(client, "/v1/nodes")
            if not form.prints(nodes):
                _show_list(nodes, verbose=verbose)
            return
        found = only_match(matching_nodes(client, node_id), node_id, "node")
        shown = client.get(f"/v1/node/{segment(found['ID'])}")
        if not form.prints(shown):
            _show_node(client, shown, short=short)


def matching_nodes(client: Client, node_id: str) -> list[dict[str, Any]]:
    """The node with this ID, otherwise all nodes whose ID begins with it. Raises ClientError."""
    matches: list[dict[str, Any]] = client.get("/v1/nodes", prefix=node_id)
    return [item for item in matches if item["ID"] == node_id] or matches


def _show_list(nodes: list[dict[str, Any]], *, verbose: bool) -> None:
    if not nodes:
        echo("No nodes registered")
        return
    width = None if verbose else 8
    table(
        ["ID", "DC", "Name", "Class", "Drain", "Eligibility", "Status"],
        [
            [
                item["ID"][:width],
                item.get("Datacenter"),
                item.get("Name"),
                item.get("NodeClass"),
                item.get("Drain", False),
                item.get("SchedulingEligibility"),
                item.get("Status"),
            ]
            for item in nodes
        ],
    )


def _show_node(client: Client, item: dict[str, Any], *, short: bool) -> None:
    fields(
        [
            ("ID", item["ID"]),
            ("Name", item.get("Name")),
            ("Class", item.get("NodeClass")),
            ("DC", item.get("Datacenter")),
            ("Drain", item.get("Drain", False)),
            ("Eligibility", item.get("SchedulingEligibility")),
            ("Status", item.get("Status")),
            ("CSI Controllers", ", ".join(sorted(item.get("CSIControllerPlugins") or {}))),
            ("CSI Drivers", ", ".join(sorted(item.get("CSINodePlugins") or {}))),
        ]
    )
    if short:
        return
    for title, plugins in (("CSI Controllers", "CSIControllerPlugins"), ("CSI Drivers", "CSINodePlugins")):
        instances = sorted((item.get(plugins) or {}).items())
        if instances:
            echo()
            echo(title)
            table(
                ["Plugin ID", "Provider", "Version", "Healthy", "Description"],
                [
                    [
                        plugin_id,
                        seen.get("Provider"),
                        seen.get("ProviderVersion"),
                        seen.get("Healthy", False),
                        seen.get("HealthDescription"),
                    ]
                    for plugin_id, seen in instances
                ],
            )
    _show_volumes(client.get("/v1/volumes", type="csi", namespace="*", node_id=item["ID"]))


def _show_volumes(volumes: list[dict[str, Any]]) -> None:
    if not volumes:
        return
    echo()
    echo("Claimed Volumes")
    table(
        ["ID", "Namespace", "Plugin ID", "Readers", "Writers", "Access Mode"],
        [
            [
                item["ID"],
                item.get("Namespace"),
                item.get("PluginID"),
                item.get("CurrentReaders", 0),
                item.get("CurrentWriters", 0),
                item.get("AccessMode"),
            ]
            for item in volumes
        ],
    )
