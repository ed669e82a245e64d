"""`volstore operator`: the cluster's members, its health, and repairs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from volstore.cli.arguments import Group, connected
from volstore.cli.debug import debug
from volstore.cli.output import Failed, echo, failing, print_json, table
from volstore.cli.snapshot import snapshot
from volstore.client import Client, HttpError
from volstore.units import format_duration

_LOOK_EVERY = 1.0


@click.group(cls=Group)
def operator() -> None:
    """Operate the cluster itself."""


operator.add_command(snapshot)
operator.add_command(debug)


@operator.group(cls=Group)
def raft() -> None:
    """Show and change the members of the cluster and its leader."""


@raft.command("list-peers")
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def list_peers(client: Client, as_json: bool) -> None:
    """List the members."""
    found = _configuration(client)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            server["Node"],
            server["ID"],
            server["Address"],
            "leader" if server["Leader"] else "follower",
            server["Voter"],
            server["RaftProtocol"],
        ]
        for server in found["Servers"]
    ]
    table(["Node", "ID", "Address", "State", "Voter", "RaftProtocol"], rows)


@raft.command("remove-peer")
@click.option("--peer-id", metavar="ID", help="The member's ID or name.")
@click.option("--peer-address", metavar="HOST:PORT", help="The member's raft address.")
@connected
def remove_peer(client: Client, peer_id: str | None, peer_address: str | None) -> None:
    """Remove a member. Its node stops; a leader transfers its leadership first."""
    if bool(peer_id) == bool(peer_address):
        raise click.UsageError("give one of --peer-id and --peer-address")
    with failing("removing peer"):
        client.request("DELETE", "/v1/operator/raft/peer", {"id": peer_id or "", "address": peer_address or ""})
    echo(f"Removed peer {peer_id or peer_address}")


@raft.command("transfer-leadership")
@click.option("--peer-id", metavar="ID", help="The new leader; without it, the member with the most of the log.")
@click.option("--peer-address", metavar="HOST:PORT", help="The new leader, by its raft address.")
@connected
def transfer_leadership(client: Client, peer_id: str | None, peer_address: str | None) -> None:
    """Transfer leadership to another member. Writes wait for a moment."""
    parameters = {"id": peer_id or "", "address": peer_address or ""}
    with failing("transferring leadership"):
        answer = client.request("PUT", "/v1/operator/raft/transfer-leadership", parameters)
    echo(f"{answer['Leader']} leads now")


@operator.command()
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def health(client: Client, as_json: bool) -> None:
    """Show the state of every node and all problems (exit code 1 if there are any)."""
    with failing("querying health"):
        found = client.get("/v1/operator/health")
    if as_json:
        print_json(found)
    else:
        _show_health(found)
    if not found["Healthy"]:
        count = len(found["Problems"])
        raise Failed(f"{count} problems" if count != 1 else "1 problem")


def _show_health(found: dict[str, Any]) -> None:
    lags = {
        peer["server"]["name"]: peer["lag"]
        for one in found["Nodes"]
        if (node := one["Node"]) and node["role"] == "leader"
        for peer in node["peers"]
    }
    rows = []
    for one in found["Nodes"]:
        node = one["Node"]
        if node is None:
            rows.append([one["Name"], "failed", *[None] * 8])
            continue
        rows.append(
            [
                node["name"],
                node["role"],
                node["term"],
                node["applied_index"],
                lags.get(node["name"]),
                node["fsm_index"],
                node["digest"][:12],
                f"{node['disk_free_bytes'] / (1 << 30):.1f} GiB",
                format_duration(round(node["last_sync_seconds"], 4)),
                node["version"],
            ]
        )
    table(["Node", "Role", "Term", "Applied", "Lag", "Index", "Digest", "Disk free", "Sync", "Version"], rows)
    echo()
    if found["Healthy"]:
        echo(f"No problems; {found['FailureTolerance']} of the voters may fail.")
    for problem in found["Problems"]:
        echo(f"* {problem}")


@operator.command()
@click.argument("old")
@click.argument("new")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=1), default=600.0, show_default=True)
@connected
def replace(client: Client, old: str, new: str, timeout: float) -> None:
    """Replace the member OLD with the node NEW, in a safe order.

    Start NEW with --join and an empty data directory, before or meanwhile. NEW gets a vote first, then OLD is removed.
    If both have the same name (after the loss of a disk), OLD is removed first.
    """
    until = time.monotonic() + timeout
    before = {server["Name"]: server["ID"] for server in _configuration(client)["Servers"]}
    if old not in before:
        raise Failed(f"{old} is not a member; members are {', '.join(sorted(before))}")
    if old == new:
        _remove(client, before[old])
    echo(f"Waiting for {new} to be a member with a vote; start it with --join if it isn't running")
    while not any(
        server["Name"] == new and server["Voter"] and (old != new or server["ID"] != before[old])
        for server in _configuration(client)["Servers"]
    ):
        if time.monotonic() > until:
            raise Failed(f"{new} has no vote after {timeout:g} s: look at its log, then run this again")
        time.sleep(_LOOK_EVERY)
    echo(f"{new} is a member with a vote")
    if old != new:
        _remove(client, before[old])


def _remove(client: Client, id: str) -> None:
    with failing("removing peer"):
        try:
            client.request("DELETE", "/v1/operator/raft/peer", {"id": id})
        except HttpError as error:
            if error.status != 404:
                raise
    echo(f"Removed peer {id}")


def _configuration(client: Client) -> dict[str, Any]:
    with failing("querying the members"):
        found: dict[str, Any] = client.get("/v1/operator/raft/configuration")
    return found


@operator.command()
@click.argument("directory", metavar="DATA_DIR", type=click.Path(path_type=Path))
@click.option(
    "--encryption-key-file",
    "key_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The keys that encrypt its data. [none, or VOLSTORE_ENCRYPTION_KEYS]",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def recover(directory: Path, key_file: Path | None, yes: bool) -> None:
    """Make a cluster of one from the stopped node in DATA_DIR, after the permanent loss of a majority.

    Writes that never reached this node are lost. Do this on one node only, the one with the longest log (`volstore
    journal verify` shows it). The others must never run again with their old data.
    """
    from volstore.agent import offline

    try:
        echo(offline.plan_recovery(directory, key_file))
        if not yes and not click.confirm("Make a cluster of one out of it?", err=True):
            raise Failed("nothing was changed")
        echo(offline.recover(directory, key_file))
    except offline.OfflineError as error:
        raise Failed(str(error)) from None
