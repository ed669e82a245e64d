"""`volstore node plugins`: asks CSI plugins on this host about themselves, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from volstore.cli.arguments import SingleDash
from volstore.cli.output import Failed, echo, print_json, table


def read_plugin(text: str) -> tuple[str, str]:
    """Split `ID=PATH` or `ID=unix://PATH` into a plugin's ID and socket. Raises click.BadParameter."""
    plugin_id, separator, socket = text.partition("=")
    path = socket.removeprefix("unix://")
    if not separator or not plugin_id or not path.startswith("/"):
        raise click.BadParameter(f"{text!r}: write it as ID=/path/of/csi.sock")
    return plugin_id, path


def _read_plugins(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    plugins = [read_plugin(text) for text in given]
    if len(dict(plugins)) != len(plugins):
        raise click.BadParameter("each plugin needs its own ID")
    return dict(plugins)


@click.command("plugins", cls=SingleDash)
@click.option(
    "--plugin", "plugins", multiple=True, required=True, metavar="ID=SOCKET", callback=_read_plugins,
    help="A plugin's ID and the path of its socket; repeat for others.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def node_plugins(plugins: dict[str, str], as_json: bool) -> None:
    """Ask CSI plugins on this host for their names and capabilities.

    The command dials their sockets as the node agent does, and changes nothing. The exit code is 1 if a plugin can't be
    used.
    """
    found = asyncio.run(_ask_all(plugins))
    if as_json:
        print_json(found)
    else:
        _show(found)
    if failed := [one["ID"] for one in found if not one["Healthy"]]:
        raise Failed(f"Error: {', '.join(failed)} can't be used")


async def _ask_all(sockets: dict[str, str]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_ask(plugin_id, socket) for plugin_id, socket in sorted(sockets.items()))))


async def _ask(plugin_id: str, socket: str) -> dict[str, Any]:
    from volstore.node.calls import CallFailed, Driver
    from volstore.node.fingerprint import BadDriver, probe, take_fingerprint

    driver = Driver(socket)
    try:
        seen = await take_fingerprint(driver)
        ready = await probe(driver)
    except (CallFailed, BadDriver) as error:
        return {"ID": plugin_id, "Socket": socket, "Healthy": False, "Description": str(error)}
    finally:
        driver.close()
    return {
        "ID": plugin_id,
        "Socket": socket,
        "Healthy": ready,
        "Description": "" if ready else "it is still starting",
        "Provider": seen.provider,
        "Version": seen.version,
        "Controller": seen.controller,
        "Node": seen.node,
        "ControllerCapabilities": sorted(seen.controller_rpcs),
        "NodeCapabilities": sorted(seen.node_rpcs),
        "PluginServices": sorted(seen.plugin_services),
        "Expansion": sorted(seen.expansion),
        "NodeID": seen.node_id,
        "MaxVolumes": seen.max_volumes,
        "Topology": seen.topology,
    }


def _show(found: list[dict[str, Any]]) -> None:
    table(
        ["ID", "Provider", "Version", "Healthy", "Controller", "Node", "Node ID", "Max Volumes"],
        [
            [
                one["ID"],
                one.get("Provider"),
                one.get("Version"),
                one["Healthy"],
                one.get("Controller"),
                one.get("Node"),
                one.get("NodeID"),
                one.get("MaxVolumes") or "no limit",
            ]
            for one in found
        ],
    )
    for one in found:
        echo()
        if one["Description"]:
            echo(f"{one['ID']}: {one['Description']}")
            continue
        echo(f"{one['ID']} can: {_words([*one['ControllerCapabilities'], *one['NodeCapabilities']])}")
        if one["Topology"]:
            echo(f"{one['ID']} is at: {', '.join(f'{key}={value}' for key, value in sorted(one['Topology'].items()))}")


def _words(capabilities: list[str]) -> str:
    return ", ".join(dict.fromkeys(name.lower().replace("_", " ") for name in capabilities)) or "publish volumes only"
