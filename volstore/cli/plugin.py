"""`volstore plugin`: the storage plugins and their health, and one of our own."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from volstore.cli.arguments import Group, completion_client, connected, output_options
from volstore.cli.output import Failed, complain, echo, fields, print_by_template, print_json, read_template, table
from volstore.cli.paging import NOT_PAGED, Paging, list_options
from volstore.cli.plugin_dir import plugin_dir
from volstore.cli.volume import show_allocations
from volstore.client import Client, ClientError, HttpError, segment


@click.group(cls=Group)
def plugin() -> None:
    """Inspect storage plugins, and run a small one."""


plugin.add_command(plugin_dir)


def _complete_plugin(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        listed = completion_client(ctx).get("/v1/plugins", type="csi")
    except ClientError:  # there is nobody to tell: the shell is in the middle of a word
        return []
    return [CompletionItem(item["ID"]) for item in listed if item["ID"].startswith(incomplete)]


@plugin.command()
@click.argument("plugin_id", metavar="[ID]", required=False, shell_complete=_complete_plugin)
@click.option("--type", "kind", type=click.Choice(["csi"]), default="csi", help="Only csi plugins are known here.")
@click.option("--short", is_flag=True, help="Leave the allocations out.")
@click.option("--verbose", is_flag=True, help="Whole IDs of allocations and nodes.")
@list_options
@output_options
@connected
def status(
    client: Client,
    paging: Paging,
    plugin_id: str | None,
    kind: str,
    short: bool,
    verbose: bool,
    as_json: bool,
    template: str | None,
) -> None:
    """Show a plugin, or list all of them.

    An ID that no plugin has is taken for the beginning of one, as for volumes.
    """
    parsed = read_template(as_json, template)
    if plugin_id is None:
        shown = _list(client, paging)
    elif paging.given:
        raise click.UsageError("--filter and the options of pages are for lists; leave the ID out")
    else:
        shown = find_plugin(client, plugin_id, list_matches=not as_json and parsed is None)
    if as_json:
        print_json(shown)
    elif parsed is not None:
        print_by_template(parsed, shown)
    elif plugin_id is None:
        echo("Container Storage Interface")
        if shown:
            _plugin_table(shown)
        else:
            complain("No CSI plugins")
    else:
        show_plugin(shown, short=short, verbose=verbose)


def _list(client: Client, paging: Paging = NOT_PAGED, prefix: str = "") -> Any:
    try:
        return paging.fetch(client, "/v1/plugins", type="csi", prefix=prefix)
    except ClientError as error:
        raise Failed(f"Error querying plugins: {error}") from None


def _plugin_table(plugins: list[dict[str, Any]]) -> None:
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
    """The plugin of that ID, else the only one whose ID begins so. Raises Failed; many are listed if `list_matches`."""
    try:
        return client.get(f"/v1/plugin/csi/{segment(plugin_id)}")
    except HttpError as error:
        if error.status != 404:
            raise Failed(f"Error querying plugin: {error}") from None
    except ClientError as error:
        raise Failed(f"Error querying plugin: {error}") from None
    matches = [item for item in _list(client, prefix=plugin_id) if item["ID"].startswith(plugin_id)]
    if not matches:
        raise Failed(f'No plugin(s) with prefix or ID "{plugin_id}" found')
    if len(matches) > 1:
        if list_matches:
            _plugin_table(matches)
        raise Failed(f'Prefix "{plugin_id}" matched multiple plugins ({len(matches)}); give the whole ID')
    try:
        return client.get(f"/v1/plugin/csi/{segment(matches[0]['ID'])}")
    except ClientError as error:
        raise Failed(f"Error querying plugin: {error}") from None


def show_plugin(item: dict[str, Any], *, short: bool = False, verbose: bool = False) -> None:
    """A plugin for people, in Nomad's order. A server that doesn't count the expected instances shows them all."""
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
