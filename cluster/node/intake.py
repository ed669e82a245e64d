"""Brings proposals to the leader, and on the leader into entries: commands that come together share one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.api import NotApplied
from cluster.node import sessions
from cluster.node.batching import MAX_ENTRY_BYTES, Batching
from cluster.node.host import Host
from cluster.node.proposals import Pending, Proposals
from cluster.node.sessions import Answer, Item, ReplicatedState
from cluster.raft.engine import BATCH

_RESEND_EVERY = 0.25
_OPEN_AGAIN = 2.0
"""Seconds after which a member asks again to open its session: a leader of an older version doesn't say that it didn't
take the opening. One of this version writes it once."""
_OPENING = 0
"""Stands for the number in the refusal of an opening: proposals are numbered from 1."""
_MOST_ITEMS = 1024
"""Items in one message."""
_NOT_YET = "this member doesn't take proposals now"
_ITEM_OVERHEAD = 64
"""Bytes that an item takes beside its command, about."""
_TURNS = 40
"""Turns of the loop that an entry waits at most for clients that were just answered: about 0.1 ms of an idle loop."""
_MOST_COME_BACK = 0.9
_ENOUGH = 64
"""Commands in an entry from which on it gets hardly cheaper by more of them."""


class Intake:
    def __init__(self, host: Host, state: ReplicatedState, applied: Callable[[], int], session: bytes) -> None:
        """`applied`: the log index that `state` stands at. `session`: this run's, never used before."""
        self.proposals = Proposals(host.loop, session)
        self._host = host
        self._state = state
        self._applied = applied
        self._batching = Batching(host.options.queue_bytes)
        self._entry_under_way = 0
        self._items_under_way = 0
        """How many are in the entry under way, until it is known to be committed."""
        self._expected = 0.0
        self._turns = 0
        self._members_in_it: set[str] = set()
        self._outgoing: dict[int, Pending] = {}
        self._flush_planned = False
        self._next_resend = self._open_again_at = 0.0
        self._held: set[tuple[bytes, int]] = set()
        """Session and number of what others sent, queued or in an entry of this leadership, and isn't applied yet."""
        self._openings: dict[str, tuple[bytes, bytes]] = {}
        """By member, the opening that was taken last in this leadership: its session, and the one that it replaces."""
        self._unsaid: list[tuple[str, list[list[Any]], str]] = []
        self._caught_up = False

    @property
    def open(self) -> bool:
        """Whether this run's session is open: without one nothing of ours would be applied."""
        return self._state.session_of(self._host.options.name) == self.proposals.session

    @property
    def takes(self) -> bool:
        """Whether this node makes entries of proposals now: it leads, and its members are bound to their disks."""
        engine = self._host.engine
        return engine.takes_proposals and 0 < engine.configuration.index <= engine.commit_index

    @property
    def ready(self) -> bool:
        """Whether what waits can become an entry now: the one before it is committed, and all is applied that earlier
        leaders left, so that nothing is written again which came through one of them."""
        # What is cheap to know comes first: this is asked for every proposal.
        return (
            bool(self._batching.queue)
            and self._host.engine.commit_index >= self._entry_under_way
            and self.takes
            and (self._caught_up or self._catches_up())
        )

    def _catches_up(self) -> bool:
        self._caught_up = self._applied() >= self._host.engine.led_from
        return self._caught_up

    def take_waiting_members(self) -> set[str]:
        """Members with proposals in the last committed entry, waiting for its commit index."""
        if not self._members_in_it or self._host.engine.commit_index < self._entry_under_way:
            return set()
        members, self._members_in_it = self._members_in_it, set()
        return members

    # This node's own.

    def route(self, pending: Pending) -> None:
        """Bring a proposal to the leader; while there is none it stays here."""
        host = self._host
        if not host.running or not self.open:
            return
        engine = host.engine
        if engine.leads:
            if self.takes:
                self._queue_own(pending)
                self.plan_flush()
        elif engine.leader is not None:
            pending.sent = True
            self._outgoing[pending.number] = pending
            if len(self._outgoing) == 1:
                host.soon(self._forward_own)

    def _queue_own(self, pending: Pending) -> None:
        """Once in a leadership: what is queued, or in an entry that is under way, stays there until that ends."""
        term = self._host.engine.term
        if pending.queued_in == term or self._batching.add((len(pending.command) + _ITEM_OVERHEAD, pending, "", None)):
            pending.queued_in, pending.sent = term, True
        elif not pending.exposed:
            full = NotApplied("the leader's queue is full", overloaded=True)
            self.proposals.resolve(pending.number, full)

    def _forward_own(self) -> None:
        """All that came in one turn of the loop, in as few messages as they fit into: each costs both nodes a step."""
        outgoing, self._outgoing = self._outgoing, {}
        engine = self._host.engine
        items: list[Item] = []
        size, below = 0, self.proposals.below()
        for pending in outgoing.values():
            if not self.proposals.waits(pending):
                continue
            if engine.leads or engine.leader is None:  # since this turn
                pending.sent = False
                self.route(pending)
                continue
            if items and (size + len(pending.command) > MAX_ENTRY_BYTES or len(items) >= _MOST_ITEMS):
                self._forward(items)
                items, size = [], 0
            items.append(self.proposals.item(pending, below))
            size += len(pending.command) + _ITEM_OVERHEAD
        if items:
            self._forward(items)

    def _forward(self, items: list[Item]) -> bool:
        leader = self._host.engine.leader
        assert leader is not None
        if self._host.send(leader, ["prop", items]):
            return True
        for item in items:
            if item[0] == "p":
                self.proposals.refused(item[2])
        return False

    def lost(self) -> None:
        """The leader or our connection to it changed: resend all pending proposals."""
        self.proposals.lost()
        self._open_again_at = self._next_resend = 0.0

    def resend(self, now: float) -> None:
        """Called often: send what was not sent yet, was refused, or was on a way that is lost."""
        if self._unsaid:
            unsaid, self._unsaid = self._unsaid, []
            for peer, pairs, why in unsaid:
                self._refuse(peer, pairs, why)
        if now < self._next_resend or self._host.engine.leader is None:
            return
        self._next_resend = now + _RESEND_EVERY
        if self.open:
            for pending in self.proposals.unsent():
                self.route(pending)
        else:
            self._open_session(now)

    def _open_session(self, now: float) -> None:
        host = self._host
        name = host.options.name
        item = sessions.opening(name, self.proposals.session, self._state.session_of(name))
        if host.engine.leads:
            if self.takes:
                self._take_opening("", item)
                self.plan_flush()
        elif now >= self._open_again_at and self._forward([item]):
            self._open_again_at = now + _OPEN_AGAIN

    def answered(self, answer: Answer) -> None:
        session, number, outcome = answer
        if session == self.proposals.session:
            self.proposals.resolve(number, outcome)
        elif self._held:
            self._held.discard((session, number))

    def snapshot_installed(self) -> None:
        """Entries were skipped: outcomes of ours that were in them are in the snapshot's sessions."""
        for number in self.proposals.unresolved():
            outcome = self._state.outcome(self.proposals.session, number)
            if outcome is not None:
                self.proposals.resolve(number, outcome)

    def refused(self, pairs: list[list[Any]], why: str) -> None:
        """The member that we took for the leader didn't take these."""
        for session, number in pairs:
            if session != self.proposals.session:
                continue
            if number == _OPENING:
                self._open_again_at = 0.0
            else:
                self.proposals.refused(number)
        if why == _NOT_YET:
            # It was elected a moment ago, mostly: the next tick asks again. One whose queue is full is left in peace.
            self._next_resend = 0.0

    # On the leader.

    def take(self, peer: str, items: list[Item]) -> None:
        """Items that `peer` forwards. What is queued or in an entry already, from before its connection was lost, stays
        as it is: its sender learns what became of it from the log."""
        refused: list[list[Any]] = []
        forged = False
        takes, held, owner = self.takes, self._held, self._state.owner
        for item in items:
            if item[0] == "o":
                if item[1] != peer:
                    forged = True
                    continue
                if not takes or not self._take_opening(peer, item):
                    refused.append([item[2], _OPENING])
                continue
            key = (item[1], item[2])
            if key in held:
                continue
            if owner(item[1]) not in (peer, None):
                forged = True
                continue
            if not takes or not self._batching.add((len(item[4]) + _ITEM_OVERHEAD, None, peer, item)):
                refused.append([*key])
            else:
                held.add(key)
        if forged:
            # The other's next write would be answered by what it never asked for.
            host, reason = self._host, "it proposes in another member's session"
            host.limited.warning(host.loop.time(), (peer, reason), "message_refused", peer=peer, reason=reason)
        if refused:
            self._refuse(peer, refused, "the leader's queue is full" if takes else _NOT_YET)
        self.plan_flush()

    def _take_opening(self, peer: str, item: Item) -> bool:
        """Whether the session is open, or its opening is queued or under way."""
        _kind, member, session, replaces = item
        if self._openings.get(member) == (session, replaces) or self._state.session_of(member) == session:
            return True
        if not self._batching.add((_ITEM_OVERHEAD, None, peer, item)):
            return False
        self._openings[member] = (session, replaces)
        return True

    def end_removed_sessions(self) -> None:
        """End the sessions of removed members, once their removal is committed."""
        host = self._host
        configuration = host.engine.configuration
        if not self.takes or not (self._caught_up or self._catches_up()):
            return
        for item in self._state.without_member([member.name for member in configuration.members]):
            self._take_opening("", item)
        self.plan_flush()

    def _refuse(self, peer: str, pairs: list[list[Any]], why: str) -> None:
        """Tell `peer` what wasn't taken: it waits for that, and sends nothing again by itself."""
        for start in range(0, len(pairs), _MOST_ITEMS):
            some = pairs[start : start + _MOST_ITEMS]
            if not self._host.send(peer, ["no", some, why]) and peer in self._host.engine.connected:
                # Its queue is full. (Where the connection is lost, its sender knows.)
                self._unsaid.append((peer, some, why))

    def leadership_ended(self) -> None:
        """What isn't in an entry yet goes back to where it came from."""
        self._entry_under_way = self._items_under_way = 0
        self._expected = 0.0
        self._members_in_it.clear()
        self._held.clear()
        self._openings.clear()
        self._caught_up = False
        refused: dict[str, list[list[Any]]] = {}
        for _size, _own, peer, item in self._batching.drain():
            if item is not None and peer:
                pair = [item[1], item[2]] if item[0] == "p" else [item[2], _OPENING]
                refused.setdefault(peer, []).append(pair)
        for peer, pairs in refused.items():
            self._refuse(peer, pairs, "leadership ended")

    def plan_flush(self) -> None:
        """Once for all that comes in the same turn of the loop; while nothing can be made, the next step asks again."""
        if not self._flush_planned and self.ready:
            self._flush_planned = True
            self._host.soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        self._turns += 1
        if self.due():
            self._host.step(self.make_entry)

    def due(self) -> bool:
        """Whether what waits is to become an entry now. If not, each turn of the loop asks again, from when the entry
        before it is applied here: nobody was answered by it before.

        Clients usually send their next request as soon as they're answered. Without waiting for them, they split into
        two groups that alternate, and each entry carries half as many commands.
        """
        waiting = len(self._batching.queue)
        if self._items_under_way and self._host.engine.commit_index >= self._entry_under_way:
            self._expected = min(_MOST_COME_BACK * (self._items_under_way + waiting), _ENOUGH)
            self._items_under_way = 0
        if not waiting or not self.ready:
            return False
        if waiting >= self._expected or self._turns >= _TURNS:
            return True
        if self._applied() >= self._entry_under_way:
            self.plan_flush()
        return False

    def make_entry(self) -> None:
        """To be called when it is `due`. One entry is in flight at a time; what comes meanwhile is the next one."""
        host, proposals = self._host, self.proposals
        settled, below = self._state.settled, proposals.below()
        items: list[Item] = []
        for _size, own, peer, item in self._batching.take():
            if item is not None:
                if item[0] == "p" and self._held and settled(item[1], item[2]):
                    self._held.discard((item[1], item[2]))  # An entry of an earlier leader brought it.
                    continue
                items.append(item)
                self._members_in_it.add(peer)
            elif own is not None and proposals.waits(own):
                items.append(proposals.item(own, below))
        self._turns = 0
        if items:
            self._items_under_way = len(items)
            self._entry_under_way = host.engine.append(host.loop.time(), bytes([BATCH]) + sessions.encode_batch(items))
