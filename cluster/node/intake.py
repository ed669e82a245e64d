"""Brings proposals to the leader, and on the leader into entries: commands that come together share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.api import NotApplied
from cluster.node import sessions
from cluster.node.batching import MAX_ENTRY_BYTES, Batching
from cluster.node.proposals import Pending, Proposals
from cluster.node.sessions import Answer, Item
from cluster.raft.engine import BATCH

if TYPE_CHECKING:
    from cluster.node.node import Node

_RESEND_EVERY = 0.25
_NOT_YET = "this member doesn't take proposals now"
_ITEM_OVERHEAD = 64
"""Bytes that an item takes beside its command, about."""
_TURNS = 40
"""Turns of the loop for which an entry waits at most for those who were just answered: some 0.1 ms of an idle loop."""
_MOST_COME_BACK = 0.9
_ENOUGH = 64
"""Commands in an entry from which on it gets hardly cheaper by more of them."""


class Intake:
    def __init__(self, node: Node, session: bytes) -> None:
        self.proposals = Proposals(node.loop, session)
        self._node = node
        self._batching = Batching(node.options.queue_bytes)
        self._entry_under_way = 0
        self._items_under_way = 0
        """How many are in the entry under way, until it is known to be committed."""
        self._expected = 0.0
        self._turns = 0
        self._members_in_it: set[str] = set()
        self._outgoing: dict[int, Pending] = {}
        self._flush_planned = False
        self._next_resend = 0.0

    @property
    def open(self) -> bool:
        """Whether this run's session is open: without one nothing of ours would be applied."""
        return self._node.state.session_of(self._node.options.name) == self.proposals.session

    @property
    def takes(self) -> bool:
        """Whether this node makes entries of proposals now: it leads, and its members are bound to their disks."""
        engine = self._node.engine
        return engine.takes_proposals and 0 < engine.configuration.index <= engine.commit_index

    @property
    def ready(self) -> bool:
        """Whether what waits can become an entry now: the one before it is committed."""
        # What is cheap to know comes first: this is asked for every proposal.
        return bool(self._batching.queue) and self._node.engine.commit_index >= self._entry_under_way and self.takes

    def take_waiting_members(self) -> set[str]:
        """Those whose proposals were in the entry that was made last, once it is committed: they wait to apply it."""
        if not self._members_in_it or self._node.engine.commit_index < self._entry_under_way:
            return set()
        members, self._members_in_it = self._members_in_it, set()
        return members

    # This node's own.

    def route(self, pending: Pending) -> None:
        """Bring a proposal to the leader; while there is none it stays here."""
        node = self._node
        if not node.running or not self.open:
            return
        if node.engine.leads:
            if self.takes:
                pending.sent_at = node.loop.time()
                if not self._batching.add((len(pending.command) + _ITEM_OVERHEAD, pending, "", None)):
                    full = NotApplied("the leader's queue is full", overloaded=True)
                    if not pending.exposed:
                        self.proposals.resolve(pending.number, full)
                self.plan_flush()
        elif node.engine.leader is not None:
            pending.sent_at = node.loop.time()
            self._outgoing[pending.number] = pending
            if len(self._outgoing) == 1:
                node.loop.call_soon(self._forward_own)

    def _forward_own(self) -> None:
        """All that came in one turn of the loop, in as few messages as they fit into: each costs both nodes a step."""
        outgoing, self._outgoing = self._outgoing, {}
        engine, now = self._node.engine, self._node.loop.time()
        items: list[Item] = []
        size, below = 0, self.proposals.below()
        for pending in outgoing.values():
            if not self.proposals.waits(pending):
                continue
            if engine.leads or engine.leader is None:  # since this turn
                pending.sent_at = None
                self.route(pending)
                continue
            if items and size + len(pending.command) > MAX_ENTRY_BYTES:
                self._forward(items)
                items, size = [], 0
            items.append(self.proposals.item(pending, below, now))
            size += len(pending.command) + _ITEM_OVERHEAD
        if items:
            self._forward(items)

    def _forward(self, items: list[Item]) -> None:
        leader = self._node.engine.leader
        assert leader is not None
        if not self._node.send(leader, ["prop", items]):
            for item in items:
                if item[0] == "p":
                    self.proposals.refused(item[2])

    def lost(self) -> None:
        """Who leads, or the way to it, changed: what waits is sent again, soon."""
        self.proposals.lost()
        self._next_resend = 0.0

    def resend(self, now: float) -> None:
        """Called often: send what was not sent yet, or has waited for long."""
        node = self._node
        if now < self._next_resend or node.engine.leader is None:
            return
        self._next_resend = now + _RESEND_EVERY
        if self.open:
            for pending in self.proposals.due(now):
                self.route(pending)
            return
        name = node.options.name
        item = sessions.opening(name, self.proposals.session, node.state.session_of(name))
        if not node.engine.leads:
            self._forward([item])
        elif self.takes:
            self._batching.add((_ITEM_OVERHEAD, None, name, item))
            self.plan_flush()

    def answered(self, answer: Answer) -> None:
        session, number, outcome = answer
        if session == self.proposals.session:
            self.proposals.resolve(number, outcome)

    def snapshot_installed(self) -> None:
        """Entries were skipped: outcomes of ours that were in them are in the snapshot's sessions."""
        for number in self.proposals.unresolved():
            outcome = self._node.state.outcome(self.proposals.session, number)
            if outcome is not None:
                self.proposals.resolve(number, outcome)

    def refused(self, pairs: list[list[Any]], why: str) -> None:
        """The member that we took for the leader didn't take these."""
        for session, number in pairs:
            if session == self.proposals.session:
                self.proposals.refused(number)
        if why == _NOT_YET:
            # It was elected a moment ago, mostly: the next tick asks again. One whose queue is full is left in peace.
            self._next_resend = 0.0

    # On the leader.

    def take(self, peer: str, items: list[Item]) -> None:
        """Items that `peer` forwards."""
        refused: list[list[Any]] = []
        takes = self.takes
        for item in items:
            size = (len(item[4]) if item[0] == "p" else 0) + _ITEM_OVERHEAD
            taken = takes and self._batching.add((size, None, peer, item))
            if not taken and item[0] == "p":
                refused.append([item[1], item[2]])
        if refused:
            why = "the leader's queue is full" if takes else _NOT_YET
            self._node.send(peer, ["no", refused, why])
        self.plan_flush()

    def leadership_ended(self) -> None:
        """What isn't in an entry yet goes back to where it came from."""
        self._entry_under_way = self._items_under_way = 0
        self._expected = 0.0
        self._members_in_it.clear()
        for _size, _own, peer, item in self._batching.drain():
            if item is not None and item[0] == "p":
                self._node.send(peer, ["no", [[item[1], item[2]]], "leadership ended"])

    def plan_flush(self) -> None:
        """Once for all that comes in the same turn of the loop; while nothing can be made, the next step asks again."""
        if not self._flush_planned and self.ready:
            self._flush_planned = True
            self._node.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        self._turns += 1
        if self.due():
            self._node.step(self.make_entry)

    def due(self) -> bool:
        """Whether what waits is to become an entry now. If not, each turn of the loop asks again, from when the entry
        before it is applied here: nobody was answered by it before.

        Whoever is answered mostly asks again at once. Clients that come as fast as they are answered else fall into two
        halves, one on its way through the log while the other is read, so that every entry carries half as much.
        """
        waiting = len(self._batching.queue)
        if self._items_under_way and self._node.engine.commit_index >= self._entry_under_way:
            self._expected = min(_MOST_COME_BACK * (self._items_under_way + waiting), _ENOUGH)
            self._items_under_way = 0
        if not waiting or not self.ready:
            return False
        if waiting >= self._expected or self._turns >= _TURNS:
            return True
        if self._node.applier.index >= self._entry_under_way:
            self.plan_flush()
        return False

    def make_entry(self) -> None:
        """To be called when it is `due`. One entry is in flight at a time; what comes meanwhile is the next one."""
        node = self._node
        now, proposals = node.loop.time(), self.proposals
        below = proposals.below()
        items: list[Item] = []
        for _size, own, peer, item in self._batching.take():
            if item is not None:
                items.append(item)
                self._members_in_it.add(peer)
            elif own is not None and proposals.waits(own):
                items.append(proposals.item(own, below, now))
        self._turns = 0
        if items:
            self._items_under_way = len(items)
            self._entry_under_way = node.engine.append(now, bytes([BATCH]) + sessions.encode_batch(items))
