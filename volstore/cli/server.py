"""`volstore server members` and `volstore status`: who is in the cluster, and who leads."""

from __future__ import annotations

from typing import Any

import click

from volstore.cli.arguments import Group, SingleDash, connected
from volstore.cli.output import Failed, echo, fields, print_json, table
from volstore.cli.plugin import find_plugin, show_plugin
from volstore.cli.volume import find_volume, show_volume
from volstore.client import Client, ClientError


@click.group(cls=Group)
def server() -> None:
    """Inspect the servers of the cluster."""


@server.command()
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def members(client: Client, as_json: bool) -> None:
    """List the servers, and which of them leads (exit code 1 if none does)."""
    found = _members(client)
    if as_json:
        print_json(found)
        return
    leader, problem = _leader(client, _region(found))
    rows = [
        [
            member["Name"],
            member["Addr"],
            member["Port"],
            member["Status"],
            bool(leader) and _raft_address(member) == leader,
            member.get("ProtocolCur"),
            member["Tags"].get("build"),
            member["Tags"].get("dc"),
            member["Tags"].get("region"),
        ]
        for member in sorted(found["Members"], key=lambda member: str(member["Name"]))
    ]
    table(["Name", "Address", "Port", "Status", "Leader", "Protocol", "Build", "Datacenter", "Region"], rows)
    if problem:
        raise Failed(f"Error determining leader: {problem}")


def _members(client: Client) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.get("/v1/agent/members")
    except ClientError as error:
        raise Failed(f"Error querying servers: {error}") from None
    return found


def _region(found: dict[str, Any]) -> str:
    return str(found.get("ServerRegion", ""))


def _leader(client: Client, region: str) -> tuple[str | None, str | None]:
    """The leader's raft address, or why it can't be told."""
    try:
        return client.get("/v1/status/leader", region=region) or None, None
    except ClientError as error:
        return None, str(error)


def _raft_address(member: dict[str, Any]) -> str:
    """A server's raft address, as its tags tell it and as the leader is named."""
    host = str(member["Tags"].get("rpc_addr", member["Addr"]))
    return f"[{host}]:{member['Tags'].get('port')}" if ":" in host else f"{host}:{member['Tags'].get('port')}"


@click.command(cls=SingleDash, short_help="Show how the cluster, or a volume or plugin, is.")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def status(client: Client, identifier: str | None, as_json: bool) -> None:
    """Show how the cluster is; with an ID, the volume or plugin whose ID is or begins so.

    Exit code 1 when there is no leader, or when nothing, or more than one thing, matches.
    """
    if identifier is not None:
        _find(client, identifier, as_json)
        return
    found = _members(client)
    leader, problem = _leader(client, _region(found))
    named = {_raft_address(member): member["Name"] for member in found["Members"]}
    alive = sum(member["Status"] == "alive" for member in found["Members"])
    if as_json:
        print_json({"Asked": found.get("ServerName"), "Leader": leader, "Members": found["Members"]})
    else:
        fields(
            [
                ("Asked", found.get("ServerName")),
                ("Region", found.get("ServerRegion")),
                ("Datacenter", found.get("ServerDC")),
                ("Leader", f"{named.get(leader, 'unknown')} ({leader})" if leader else None),
                ("Servers", f"{alive} of {len(found['Members'])} alive"),
            ]
        )
    if problem:
        raise Failed(f"Error determining leader: {problem}")


def _find(client: Client, identifier: str, as_json: bool) -> None:
    try:
        answer = client.put("/v1/search", {"Prefix": identifier, "Context": "all"})
    except ClientError as error:
        raise Failed(f"Error searching: {error}") from None
    matches = {kind: answer["Matches"].get(kind) or [] for kind in ("volumes", "plugins")}
    exact = [kind for kind, found in matches.items() if identifier in found]
    kinds = exact or [kind for kind, found in matches.items() if found]
    total = sum(len(found) for found in matches.values())
    if not kinds:
        raise Failed(f'No matches found for identifier "{identifier}"')
    if len(kinds) > 1 or (not exact and total > 1):
        if not as_json:
            for kind in kinds:
                echo(f"{kind.capitalize()}: {', '.join(matches[kind])}")
        raise Failed(f'Identifier "{identifier}" matched multiple things ({total}); give the whole ID')
    kind = kinds[0]
    one = identifier if exact else matches[kind][0]
    shown = (find_volume if kind == "volumes" else find_plugin)(client, one, list_matches=False)
    if as_json:
        print_json(shown)
    else:
        (show_volume if kind == "volumes" else show_plugin)(shown)
