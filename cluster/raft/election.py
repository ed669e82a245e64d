"""When a node stands for election and for whom it votes: PreVote, stickiness, votes as a set of members.

Raft §5.2, §5.4.1; dissertation §9.6 (PreVote), §4.2.3 (stickiness), §3.10 (transfer). pysyncobj counts the votes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.raft import pysyncobj_adapter as pysync
from cluster.raft.membership import majority
from cluster.raft.messages import Frame

if TYPE_CHECKING:
    from cluster.raft.engine import Engine


class Election:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._deadline = 0.0
        self._asked_term: int | None = None
        self._would_vote: set[str] = set()
        self._votes: set[str] = set()
        self._on_transfer = False

    def tick(self) -> None:
        """Start a pre-vote when the election time-out has passed without a leader."""
        if self._engine.now >= self._deadline:
            self.restart_timer()
            self._engine.raft.forget_leader()
            self._ask_first()

    def restart_timer(self) -> None:
        """Restart the election timer and discard outstanding pre-votes."""
        engine = self._engine
        self._asked_term = None
        span = engine.timing.election_max - engine.timing.election_min
        self._deadline = engine.now + engine.timing.election_min + span * engine.draw()

    def stepped_down(self) -> None:
        """Leadership ended. Others can be elected before this node stands again: it waits a full time-out (hole 21)."""
        self.restart_timer()

    def due_now(self) -> None:
        self._deadline = self._engine.now

    # Requests of others.

    def on_request(self, peer: str, term: int, last_index: int, last_term: int, pre: bool, on_transfer: bool) -> None:
        engine = self._engine
        # A forming cluster must fear an empty disk under an old name. A disk with entries isn't empty.
        unformed = self._forming_incomplete() and engine.journal.last_index == 0 and not engine.recognised
        if engine.unable or unformed or (self._leader_is_heard() and not on_transfer):
            engine.send(peer, ["vote", engine.term, False, pre], after_sync=True)
            return
        if pre:
            journal = engine.journal
            granted = term > engine.term and (last_term, last_index) >= (journal.last_term, journal.last_index)
            engine.send(peer, ["vote", term if granted else engine.term, granted, True], after_sync=True)
            return
        # pysyncobj ignores a repeated request, but its first answer may be lost: repeat it.
        again = term == engine.term and engine.raft.voted_for == peer
        before = engine.sent
        engine.raft.deliver(
            engine.now,
            peer,
            {"type": "request_vote", "term": term, "last_log_index": last_index, "last_log_term": last_term},
        )
        if engine.sent > before:
            self.restart_timer()
        else:
            engine.send(peer, ["vote", engine.term, again, False], after_sync=True)

    def _leader_is_heard(self) -> bool:
        """Stickiness: a candidate that can't reach the leader must not depose it (hole 6)."""
        engine = self._engine
        fresh = engine.now < engine.last_contact + engine.timing.election_min
        return engine.leads or (engine.leader is not None and fresh)

    # This node's own candidacy.

    def _may_stand(self) -> bool:
        engine = self._engine
        return not engine.unable and not self._forming_incomplete() and engine.name in engine.configuration.voters

    def _forming_incomplete(self) -> bool:
        """Whether a new cluster still waits for some of its first members.

        Until a configuration is in this node's log, it can't tell a member's first disk from an empty one under an old
        name (hole 23). So a cluster forms with all its first members connected."""
        engine = self._engine
        if engine.configuration.index > 0 or engine.journal.base_index > 0:
            return False
        return not set(engine.configuration.voters) <= {engine.name, *engine.connected}

    def _ask_first(self) -> None:
        engine = self._engine
        if not self._may_stand():
            return
        self._asked_term = engine.term + 1
        self._would_vote = {engine.name}
        for peer in engine.configuration.voters:
            if peer != engine.name:
                engine.send(peer, self.request(engine.term + 1, pre=True), after_sync=True)
        self._count_would_votes()

    def _count_would_votes(self) -> None:
        if len(self._would_vote) >= majority(len(self._engine.configuration.voters)):
            self._stand()

    def _stand(self, *, on_transfer: bool = False) -> None:
        engine = self._engine
        self._asked_term = None
        self._votes = {engine.name}
        self._on_transfer = on_transfer
        self.restart_timer()
        engine.raft.campaign(engine.now)

    def request(self, term: int, *, pre: bool) -> Frame:
        journal = self._engine.journal
        return ["vote?", term, journal.last_index, journal.last_term, pre, not pre and self._on_transfer]

    def on_vote(self, peer: str, term: int, granted: bool, pre: bool) -> None:
        engine = self._engine
        if not granted:
            if term > engine.term:
                engine.learn_term(term)
            return
        if not self._counts(peer, pre):
            return
        if pre:
            if term == self._asked_term:
                self._would_vote.add(peer)
                self._count_would_votes()
        elif term == engine.term and engine.raft.role == pysync.CANDIDATE:
            self._votes.add(peer)
            engine.raft.deliver(engine.now, peer, {"type": "response_vote", "term": term})

    def _counts(self, peer: str, pre: bool) -> bool:
        """Votes are a set of voting members (hole 19)."""
        return peer in self._engine.configuration.voters and (pre or peer not in self._votes)

    def on_timeout_now(self, peer: str, term: int) -> None:
        """The leader hands over: stand at once, without a pre-vote and without a time-out."""
        engine = self._engine
        if term == engine.term and peer == engine.leader and self._may_stand():
            self._stand(on_transfer=True)
