"""`volstore volume claim|release|detach`, and the table of a volume's claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from volstore.cli.arguments import SingleDash, complete_volume, connected
from volstore.cli.output import echo, failing, print_json, table
from volstore.cli.short_ids import find_allocation, only_one, with_whole_id
from volstore.client import Client, segment

_MODES = ("read", "write", "release")
_STATES = ("taken", "node detached", "controller detached", "ready to free")

_VOLUME = click.argument("volume_id", metavar="VOLUME", shell_complete=complete_volume)
_ALLOCATION = click.argument("allocation_id", metavar="ALLOCATION")


@click.command(cls=SingleDash, short_help="Claim a volume for an allocation.")
@_VOLUME
@_ALLOCATION
@click.option(
    "--mode", type=click.Choice(["read", "write"]), default="read", show_default=True, help="What the allocation does."
)
@click.option("--access-mode", metavar="MODE", default="", help="Which of the volume's access modes it is used in.")
@click.option("--attachment-mode", metavar="MODE", default="", help="file-system or block-device.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, secrets included.")
@connected
def claim(
    client: Client,
    volume_id: str,
    allocation_id: str,
    mode: str,
    access_mode: str,
    attachment_mode: str,
    as_json: bool,
) -> None:
    """Claim VOLUME for ALLOCATION, which the scheduler must have reported: its ID, or the beginning of it.

    This is for experiments and repairs: normally a node agent claims.
    """
    body = {"Mode": mode, "AccessMode": access_mode, "AttachmentMode": attachment_mode}
    whole, answer = _put(client, volume_id, allocation_id, body, "claiming", partial(find_allocation, client))
    if as_json:
        print_json(answer)
    else:
        echo(f"Claimed volume {answer['ID']} for allocation {whole} ({mode})")


@click.command(cls=SingleDash, short_help="Release an allocation's claim.")
@_VOLUME
@_ALLOCATION
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@connected
def release(client: Client, volume_id: str, allocation_id: str, as_json: bool) -> None:
    """Release the claim of ALLOCATION on VOLUME. The allocation may be gone already. Without a claim, this fails.

    Make sure that it has unmounted the volume: the next claimant may mount it at once.
    """
    find = partial(_claimant, client, volume_id, "AllocationID", "allocations")
    whole, answer = _put(client, volume_id, allocation_id, {"Mode": "release"}, "releasing", find)
    if as_json:
        print_json(answer)
    else:
        echo(f"Volume {answer['ID']} is free of allocation {whole}")


def _put(
    client: Client,
    volume_id: str,
    allocation_id: str,
    body: dict[str, Any],
    doing: str,
    find: Callable[[str], str | None],
) -> tuple[str, Any]:
    """The allocation's whole ID, and the answer."""
    if not volume_id or not allocation_id:
        raise click.UsageError("VOLUME and ALLOCATION are IDs, not empty")
    path = f"/v1/volume/csi/{segment(volume_id)}/claim"
    with failing(f"{doing} volume"):
        return with_whole_id(
            allocation_id, lambda whole: (whole, client.put(path, {**body, "AllocationID": whole})), find
        )


def _claimant(client: Client, volume_id: str, key: str, what: str, given: str) -> str | None:
    """The allocation or node (`key`) that begins with `given`, among those that claim the volume."""
    item = client.get(f"/v1/volume/csi/{segment(volume_id)}")
    kinds = ("ReadClaims", "WriteClaims", "PastClaims")
    return only_one(what, given, (claim[key] for kind in kinds for claim in (item.get(kind) or {}).values()))


@click.command(cls=SingleDash, short_help="Release the claims on a node where nothing runs.")
@_VOLUME
@click.argument("node_id", metavar="NODE")
@connected
def detach(client: Client, volume_id: str, node_id: str) -> None:
    """Release all claims on VOLUME from NODE: an ID, the beginning of one, or the ID of a node that is gone.

    This is refused while an allocation with a claim runs there, unless the node is down. Without a claim from there,
    this fails.
    """
    if not volume_id or not node_id:
        raise click.UsageError("VOLUME and NODE are IDs, not empty")
    path = f"/v1/volume/csi/{segment(volume_id)}/detach"
    find = partial(_claimant, client, volume_id, "NodeID", "nodes")
    with failing("detaching volume"):
        with_whole_id(node_id, lambda whole: client.delete(path, node=whole), find)


def show_claims(item: dict[str, Any], *, verbose: bool) -> None:
    """Print a volume's claims under a title, if it has any."""
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
    """The word for a number; an unknown number stays."""
    return words[number] if isinstance(number, int) and 0 <= number < len(words) else number
