"""`volstore operator`: who belongs to the cluster, how it is, and what to do when it isn't well."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from volstore.cli.arguments import Group, connected
from volstore.cli.debug import debug
from volstore.cli.output import Failed, echo, print_json, table
from volstore.cli.snapshot import snapshot
from volstore.client import Client, ClientError, HttpError
from volstore.units import format_duration

_LOOK_EVERY = 1.0


@click.group(cls=Group)
def operator() -> None:
    """Look after the cluster itself."""


operator.add_command(snapshot)
operator.add_command(debug)


@operator.group(cls=Group)
def raft() -> None:
    """See and change who belongs to the cluster, and who leads it."""


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
    """Remove a member. A node that runs under it stops; a leader hands over first."""
    if bool(peer_id) == bool(peer_address):
        raise click.UsageError("give one of --peer-id and --peer-address")
    try:
        client.request("DELETE", "/v1/operator/raft/peer", {"id": peer_id or "", "address": peer_address or ""})
    except ClientError as error:
        raise Failed(f"Error removing peer: {error}") from None
    echo(f"Removed peer {peer_id or peer_address}")


@raft.command("transfer-leadership")
@click.option("--peer-id", metavar="ID", help="The member that shall lead; without it, the one that is furthest.")
@click.option("--peer-address", metavar="HOST:PORT", help="The same by its raft address.")
@connected
def transfer_leadership(client: Client, peer_id: str | None, peer_address: str | None) -> None:
    """Hand leadership to another member; writers notice little of it."""
    parameters = {"id": peer_id or "", "address": peer_address or ""}
    try:
        answer = client.request("PUT", "/v1/operator/raft/transfer-leadership", parameters)
    except ClientError as error:
        raise Failed(f"Error transferring leadership: {error}") from None
    echo(f"{answer['Leader']} leads now")


@operator.command()
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def health(client: Client, as_json: bool) -> None:
    """Show how every node is, and say what is wrong (exit code 1 if anything is)."""
    try:
        found = client.get("/v1/operator/health")
    except ClientError as error:
        raise Failed(f"Error querying health: {error}") from None
    if as_json:
        print_json(found)
    else:
        _show_health(found)
    if not found["Healthy"]:
        raise Failed(f"{len(found['Problems'])} things are wrong" if len(found["Problems"]) > 1 else "1 thing is wrong")


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
        echo(f"All is well; {found['FailureTolerance']} of the voters may be lost.")
    for problem in found["Problems"]:
        echo(f"* {problem}")


@operator.command()
@click.argument("old")
@click.argument("new")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=1), default=600.0, show_default=True)
@connected
def replace(client: Client, old: str, new: str, timeout: float) -> None:
    """Replace the member OLD by the node NEW, in the order that is safe.

    Start NEW with --join and an empty data directory, before or meanwhile. NEW gets its vote first, then OLD is
    removed. If both have the same name (a disk that was lost), the old one is removed first.
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
    try:
        client.request("DELETE", "/v1/operator/raft/peer", {"id": id})
    except ClientError as error:
        if not (isinstance(error, HttpError) and error.status == 404):
            raise Failed(f"Error removing peer: {error}") from None
    echo(f"Removed peer {id}")


def _configuration(client: Client) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.get("/v1/operator/raft/configuration")
    except ClientError as error:
        raise Failed(f"Error querying the members: {error}") from None
    return found


@operator.command()
@click.argument("directory", metavar="DATA_DIR", type=click.Path(path_type=Path))
@click.option(
    "--encryption-key-file",
    "key_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The keys that its data is encrypted with. [none, or VOLSTORE_ENCRYPTION_KEYS]",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def recover(directory: Path, key_file: Path | None, yes: bool) -> None:
    """Make a cluster of one out of the stopped node in DATA_DIR, when the majority is lost for ever.

    What that node never heard of is lost. Do it on one node only, the one whose log is furthest (`volstore journal
    verify` shows it); the others must never come back with their old data.
    """
    from volstore.agent import offline

    try:
        echo(offline.plan_recovery(directory, key_file))
        if not yes and not click.confirm("Make a cluster of one out of it?", err=True):
            raise Failed("nothing was changed")
        echo(offline.recover(directory, key_file))
    except offline.OfflineError as error:
        raise Failed(str(error)) from None
