"""Applies committed entries in order, in bounded steps, and compares the state's digest with the leader's."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from cluster.node.sessions import Answer, ReplicatedState
from cluster.raft.engine import BATCH
from cluster.raft.log_matching import SafetyViolation
from cluster.storage.journal import Journal

MARK_EVERY = 1024
"""Log entries between two digests that members compare (a digest costs little, but not nothing)."""
_MARKS_KEPT = 16
_STEP_BYTES = 256 << 10
"""Entry data that one step applies before the loop gets its turn (hole 25)."""
_STEP_COMMANDS = 256
"""Commands that one step applies before the loop gets its turn. The entry that crosses the bound is applied whole:
with at most `MAX_ENTRY_ITEMS` in it, a step stays under 20 ms. Entries of older versions may hold more, and take
longer: where an entry is cut is the leader's to say, and every member applies it in one piece."""

Mark = tuple[int, bytes]


class StateDiverged(SafetyViolation):
    """This node's state differs from the leader's at the same log index. It must stop, and keep its data."""


class Applier:
    def __init__(self, state: ReplicatedState, index: int, answered: Callable[[Answer], None]) -> None:
        self.state = state
        self.index = index
        """The last entry that was applied."""
        self.bytes = 0
        """Entry data applied since the start, in bytes."""
        self._answered = answered
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._marks: dict[int, bytes] = {}
        self._newest: Mark | None = None
        self._expected: dict[int, bytes] = {}

    def advance(self, journal: Journal, commit_index: int) -> bool:
        """Apply what is committed, up to a bound; whether there is more to do."""
        done, commands, last = 0, 0, min(commit_index, journal.last_index)
        while self.index < last and done < _STEP_BYTES and commands < _STEP_COMMANDS:
            index = self.index + 1
            data = journal.data(index)
            answers = self._apply(index, data)
            commands += len(answers)
            # The position moves before anybody is told: telling may lead back here (hole 20).
            self.index = index
            if index % MARK_EVERY == 0:
                self._mark()
            self._tell(answers)
            self.bytes += len(data)
            done += len(data) + 64
        if self._waiters:
            self._wake()
        return self.index < last

    def _apply(self, index: int, data: bytes) -> list[Answer]:
        return self.state.apply(index, data[1:]) if data[0] == BATCH else []

    def _tell(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._answered(answer)

    def installed(self, index: int) -> None:
        """A snapshot replaced the state by that of `index`."""
        self.index = index
        self._wake()

    async def reached(self, index: int) -> None:
        """Return when entry `index` was applied here."""
        if index <= self.index:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (index, next(self._order), future))
        await future

    def _wake(self) -> None:
        while self._waiters and self._waiters[0][0] <= self.index:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    def mark(self) -> Mark | None:
        """The newest digest that this node can show."""
        return self._newest

    def expect(self, mark: Mark) -> None:
        """The leader has this digest at this index. Raises StateDiverged if ours is another, now or once there."""
        index, digest = mark
        if index > self.index:
            self._expected[index] = digest
            if len(self._expected) > _MARKS_KEPT:
                del self._expected[min(self._expected)]
        elif (ours := self._marks.get(index)) is not None:
            self._compare(index, ours, digest)

    def _mark(self) -> None:
        digest = self.state.digest()
        self._marks[self.index] = digest
        self._newest = (self.index, digest)
        if len(self._marks) > _MARKS_KEPT:
            del self._marks[min(self._marks)]
        if (expected := self._expected.pop(self.index, None)) is not None:
            self._compare(self.index, digest, expected)

    @staticmethod
    def _compare(index: int, ours: bytes, leaders: bytes) -> None:
        if ours != leaders:
            raise StateDiverged(
                f"at log index {index} this node's state has digest {ours.hex()} and the leader's {leaders.hex()}: "
                "this node stops; keep its data directory for inspection and replace it by a new member"
            )
