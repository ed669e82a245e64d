"""Garbage collection: nodes that were down for too long, and claims on nodes that are gone.

The leader proposes these commands regularly; `apply` checks each again, by log time (logtime.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from volstore.core.attach.apply import departure_refusal
from volstore.core.commands import ClaimKey, Command, SweepClaims, SweepNode
from volstore.core.holders import is_alive
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
    return list(islice(chain(nodes, _sweeps(_orphaned(state))), most))


def _sweeps(orphaned: Iterator[ClaimKey]) -> Iterator[Command]:
    while keys := tuple(islice(orphaned, CLAIMS_AT_ONCE)):
        yield SweepClaims(keys)


def _nodes_down_for_long(state: State, down_for: int, running: bool) -> Iterator[Command]:
    """Removing a node removes its plugin instances and claims too. It is refused if the node reported meanwhile."""
    for node in state.nodes():
        if node.status == "down" and departure_refusal(state, node.id) is None:
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


def _dead_by_node(state: State, volume: Volume) -> dict[str, set[str]]:
    """The allocations that claim the volume and have ended or vanished, by the nodes that their claims name."""
    dead: dict[str, set[str]] = {}
    for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
        for claim in by_allocation.values():
            if not is_alive(state, claim):
                dead.setdefault(claim.node_id, set()).add(claim.allocation_id)
    return dead
