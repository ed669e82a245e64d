"""Garbage collection: nodes that were down for too long, and claims on nodes that are gone.

The leader proposes these commands regularly; `apply` checks each again, by log time (logtime.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from volstore.core.commands import ClaimKey, Command, FreeClaims, SweepClaims, SweepNode
from volstore.core.holders import claims_of, is_alive
from volstore.core.model import Volume
from volstore.core.queries import Key
from volstore.core.rules import check_sweep_node
from volstore.core.state import State

CLAIMS_AT_ONCE = 64
"""The most claims that one command releases."""


def abandoned(state: State, node_gc_threshold: float, most: int, *, running: bool = False) -> list[Command]:
    """At most `most` commands that free abandoned nodes and claims.

    `node_gc_threshold` is in seconds; `running` is the field of SweepNode.
    """
    nodes = _nodes_down_for_long(state, round(node_gc_threshold * 1e9), running)
    orphaned = _in_parts(_orphaned(state))
    return list(islice(chain(nodes, map(SweepClaims, orphaned), map(FreeClaims, _in_parts(_left(state)))), most))


def _in_parts(keys: Iterator[ClaimKey]) -> Iterator[tuple[ClaimKey, ...]]:
    while part := tuple(islice(keys, CLAIMS_AT_ONCE)):
        yield part


def _nodes_down_for_long(state: State, down_for: int, running: bool) -> Iterator[Command]:
    """Removing a node removes its plugin instances and claims too. It is refused if the node reported meanwhile."""
    for node in state.nodes():
        if node.status == "down":
            command = SweepNode(node.id, node.modify_index, down_for, running)
            if check_sweep_node(state, command) is None:
                yield command


def _orphaned(state: State) -> Iterator[ClaimKey]:
    """Claims of ended or unknown allocations on nodes that aren't registered.

    An allocation that may still run keeps its claims: its node may not have reported itself yet.
    """
    found: dict[Key, dict[str, set[str]]] = {}
    for node_id in state.claimed_node_ids():
        if state.node(node_id) is not None:
            continue
        for volume in state.volumes_claimed_on(node_id):
            key = (volume.namespace, volume.id)
            if key not in found:  # all of its nodes at once: a volume that thousands share may be on thousands
                found[key] = _dead_by_node(state, volume)
            for allocation_id in sorted(found[key].get(node_id, ())):
                yield ClaimKey(volume.namespace, volume.id, allocation_id, node_id)


def _left(state: State) -> Iterator[ClaimKey]:
    """Claims on nodes that are there, of allocations that aren't: nobody will say any more that they ended.

    Whoever deletes an allocation says so much; Nomad frees such claims by itself, too.
    """
    for allocation_id in state.claiming_allocation_ids():
        if state.allocation(allocation_id) is not None:
            continue
        for volume in state.volumes_claimed_by(allocation_id):
            for node_id in sorted({claim.node_id for claim in claims_of(volume, allocation_id)}):
                if state.node(node_id) is not None:
                    yield ClaimKey(volume.namespace, volume.id, allocation_id, node_id)


def _dead_by_node(state: State, volume: Volume) -> dict[str, set[str]]:
    """The allocations that claim the volume and have ended or vanished, by the nodes that their claims name."""
    dead: dict[str, set[str]] = {}
    for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
        for claim in by_allocation.values():
            if not is_alive(state, claim):
                dead.setdefault(claim.node_id, set()).add(claim.allocation_id)
    return dead
