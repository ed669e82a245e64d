"""What hangs and nobody will free any more: nodes that were down for long, and claims on nodes that are gone.

A leader proposes what is found, now and then; `apply` judges each again. Pure: the time of day is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from volstore.core.commands import ClaimKey, Command, DeleteNode, SweepClaims
from volstore.core.holders import claims, is_alive
from volstore.core.state import State

CLAIMS_AT_ONCE = 64
"""Claims that one command releases at most."""


def hanging(state: State, now: float, node_gc_threshold: float, most: int) -> list[Command]:
    """At most `most` commands that free what hangs; `now` and `node_gc_threshold` in seconds, `now` since 1970."""
    nodes = _nodes_down_for_long(state, now, node_gc_threshold)
    return list(islice(chain(nodes, _sweeps(_orphaned(state))), most))


def _sweeps(orphaned: Iterator[ClaimKey]) -> Iterator[Command]:
    while keys := tuple(islice(orphaned, CLAIMS_AT_ONCE)):
        yield SweepClaims(keys)


def _nodes_down_for_long(state: State, now: float, threshold: float) -> Iterator[Command]:
    """With the node its plugin instances and its claims leave, unless it was heard from meanwhile."""
    for node in state.nodes():
        if node.status == "down" and now - node.status_updated_at >= threshold:
            yield DeleteNode(node.id, node.modify_index)


def _orphaned(state: State) -> Iterator[ClaimKey]:
    """Claims on nodes that aren't there, of allocations that have ended or vanished.

    One that runs, as far as is known, keeps its claims: its node may not have reported itself yet.
    """
    for node_id in state.claimed_node_ids():
        if state.node(node_id) is not None:
            continue
        for volume in state.volumes_claimed_on(node_id):
            for allocation_id in sorted(
                {
                    claim.allocation_id
                    for claim in claims(volume)
                    if claim.node_id == node_id and not is_alive(state, claim)
                }
            ):
                yield ClaimKey(volume.namespace, volume.id, allocation_id, node_id)
