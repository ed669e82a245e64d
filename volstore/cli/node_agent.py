"""`volstore node run`, and what operators say of nodes: drain, fence, report."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from volstore.cli.agent import BadConfiguration
from volstore.cli.arguments import SingleDash, connected
from volstore.cli.output import Failed, complain, echo, only_match, table
from volstore.client import Client, ClientError, HttpError, segment

_CONFIG_VARIABLE = "VOLSTORE_NODE_CONFIG"
_OPTIONS: tuple[tuple[str, str, str, bool], ...] = (
    ("server", "servers", "A member's URL; repeat it for each. [servers; default: http://127.0.0.1:4646]", True),
    ("plugin", "plugins", "A plugin of this host, as ID=SOCKET; may be repeated. [plugins]", True),
    ("state-dir", "state_dir", "Its memory. [state_dir; default: /var/lib/volstore/node]", False),
    ("base-dir", "base_dir", "Where plugins mount; containers must share it. [base_dir]", False),
    ("socket", "socket", "Where `volstore mount` asks. [socket; default: /run/volstore/node.sock]", False),
    ("name", "name", "This node's name. [name; default: the host's]", False),
    ("datacenter", "datacenter", "[datacenter; default: dc1]", False),
    ("token-file", "token_file", "A token with node write, for the first registration. [token_file]", False),
    ("ca-file", "ca_file", "The authority of the servers' certificates, PEM. [ca_file]", False),
    ("cert-file", "cert_file", "This node's certificate, PEM. [cert_file]", False),
    ("key-file", "key_file", "Its key, PEM. [key_file]", False),
    ("trust-read-only", "trust_read_only", "A plugin's ID: its read-only block devices are. [trust_read_only]", True),
    ("unverified", "unverified", "A plugin's ID: what it mounts isn't looked for in mountinfo. [unverified]", True),
)


def _settings(function: Callable[..., Any]) -> Callable[..., Any]:
    for option, name, text, many in reversed(_OPTIONS):
        function = click.option(f"--{option}", name, multiple=many, help=text)(function)
    return function


@click.command("run", cls=SingleDash)
@click.option("--config", "config_file", metavar="FILE", envvar=_CONFIG_VARIABLE, help="TOML file with settings.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_settings
def run(config_file: str | None, log_format: str, **flags: Any) -> None:
    """Run this host's node agent: it reports the plugins, and mounts what is claimed here.

    Each setting is a flag, a variable VOLSTORE_NODE_NAME and a key of the file, as its brackets say; flags beat
    variables, which beat the file. It needs root. What is mounted stays mounted when it stops.
    """
    from volstore.node.settings import SettingsError, load

    try:
        settings = load(flags, os.environ, config_file)
    except SettingsError as error:
        raise BadConfiguration(str(error)) from None
    if os.geteuid() != 0:
        raise Failed("Error: the node agent mounts file systems: run it as root")
    _log_to_stderr(log_format)
    from volstore.node.daemon import CannotRun
    from volstore.node.daemon import run as run_agent

    try:
        asyncio.run(run_agent(settings))
    except CannotRun as error:
        raise Failed(f"Error: {error}") from None


def _log_to_stderr(log_format: str) -> None:
    import structlog

    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _node_id(client: Client, given: str) -> str:
    from volstore.cli.node import matching_nodes

    return str(only_match(matching_nodes(client, given), given, "node")["ID"])


@click.command("drain", cls=SingleDash)
@click.argument("node_id", metavar="NODE")
@click.option("--off", is_flag=True, help="Let it take volumes again.")
@connected
def drain(client: Client, node_id: str, off: bool) -> None:
    """Release all volumes of a node, and let it take none.

    What uses them must let go of them: the node's agent waits for that. `volstore node volumes` shows what is left.
    """
    try:
        id = _node_id(client, node_id)
        client.request("DELETE" if off else "PUT", f"/v1/node/{segment(id)}/drain", {})
    except ClientError as error:
        raise Failed(f"Error draining node: {error}") from None
    echo(f"Node {id} {'may take volumes again' if off else 'is drained: it takes no volumes, and gives up its own'}")


@click.command("fence", cls=SingleDash)
@click.argument("node_id", metavar="NODE")
@click.option("--reason", default="", help="Why; it is kept and shown.")
@click.option("--force", is_flag=True, help="Also while its agent is heard.")
@click.option("--off", is_flag=True, help="Let it have volumes again.")
@connected
def fence(client: Client, node_id: str, reason: str, force: bool, off: bool) -> None:
    """Declare that a node's host is OFF: others may have its volumes at once.

    If it isn't off, two hosts write to one disk. Cut its power, or its way to the storage, first. When it comes back,
    its agent gives up what was taken from it; then --off lets it have volumes again.
    """
    try:
        id = _node_id(client, node_id)
        if off:
            client.request("DELETE", f"/v1/node/{segment(id)}/fence", {})
        else:
            client.put(f"/v1/node/{segment(id)}/fence", {"Reason": reason, "Force": force})
    except ClientError as error:
        raise Failed(f"Error fencing node: {error}") from None
    echo(f"Node {id} may have volumes again" if off else f"Node {id} is fenced: its volumes are free for others")


@click.command("volumes", cls=SingleDash)
@click.argument("node_id", metavar="NODE")
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def volumes(client: Client, node_id: str, as_json: bool) -> None:
    """Show what a node whose agent manages its volumes has, and what is in the way."""
    try:
        found = client.get(f"/v1/node/{segment(_node_id(client, node_id))}/volumes")
    except ClientError as error:
        raise Failed(f"Error querying node: {error}") from None
    if as_json:
        echo(json.dumps(found, indent=4, sort_keys=True))
        return
    marks = [word for word, on in (("fenced", found["Fenced"]), ("drained", found["Draining"])) if on]
    echo(f"Node {found['NodeID']}" + (f" is {' and '.join(marks)}" if marks else ""))
    table(
        ["Volume", "Plugin ID", "External ID", "State", "Allocation", "Target", "Error"],
        [
            [
                claim.get("VolumeID"),
                one["PluginID"],
                one["ExternalID"],
                one["State"],
                claim.get("AllocationID"),
                claim.get("State"),
                claim.get("Error") or one["Error"],
            ]
            for one in found["Attachments"]
            for claim in one["Claims"] or [{}]
        ],
    )
    for one in found["Unexpected"]:
        echo(f"unexpected: {one['Path'] or one['ExternalID']} {one['AllocationID']}")
    for one in found["Revoked"]:
        echo(f"taken from it while it was fenced, and not yet given up: {one['ExternalID']}")


@click.command("report", cls=SingleDash)
@click.argument("file", type=click.File("r"))
@click.option("--heartbeat", is_flag=True, help="Stay, and say again and again that the nodes are alive.")
@connected
def report(client: Client, file: Any, heartbeat: bool) -> None:
    """Report nodes and allocations from a FILE, for those who bring their own scheduler.

    It is JSON: {"Nodes": [...], "Allocations": [...]}, as `PUT /v1/node/ID` and `PUT /v1/allocations` take them.
    With --heartbeat it stays and keeps the nodes alive, and reports those again that the registry has forgotten.
    """
    try:
        told = json.load(file)
    except ValueError as error:
        raise Failed(f"Error: {file.name} is no JSON: {error}") from None
    if (
        not isinstance(told, dict)
        or told.keys() - {"Nodes", "Allocations"}
        or not all(
            isinstance(part, list) and all(isinstance(one, dict) and one.get("ID") for one in part)
            for part in told.values()
        )
    ):
        raise Failed(f'Error: {file.name}: expected {{"Nodes": [...], "Allocations": [...]}}, each item with its "ID"')
    nodes = {str(node["ID"]): node for node in told.get("Nodes", [])}
    try:
        waits = {id: _report_node(client, node) for id, node in nodes.items()}
        if told.get("Allocations"):
            client.put("/v1/allocations", {"Allocations": told["Allocations"]})
    except ClientError as error:
        raise Failed(f"Error reporting: {error}") from None
    echo(f"Reported {len(nodes)} nodes and {len(told.get('Allocations', []))} allocations")
    if heartbeat and nodes:
        _keep_alive(client, nodes, waits)


def _report_node(client: Client, node: dict[str, Any]) -> float:
    """The seconds within which it must be heard again."""
    answered = client.put(f"/v1/node/{segment(str(node['ID']))}", node)
    return float(answered.get("HeartbeatTTL", 0)) / 1e9


def _keep_alive(client: Client, nodes: dict[str, Any], ttls: dict[str, float]) -> None:
    """For ever: each node within half of its time. A server that doesn't answer is asked again."""
    due = {id: time.monotonic() + ttl / 2 for id, ttl in ttls.items()}
    while True:
        id = min(due, key=lambda one: due[one])
        time.sleep(max(0.0, due[id] - time.monotonic()))
        try:
            ttl = float(client.put(f"/v1/node/{segment(id)}/heartbeat", {}).get("HeartbeatTTL", 0)) / 1e9
        except HttpError as error:
            if error.status != 404:
                complain(f"Error: heartbeat of {id}: {error}")
                ttl = 2.0
            else:
                try:
                    ttl = _report_node(client, nodes[id])
                except ClientError as failed:
                    complain(f"Error: report of {id}: {failed}")
                    ttl = 2.0
        except ClientError as error:
            complain(f"Error: heartbeat of {id}: {error}")
            ttl = 2.0
        due[id] = time.monotonic() + max(0.5, ttl / 2)


COMMANDS = (run, drain, fence, volumes, report)
