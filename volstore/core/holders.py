"""Who holds a volume, in words: every refusal for a claim's sake names its holders and the command that frees them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from volstore.core.errors import shortened
from volstore.core.model import DEFAULT_NAMESPACE, UNPUBLISHING, Claim, Volume
from volstore.core.state import State

SHOWN = 3
"""Holders that a text names; outcomes are remembered, so their texts stay small."""
_SHOWN_CHARACTERS = 256


def claims(volume: Volume) -> Iterator[Claim]:
    """Readers, writers, past; each by allocation ID."""
    for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
        for id in sorted(by_allocation):
            yield by_allocation[id]


def claims_of(volume: Volume, allocation_id: str) -> Iterator[Claim]:
    """Those of one allocation: as reader, as writer, past."""
    for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
        claim = by_allocation.get(allocation_id)
        if claim is not None:
            yield claim


def claims_on(volume: Volume, node_id: str, *, elsewhere: bool = False) -> list[Claim]:
    """Those from one node (`elsewhere`: from all others), in the order of `claims`."""
    found: list[Claim] = []
    for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
        there = [claim for claim in by_allocation.values() if (claim.node_id == node_id) is not elsewhere]
        there.sort(key=_by_allocation)
        found += there
    return found


def _by_allocation(claim: Claim) -> str:
    return claim.allocation_id


def is_alive(state: State, claim: Claim) -> bool:
    """Whether the claimant is known and not terminal."""
    allocation = state.allocation(claim.allocation_id)
    return allocation is not None and not allocation.terminal


def running_on(state: State, node_id: str) -> Claim | None:
    """A claim on this node whose claimant hasn't ended, if there is one."""
    for volume in state.volumes_claimed_on(node_id):
        for claim in claims_on(volume, node_id):
            if is_alive(state, claim):
                return claim
    return None


def holders(state: State, volume: Volume, held: Iterable[Claim] | None = None) -> str:
    """The claimants of `held` (default: all), each with its job, node, since when, and what frees it."""
    by_allocation: dict[str, Claim] = {}
    for claim in claims(volume) if held is None else held:
        by_allocation.setdefault(claim.allocation_id, claim)
    shown = [_holder(state, volume, claim) for claim in list(by_allocation.values())[:SHOWN]]
    more = len(by_allocation) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _holder(state: State, volume: Volume, claim: Claim) -> str:
    job = _short(claim.job_id) or "unknown"
    return (
        f"allocation {claim.allocation_id} (job {job}, node {claim.node_id}, since {since(claim)}; "
        f"free it with: {_freeing(state, volume, claim)})"
    )


def since(claim: Claim) -> str:
    """When the claim was taken, as a date, to the second (RFC 3339)."""
    # 64 bits of nanoseconds end in the year 2554, well within what a date is made for.
    return datetime.fromtimestamp(claim.taken_at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _freeing(state: State, volume: Volume, claim: Claim) -> str:
    """A release says that one allocation has unmounted the volume, a detach that nothing runs on the node any more."""
    if claim.state == UNPUBLISHING:
        return f"nothing, its node is unmounting it; if that host is off for good, volstore node fence {claim.node_id}"
    namespace = [] if volume.namespace == DEFAULT_NAMESPACE else [f"-namespace={volume.namespace}"]
    verb, whom = ("release", claim.allocation_id) if is_alive(state, claim) else ("detach", claim.node_id)
    return shlex.join(["volstore", "volume", verb, *namespace, volume.id, whom])


def _short(text: str) -> str:
    return shortened(text, _SHOWN_CHARACTERS)
