"""`volstore volume claim|release|detach`, and how claims are shown: who uses a volume, and how that ends."""

from __future__ import annotations

from typing import Any

import click

from volstore.cli.arguments import SingleDash, complete_volume, connected
from volstore.cli.node import find_node
from volstore.cli.output import Failed, complain, echo, print_json, table
from volstore.client import Client, ClientError, segment

_MODES = ("read", "write", "release")
_STATES = ("taken", "node detached", "controller detached", "ready to free")

_VOLUME = click.argument("volume_id", metavar="VOLUME", shell_complete=complete_volume)
_ALLOCATION = click.argument("allocation_id", metavar="ALLOCATION")


@click.command(cls=SingleDash, short_help="Claim a volume for an allocation.")
@_VOLUME
@_ALLOCATION
@click.option("--mode", type=click.Choice(["read", "write"]), default="read", show_default=True, help="What it does.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, secrets included.")
@connected
def claim(client: Client, volume_id: str, allocation_id: str, mode: str, as_json: bool) -> None:
    """Claim VOLUME for ALLOCATION, which the scheduler has reported.

    This is for trying things and for repairs: a node agent claims by itself.
    """
    answer = _put(client, volume_id, {"AllocationID": allocation_id, "Mode": mode}, "claiming")
    if as_json:
        print_json(answer)
    else:
        echo(f"Claimed volume {answer['ID']} for allocation {allocation_id} ({mode})")


@click.command(cls=SingleDash, short_help="Release an allocation's claim.")
@_VOLUME
@_ALLOCATION
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@connected
def release(client: Client, volume_id: str, allocation_id: str, as_json: bool) -> None:
    """Release what ALLOCATION claims of VOLUME; it may be gone already. If it claims nothing, that is an error.

    Be sure that it has unmounted the volume: whoever claims it next may mount it at once.
    """
    answer = _put(client, volume_id, {"AllocationID": allocation_id, "Mode": "release"}, "releasing")
    if as_json:
        print_json(answer)
    else:
        echo(f"Volume {answer['ID']} is free of allocation {allocation_id}")


def _put(client: Client, volume_id: str, body: dict[str, Any], doing: str) -> Any:
    if not volume_id or not body["AllocationID"]:
        raise click.UsageError("VOLUME and ALLOCATION are IDs, not empty")
    try:
        return client.put(f"/v1/volume/csi/{segment(volume_id)}/claim", body)
    except ClientError as error:
        raise Failed(f"Error {doing} volume: {error}") from None


@click.command(cls=SingleDash, short_help="Release what is claimed on a node where nothing runs.")
@_VOLUME
@click.argument("node_id", metavar="NODE")
@connected
def detach(client: Client, volume_id: str, node_id: str) -> None:
    """Release what is claimed of VOLUME on NODE: a node, the beginning of its ID, or one that is gone.

    Refused while an allocation that claims it runs there, unless the node is down.
    """
    if not volume_id or not node_id:
        raise click.UsageError("VOLUME and NODE are IDs, not empty")
    try:
        known = find_node(client, node_id)
        whole = node_id if known is None else known["ID"]
        client.delete(f"/v1/volume/csi/{segment(volume_id)}/detach", node=whole)
    except ClientError as error:
        raise Failed(f"Error detaching volume: {error}") from None
    if known is None:
        complain(f'Warning: no node has the ID "{node_id}"; whatever was claimed on one of that ID is free now')


def show_claims(item: dict[str, Any], *, verbose: bool) -> None:
    """A volume's claims under a title; nothing for one that isn't claimed."""
    claims = [
        claim
        for key in ("ReadClaims", "WriteClaims", "PastClaims")
        for _, claim in sorted((item.get(key) or {}).items())
    ]
    if not claims:
        return
    width = None if verbose else 8
    rows = [
        [
            claim.get("AllocationID", "")[:width],
            claim.get("NodeID", "")[:width],
            _word(_MODES, claim.get("Mode")),
            _word(_STATES, claim.get("State")),
        ]
        for claim in claims
    ]
    echo()
    echo("Claims")
    table(["Allocation ID", "Node ID", "Mode", "State"], rows)


def _word(words: tuple[str, ...], number: object) -> object:
    """What a number stands for; one that we don't know stays."""
    return words[number] if isinstance(number, int) and 0 <= number < len(words) else number
