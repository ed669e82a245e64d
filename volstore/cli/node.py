"""`volstore node`: the client nodes, their plugins, and the volumes that are claimed on them."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from volstore.cli.arguments import Group, completion_client, connected, output_options
from volstore.cli.node_plugins import node_plugins
from volstore.cli.output import Failed, echo, fields, print_by_template, print_json, read_template, table
from volstore.cli.paging import Paging, list_options
from volstore.client import Client, ClientError, segment


@click.group(cls=Group)
def node() -> None:
    """Inspect client nodes, and the plugins of this host."""


node.add_command(node_plugins)


def _complete_node(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(item["ID"]) for item in completion_client(ctx).get("/v1/nodes", prefix=incomplete)]
    except ClientError:  # there is nobody to tell: the shell is in the middle of a word
        return []


@node.command()
@click.argument("node_id", metavar="[ID]", required=False, shell_complete=_complete_node)
@click.option("--short", is_flag=True, help="Leave plugins and volumes out.")
@click.option("--verbose", is_flag=True, help="Whole IDs of nodes.")
@list_options
@output_options
@connected
def status(
    client: Client, paging: Paging, node_id: str | None, short: bool, verbose: bool, as_json: bool, template: str | None
) -> None:
    """Show a node, or list all of them.

    An ID that no node has is taken for the beginning of one.
    """
    parsed = read_template(as_json, template)
    if node_id is not None and paging.given:
        raise click.UsageError("--filter and the options of pages are for lists; leave the ID out")
    try:
        if node_id is None:
            shown = paging.fetch(client, "/v1/nodes")
        else:
            found = find_node(client, node_id)
            if found is None:
                raise Failed(f'No node(s) with prefix or ID "{node_id}" found')
            shown = client.get(f"/v1/node/{segment(found['ID'])}")
        if as_json:
            print_json(shown)
        elif parsed is not None:
            print_by_template(parsed, shown)
        elif node_id is None:
            _show_list(shown, verbose=verbose)
        else:
            _show_node(client, shown, short=short)
    except ClientError as error:
        raise Failed(f"Error querying node: {error}") from None


def find_node(client: Client, node_id: str) -> Any | None:
    """The node of that ID, else the only one whose ID begins so, None if none does. Raises Failed, ClientError."""
    matches = client.get("/v1/nodes", prefix=node_id)
    exact = [item for item in matches if item["ID"] == node_id]
    found = exact or matches
    if len(found) > 1:
        raise Failed(f'Prefix "{node_id}" matched multiple nodes ({len(found)}); give the whole ID')
    return found[0] if found else None


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
