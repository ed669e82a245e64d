"""The leader's queue of commands for the next entry: commands that arrive together share one (hole 14)."""

from __future__ import annotations

from collections import deque

from cluster.node.proposals import Pending
from cluster.node.sessions import Item

MAX_ENTRY_BYTES = 1 << 20
MAX_ENTRY_ITEMS = 512
"""Commands in one entry. An entry is applied in one piece: 512 of the dearest small commands take about 10 ms."""


Waiting = tuple[int, Pending | None, str, Item | None]
"""Its size in bytes, and either a proposal of this node or a member and the item that it sent."""


class Batching:
    """A queue bounded in bytes. One entry is under way at a time; what comes meanwhile goes into the next."""

    def __init__(self, limit_bytes: int) -> None:
        self.queue: deque[Waiting] = deque()
        """What waits, in order; for others to look at."""
        self._limit = limit_bytes
        self._bytes = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    def add(self, waiting: Waiting) -> bool:
        """False when the queue is full; a single command always finds its place in an empty one."""
        if self.queue and self._bytes + waiting[0] > self._limit:
            return False
        self.queue.append(waiting)
        self._bytes += waiting[0]
        return True

    def take(self) -> list[Waiting]:
        """As many as one entry may hold in bytes and in number; at least one if there is any."""
        taken: list[Waiting] = []
        size = 0
        while self.queue and len(taken) < MAX_ENTRY_ITEMS and (not taken or size + self.queue[0][0] <= MAX_ENTRY_BYTES):
            taken.append(self.queue.popleft())
            size += taken[-1][0]
        self._bytes -= size
        return taken

    def drain(self) -> list[Waiting]:
        """All of it: leadership ended."""
        queue, self.queue, self._bytes = list(self.queue), deque(), 0
        return queue
