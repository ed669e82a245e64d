"""What a member asks its leader: the index for linearizable reads, and questions of its application; and how old its
own state is, for reads that ask nobody.

Both kinds of question are sent again when the leader or the connection to it changed, and after `REPEAT_AFTER`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cluster.api import NoLeader
from cluster.node.host import Host
from cluster.raft.messages import Frame

REPEAT_AFTER = 5.0
"""Seconds after which an unanswered question is sent again though neither the leader nor the connection changed: only
a full queue loses one so. It is longer than a slow link takes to answer: an answer to an older try is dropped."""
_AGAIN_AFTER = 0.05
"""Seconds after which a question is sent again that was answered with None."""

Answer = Callable[[bytes], bytes | None]
"""Callback on the leader. Returns None for "not yet: retry". Takes any bytes: an exception ends the leader."""


def _ask_leader(host: Host, frame: Frame, here: Callable[[], None]) -> bool:
    """Send `frame` to the leader, or do `here` if this node leads; False when neither can be done now."""
    leader = host.engine.leader
    if not host.running or leader is None:
        return False
    if host.engine.leads:
        here()
        return True
    return host.send(leader, frame)


class LinearizableReads:
    """Linearizable reads: asks the leader for a read index; waiting reads share one request."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: list[asyncio.Future[int]] = []
        self._asked: list[asyncio.Future[int]] = []
        self._question = 0
        self._asked_at: float | None = None

    async def ask(self) -> int:
        """The log index that a read which starts now must have seen applied. Waits for a leader without a limit."""
        future: asyncio.Future[int] = self._host.loop.create_future()
        self._waiting.append(future)
        self._put()
        return await future

    def _put(self) -> None:
        """One question at a time: it proves leadership after every read that joined it, and not for later ones."""
        host = self._host
        if self._asked_at is not None or not self._waiting or host.engine.leader is None or not host.running:
            return
        self._asked, self._waiting = self._waiting, []
        self._question += 1
        question = self._question
        self._asked_at = host.loop.time()

        def read() -> None:
            host.engine.read(host.loop.time(), lambda index: self.answered(question, index))

        if not _ask_leader(host, ["read?", question], lambda: host.step(read)):
            self.lost()

    def answered(self, question: int, index: int | None) -> None:
        """None: the member that was asked doesn't lead (any more); the question is sent again."""
        if question != self._question or self._asked_at is None:
            return
        if index is None:
            self.lost()
            return
        asked, self._asked, self._asked_at = self._asked, [], None
        for future in asked:
            if not future.done():
                future.set_result(index)
        if self._waiting:
            self._host.soon(self._put)

    def lost(self) -> None:
        """The question won't be answered; the reads that shared it wait for the next one."""
        self._waiting = self._asked + self._waiting
        self._asked, self._asked_at = [], None

    def repeat(self) -> None:
        """Called often: send what waits or has no answer for long, and forget the reads that were given up."""
        # Here and not for each read: thousands that wait at once would each look at all the others.
        self._waiting = [future for future in self._waiting if not future.done()]
        if self._asked_at is not None and self._host.loop.time() - self._asked_at >= REPEAT_AFTER:
            self.lost()
        self._put()


@dataclass(slots=True)
class _Asked:
    question: bytes
    answer: asyncio.Future[bytes]
    again_at: float = 0.0


class LeaderQuestions:
    """LinearizableReads of a member's application to the leader's: bytes there and bytes back, outside of the log.

    Nothing of it is replicated, durable or linearizable. The answerer believes that it leads; it may be wrong.
    LinearizableReads are retried, so they must be idempotent.
    """

    def __init__(self, host: Host, answer: Answer | None) -> None:
        self._host = host
        self._answer = answer
        self._asked: dict[int, _Asked] = {}
        self._number = 0

    async def ask(self, question: bytes, deadline: float) -> bytes:
        """The leader's answer, from this node or another; `deadline` in the loop's time. Raises NoLeader past it."""
        self._number += 1
        number, asked = self._number, _Asked(question, self._host.loop.create_future())
        self._asked[number] = asked
        self._put(number, asked)
        try:
            async with asyncio.timeout_at(deadline):
                return await asked.answer
        except TimeoutError:
            raise NoLeader("no leader answered before the deadline") from None
        finally:
            del self._asked[number]

    def taken(self, question: bytes) -> bytes | None:
        """This member's answer to a question that came to it."""
        if self._answer is None or not self._host.engine.leads:
            return None
        return self._answer(question)

    def answered(self, number: int, answer: bytes | None) -> None:
        asked = self._asked.get(number)
        if asked is None or asked.answer.done():
            return
        if answer is None:
            asked.again_at = self._host.loop.time() + _AGAIN_AFTER
        else:
            asked.answer.set_result(answer)

    def lost(self) -> None:
        """The leader or the connection to it changed."""
        for asked in self._asked.values():
            asked.again_at = 0.0

    def repeat(self) -> None:
        """Called often: send again what has no answer for long."""
        now = self._host.loop.time()
        for number, asked in list(self._asked.items()):
            if asked.again_at <= now and not asked.answer.done():
                self._put(number, asked)

    def _put(self, number: int, asked: _Asked) -> None:
        asked.again_at = self._host.loop.time() + REPEAT_AFTER
        frame = ["ask", number, asked.question]
        if not _ask_leader(self._host, frame, lambda: self.answered(number, self.taken(asked.question))):
            asked.again_at = 0.0


class Freshness:
    """How old a follower's state may be: the time since it had all that the leader, when last heard, had committed.

    Hearing the leader isn't enough to be fresh: a member that catches up hears it all the time. A new leader doesn't
    know of all that was committed before it until an entry of its own term is (Raft §6.4): its word counts only for a
    state that has such an entry applied, which the caller knows as `same_term`. Times in seconds of one clock, indexes
    are the log's. `known` is False until the node has caught up once: before, it can't tell how old its state is.
    """

    def __init__(self, now: float) -> None:
        self.known = False
        self._since = now
        self._awaited: tuple[int, float] | None = None

    def waits_for(self, index: int) -> bool:
        """Whether `index` covers what the leader said, and didn't at the last call of `applied`."""
        return self._awaited is not None and index >= self._awaited[0]

    def heard(self, now: float, commit_index: int, applied: int, same_term: bool) -> None:
        """The leader said at `now` that it has committed so much."""
        if self._awaited is None or (applied >= commit_index and same_term):
            # Otherwise one at a time: what is heard meanwhile only makes the answer older than it need be.
            self._awaited = (commit_index, now)
        self.applied(applied, same_term)

    def applied(self, index: int, same_term: bool) -> None:
        if self._awaited is not None and index >= self._awaited[0] and same_term:
            self.known = True
            self._since = self._awaited[1]
            self._awaited = None

    def leader_changed(self) -> None:
        """What an earlier leader said says nothing of what the present one has committed."""
        self._awaited = None

    def age(self, now: float) -> float:
        return now - self._since
