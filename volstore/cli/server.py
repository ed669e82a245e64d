"""`volstore server members` and `volstore status`: the members of the cluster, and its leader."""

from __future__ import annotations

from typing import Any

import click

from volstore.cli.arguments import Group, SingleDash, connected
from volstore.cli.output import Failed, echo, failing, fields, print_json, table
from volstore.cli.plugin import find_plugin, show_plugin
from volstore.cli.volume import find_volume, show_volume
from volstore.client import Client, ClientError
from volstore.text import join_address


@click.group(cls=Group)
def server() -> None:
    """Inspect the servers of the cluster."""


@server.command()
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")
@connected
def members(client: Client, as_json: bool) -> None:
    """List the servers and show the leader (exit code 1 if there is none)."""
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
    with failing("querying servers"):
        found: dict[str, Any] = client.get("/v1/agent/members")
    return found


def _region(found: dict[str, Any]) -> str:
    return str(found.get("ServerRegion", ""))


def _leader(client: Client, region: str) -> tuple[str | None, str | None]:
    """The leader's raft address; otherwise the reason why it is unknown."""
    try:
        return client.get("/v1/status/leader", region=region) or None, None
    except ClientError as error:
        return None, str(error)


def _raft_address(member: dict[str, Any]) -> str:
    """A server's raft address from its tags, as in the answer of /v1/status/leader."""
    return join_address(str(member["Tags"].get("rpc_addr", member["Addr"])), member["Tags"].get("port"))


@click.command(cls=SingleDash, short_help="Show the status of the cluster, a volume or a plugin.")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def status(client: Client, identifier: str | None, as_json: bool) -> None:
    """Show the status of the cluster, or of the volume or plugin with this ID or beginning of an ID.

    The exit code is 1 if there is no leader, or if ID matches nothing or more than one thing.
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
    with failing("searching"):
        answer = client.put("/v1/search", {"Prefix": identifier, "Context": "all"})
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
