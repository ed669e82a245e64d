"""Changes of the cluster by its operator: one at a time, learners first, leadership handed over before it is left."""

from __future__ import annotations

from collections.abc import Callable

from cluster.api import LogError, Member
from cluster.node.applier import Applier
from cluster.node.conditions import Conditions
from cluster.node.host import Host
from cluster.node.intake import Intake
from cluster.node.peers import Peers
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration
from cluster.storage.journal import Journal

CAUGHT_UP = 64
"""Entries that a learner may lack when it gets its vote, and an heir of the leader: less than one message carries."""


class Changes:
    """All methods raise LogError, saying why not; `deadline` is in the loop's time."""

    def __init__(
        self, host: Host, conditions: Conditions, intake: Intake, applier: Applier, peers: Peers, journal: Journal
    ) -> None:
        self._host = host
        self._until = conditions.until
        self._intake = intake
        self._applier = applier
        self._peers = peers
        self._journal = journal

    def _must_lead(self) -> None:
        engine = self._host.engine
        if not engine.leads:
            leader = engine.leader
            raise LogError(f"this node doesn't lead; ask {leader!r}" if leader else "No cluster leader")

    async def transfer(self, to: str | None, deadline: float) -> str:
        """Hand leadership to `to`, or to the voter that is connected for longest among those that lack hardly anything:
        one that has just started may not have reached the others yet, and would lead nobody. The new leader's name."""
        self._must_lead()
        host, engine = self._host, self._host.engine
        others = [v for v in engine.configuration.voters if v != host.options.name and v in engine.connected]
        if to is None:
            if not others:
                raise LogError("no other voter is connected")
            enough = max(map(engine.match_index, others)) - CAUGHT_UP
            to = min(
                (name for name in others if engine.match_index(name) >= enough),
                key=lambda name: (self._peers.connected_since(name), name),
            )
        elif to not in others:
            raise LogError(f"{to!r} is not a connected voter; these are: {', '.join(sorted(others)) or 'none'}")
        target = to
        host.step(lambda: engine.transfer(host.loop.time(), target))
        await self._until(
            # Between the two leaderships there is no leader for a moment.
            lambda: host.engine.transfer_to is None if host.engine.leads else host.engine.leader is not None,
            deadline,
            f"{target!r} did not take over",
        )
        leader = host.engine.leader
        if host.engine.leads or leader is None:
            raise LogError(f"{target!r} did not take over")
        return leader

    async def add_member(self, member: Member, deadline: float) -> None:
        """A learner until it has caught up, then a voter."""
        present = self._host.engine.configuration.member(member.name)
        if present is None or present.voter or present.address != member.address:
            await self._change(lambda configuration: configuration.with_learner(member), deadline)
        incarnation = await self._caught_up(member.name, deadline)
        await self._change(lambda configuration: configuration.with_voter(member.name, incarnation), deadline)

    async def remove_member(self, name: str, deadline: float) -> str | None:
        """None once `name` is removed. A leader can't remove itself: it hands leadership over and gives the name of the
        new leader, which is to be asked for the rest."""
        self._must_lead()
        if name == self._host.options.name:
            self._host.engine.configuration.without(name)  # Raises where that can't be.
            return await self.transfer(None, deadline)
        await self._change(lambda configuration: configuration.without(name), deadline)
        return None

    async def _change(self, make: Callable[[Configuration], Configuration], deadline: float) -> None:
        """Append one configuration and see it committed; the one before must be committed (dissertation §4.1)."""
        self._must_lead()
        host, intake, applier = self._host, self._intake, self._applier
        await self._until(lambda: not host.engine.leads or intake.takes, deadline, "the last change was not committed")
        self._must_lead()
        changed = make(host.engine.configuration)
        term = host.engine.term
        host.step(self._append, changed)
        index = host.engine.configuration.index
        # Leadership may end meanwhile: then the next leader keeps this entry, or puts another in its place.
        await self._until(lambda: applier.index >= index, deadline, "the change was not committed (it may still be)")
        kept = self._journal.term_at(index)
        if kept != term and (kept is not None or host.engine.configurations.at(index).index != index):
            raise LogError("leadership changed meanwhile: look at the members and try again")

    def _append(self, configuration: Configuration) -> None:
        host = self._host
        host.engine.append(host.loop.time(), bytes([CONFIGURATION]) + configuration.encode())

    async def _caught_up(self, name: str, deadline: float) -> bytes:
        """Wait until learner `name` has caught up; the incarnation of the disk that it has the log on (hole 12)."""
        await self._until(
            lambda: not self._host.engine.leads or self._has_caught_up(name),
            deadline,
            f"{name!r} did not catch up; it stays a learner: add it again to go on, or remove it",
        )
        return self._peers.incarnation_of(name)

    def _has_caught_up(self, name: str) -> bool:
        """Whether it is connected and has confirmed nearly all. Of a young log nearly all is nothing: so at least one
        entry."""
        engine = self._host.engine
        match = engine.match_index(name)
        return name in engine.connected and match > 0 and self._journal.last_index - match <= CAUGHT_UP
