"""`volstore plugin`: storage plugins and their health, and a small plugin of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from volstore.cli.arguments import Group, complete_ids, connected, output_options
from volstore.cli.output import Form, complain, echo, failing, fields, only_match, table
from volstore.cli.paging import NOT_PAGED, Paging, list_options
from volstore.cli.plugin_dir import plugin_dir
from volstore.cli.volume import show_allocations
from volstore.client import Client, HttpError, segment


@click.group(cls=Group)
def plugin() -> None:
    """Inspect storage plugins, and run a small one."""


plugin.add_command(plugin_dir)


@plugin.command()
@click.argument(
    "plugin_id", metavar="[ID]", required=False, shell_complete=complete_ids("/v1/plugins", prefixes=False, type="csi")
)
@click.option("--type", "kind", type=click.Choice(["csi"]), default="csi", help="volstore knows csi plugins only.")
@click.option("--short", is_flag=True, help="Omit allocations and instances.")
@click.option("--verbose", is_flag=True, help="Show whole IDs of allocations and nodes.")
@list_options
@output_options
@connected
def status(
    client: Client, paging: Paging, plugin_id: str | None, kind: str, short: bool, verbose: bool, form: Form
) -> None:
    """Show a plugin, or list all plugins.

    ID may be the beginning of an ID, if only one plugin matches.
    """
    if plugin_id is not None:
        if paging.given:
            raise click.UsageError("--filter and the options of pages are for lists; leave the ID out")
        shown = find_plugin(client, plugin_id, list_matches=form.for_people)
        if not form.prints(shown):
            show_plugin(shown, short=short, verbose=verbose)
        return
    plugins = _list(client, paging)
    if form.prints(plugins):
        return
    echo("Container Storage Interface")
    if plugins:
        _plugin_table(plugins)
    else:
        complain("No CSI plugins")


def _list(client: Client, paging: Paging = NOT_PAGED, prefix: str = "") -> Any:
    with failing("querying plugins"):
        return paging.fetch(client, "/v1/plugins", type="csi", prefix=prefix)


def _plugin_table(plugins: Sequence[dict[str, Any]]) -> None:
    table(
        ["ID", "Provider", "Controllers Healthy/Expected", "Nodes Healthy/Expected"],
        [
            [
                item["ID"],
                item.get("Provider"),
                f"{item.get('ControllersHealthy', 0)}/{item.get('ControllersExpected', 0)}",
                f"{item.get('NodesHealthy', 0)}/{item.get('NodesExpected', 0)}",
            ]
            for item in plugins
        ],
    )


def find_plugin(client: Client, plugin_id: str, *, list_matches: bool) -> Any:
    """The plugin with this ID, otherwise the only one whose ID begins with it.

    Raises Failed; with `list_matches` several matches are printed first.
    """
    with failing("querying plugin"):
        try:
            return client.get(f"/v1/plugin/csi/{segment(plugin_id)}")
        except HttpError as error:
            if error.status != 404:
                raise
    matches = [item for item in _list(client, prefix=plugin_id) if item["ID"].startswith(plugin_id)]
    found = only_match(matches, plugin_id, "plugin", _plugin_table if list_matches else None)
    with failing("querying plugin"):
        return client.get(f"/v1/plugin/csi/{segment(found['ID'])}")


def show_plugin(item: dict[str, Any], *, short: bool = False, verbose: bool = False) -> None:
    """Print a plugin, in Nomad's order. Servers that don't count expected instances list all of them."""
    controllers, nodes = item.get("Controllers") or {}, item.get("Nodes") or {}
    fields(
        [
            ("ID", item["ID"]),
            ("Provider", item.get("Provider")),
            ("Version", item.get("Version")),
            ("Controllers Healthy", item.get("ControllersHealthy", 0)),
            ("Controllers Expected", item.get("ControllersExpected", len(controllers))),
            ("Nodes Healthy", item.get("NodesHealthy", 0)),
            ("Nodes Expected", item.get("NodesExpected", len(nodes))),
        ]
    )
    if not short:
        show_allocations(item.get("Allocations"), verbose=verbose)
        _show_instances("Controllers", controllers, verbose=verbose)
        _show_instances("Nodes", nodes, verbose=verbose)


def _show_instances(title: str, instances: dict[str, dict[str, Any]], *, verbose: bool) -> None:
    if not instances:
        return
    width = None if verbose else 8
    echo()
    echo(title)
    table(
        ["Node ID", "Healthy", "Version", "Alloc ID", "Description"],
        [
            [
                node_id[:width],
                seen.get("Healthy", False),
                seen.get("ProviderVersion"),
                seen.get("AllocID", "")[:width],
                seen.get("HealthDescription"),
            ]
            for node_id, seen in sorted(instances.items())
        ],
    )
