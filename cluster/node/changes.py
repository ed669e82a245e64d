"""Changes of the cluster by its operator: one at a time, learners first, leadership handed over before it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.api import LogError, Member
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration

if TYPE_CHECKING:
    from cluster.node.node import Node

CAUGHT_UP = 64
"""Entries that a learner may lack when it gets its vote, and an heir of the leader: less than one message carries."""


def _must_lead(node: Node) -> None:
    if not node.engine.leads:
        leader = node.engine.leader
        raise LogError(f"this node doesn't lead; ask {leader!r}" if leader else "No cluster leader")


async def transfer(node: Node, to: str | None, deadline: float) -> str:
    """Hand leadership to `to`, or to the one that is connected for the longest of the voters that lack hardly anything:
    who has just started may not have reached the others yet, and would lead nobody. The new leader's name."""
    _must_lead(node)
    engine = node.engine
    others = [v for v in engine.configuration.voters if v != node.options.name and v in engine.connected]
    if to is None:
        if not others:
            raise LogError("no other voter is connected")
        enough = max(map(engine.match_index, others)) - CAUGHT_UP
        to = min(
            (name for name in others if engine.match_index(name) >= enough),
            key=lambda name: (node.peers.connected_since(name), name),
        )
    elif to not in others:
        raise LogError(f"{to!r} is not a connected voter; these are: {', '.join(sorted(others)) or 'none'}")
    target = to
    node.step(lambda: engine.transfer(node.loop.time(), target))
    await node.conditions.until(
        # Between the two leaderships there is no leader for a moment.
        lambda: node.engine.transfer_to is None if node.engine.leads else node.engine.leader is not None,
        deadline,
        f"{target!r} did not take over",
    )
    leader = node.engine.leader
    if node.engine.leads or leader is None:
        raise LogError(f"{target!r} did not take over")
    return leader


async def _change(node: Node, make: Callable[[Configuration], Configuration], deadline: float) -> None:
    """Append one configuration and see it committed; the one before must be committed (dissertation §4.1)."""
    _must_lead(node)
    engine = node.engine
    await node.conditions.until(
        lambda: not engine.leads or node.intake.takes, deadline, "the last change was not committed"
    )
    _must_lead(node)
    changed = make(node.engine.configuration)
    term = node.engine.term
    node.step(lambda: _append(node, changed))
    index = node.engine.configuration.index
    # Leadership may end meanwhile: then it is the next leader that keeps this entry, or puts another in its place.
    await node.conditions.until(
        lambda: node.applier.index >= index, deadline, "the change was not committed (it may still be)"
    )
    kept = node.journal.term_at(index)
    if kept != term and (kept is not None or node.engine.configurations.at(index).index != index):
        raise LogError("leadership changed meanwhile: look at the members and try again")


def _append(node: Node, configuration: Configuration) -> None:
    node.engine.append(node.loop.time(), bytes([CONFIGURATION]) + configuration.encode())


def _has_caught_up(node: Node, name: str) -> bool:
    """Whether it is there and has confirmed nearly all; a young log would else be nearly confirmed by nobody at all."""
    match = node.engine.match_index(name)
    return name in node.engine.connected and match > 0 and node.journal.last_index - match <= CAUGHT_UP


async def _caught_up(node: Node, name: str, deadline: float) -> bytes:
    """Wait until learner `name` has caught up; the incarnation of the disk that it has the log on (hole 12)."""
    await node.conditions.until(
        lambda: not node.engine.leads or _has_caught_up(node, name),
        deadline,
        f"{name!r} did not catch up; it stays a learner: add it again to go on, or remove it",
    )
    return node.peers.incarnation_of(name)


async def add_member(node: Node, member: Member, deadline: float) -> None:
    """A learner until it has caught up, then a voter."""
    present = node.engine.configuration.member(member.name)
    if present is None or present.voter or present.address != member.address:
        await _change(node, lambda configuration: configuration.with_learner(member), deadline)
    incarnation = await _caught_up(node, member.name, deadline)
    await _change(node, lambda configuration: configuration.with_voter(member.name, incarnation), deadline)


async def remove_member(node: Node, name: str, deadline: float) -> str | None:
    """None once `name` is removed. A leader can't remove itself: it hands leadership over and gives the name of the new
    leader, which is to be asked for the rest."""
    _must_lead(node)
    if name == node.options.name:
        node.engine.configuration.without(name)  # Raises where that can't be.
        return await transfer(node, None, deadline)
    await _change(node, lambda configuration: configuration.without(name), deadline)
    return None
