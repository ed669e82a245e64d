"""This node's own proposals: numbered, sent to the leader, resent when the leader changes, ended at their deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from cluster.api import NotApplied, Outcome, Unknown
from cluster.node.sessions import Item, proposal


@dataclass(slots=True)
class Pending:
    """One proposal that waits. `exposed`: a copy may be, or become, part of the log. `sent`: it was brought to whoever
    leads, and nothing was heard since that would take it from there. `queued_in`: the last term in which this node
    led and took it itself; 0 for none."""

    number: int
    command: bytes
    deadline: float
    answer: asyncio.Future[Outcome]
    sent: bool = False
    queued_in: int = 0
    exposed: bool = False
    copies: int = 0


class Proposals:
    """The proposals of one session, in order of their numbers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: bytes, *, limit: int = 65_536) -> None:
        self.session = session
        self._loop = loop
        self._limit = limit
        self._pending: dict[int, Pending] = {}
        self._next = 1
        self._below = 1
        self._expiry: asyncio.TimerHandle | None = None
        """One timer for all of them: at the earliest deadline, or that of one which was answered meanwhile."""
        self._expires_at = math.inf

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, command: bytes, deadline: float) -> Pending | NotApplied:
        """A new proposal, not sent yet; it ends by itself at `deadline` (loop time)."""
        if len(self._pending) >= self._limit:
            return NotApplied(f"{self._limit} proposals wait on this node already; try again", overloaded=True)
        number = self._next
        self._next += 1
        pending = Pending(number, command, deadline, self._loop.create_future())
        self._pending[number] = pending
        if deadline < self._expires_at:
            self._set_expiry(deadline)
        return pending

    def _set_expiry(self, deadline: float) -> None:
        self._cancel_expiry()
        self._expires_at = deadline
        self._expiry = self._loop.call_at(deadline, self._expire)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._expires_at = math.inf

    def _expire(self) -> None:
        # Not only what is due by the clock: a timer may come a little early.
        now, self._expiry = max(self._loop.time(), self._expires_at), None
        for pending in [pending for pending in self._pending.values() if pending.deadline <= now]:
            if pending.exposed:
                self.resolve(pending.number, Unknown("the deadline passed before the write was known to be applied"))
            else:
                self.resolve(pending.number, NotApplied("there was no leader to take it before the deadline"))
        self._expires_at = math.inf
        if self._pending:
            self._set_expiry(min(pending.deadline for pending in self._pending.values()))

    def below(self) -> int:
        """All numbers under this one are answered."""
        while self._below < self._next and self._below not in self._pending:
            self._below += 1
        return self._below

    def waits(self, pending: Pending) -> bool:
        """Whether it has no answer yet."""
        return pending.number in self._pending

    def item(self, pending: Pending, below: int) -> Item:
        """`pending` as it goes into an entry, with what `below` gives; it counts as sent."""
        pending.sent = True
        pending.exposed = True
        pending.copies += 1
        return proposal(self.session, pending.number, below, pending.command)

    def refused(self, number: int) -> None:
        """The member that got it didn't take it. If that was the only copy, no log can have it."""
        if (pending := self._pending.get(number)) is not None:
            pending.sent = False
            pending.copies -= 1
            if pending.copies == 0:
                pending.exposed = False

    def lost(self) -> None:
        """The leader changed, or its connection: everything that waits may have to be sent again."""
        for pending in self._pending.values():
            pending.sent = False

    def unsent(self) -> list[Pending]:
        """What has to be sent now. Time alone sends nothing again: a slow leader would be sent all of it twice."""
        return [pending for pending in self._pending.values() if not pending.sent]

    def unresolved(self) -> list[int]:
        return list(self._pending)

    def resolve(self, number: int, outcome: Outcome) -> None:
        """Answer a proposal; nothing if it was answered before."""
        pending = self._pending.pop(number, None)
        if pending is not None and not pending.answer.done():
            pending.answer.set_result(outcome)

    def end(self, outcome: Callable[[Pending], Outcome]) -> None:
        for pending in list(self._pending.values()):
            self.resolve(pending.number, outcome(pending))
        self._cancel_expiry()
