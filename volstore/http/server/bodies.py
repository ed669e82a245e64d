"""What all request bodies together may take of a node: memory while they are under way, and turns of its loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

from volstore.core.errors import ApiError

T = TypeVar("T")

SMALL = 64 * 1024
"""Bytes up to which a body may also take what larger ones leave free for it."""
SMALL_SHARE = 4
"""One part in so many of the budget is kept for small bodies."""
SLICE = 0.001
"""Seconds of the loop that a large body takes in a turn; afterwards it rests for as long as it took."""


class Bodies:
    """Belongs to one event loop. `most` bytes may be under way: what came of bodies whose requests aren't answered."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._one = asyncio.Lock()

    def share(self) -> Share:
        """For one request, which gives it back at its end."""
        return Share(self)

    async def in_turns(self, work: Generator[None, None, T]) -> T:
        """What `work` returns. It yields where the loop may do something else; one such work goes on at a time."""
        async with self._one:
            began = time.perf_counter()
            while True:
                try:
                    next(work)
                except StopIteration as done:
                    result: T = done.value
                    return result
                took = time.perf_counter() - began
                if took >= SLICE:
                    await asyncio.sleep(took)
                    began = time.perf_counter()


class Share:
    """What one body holds of the budget."""

    __slots__ = ("_bodies", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def grow(self, size: int) -> None:
        """To so many bytes. Raises ApiError 503 where the budget has no more."""
        bodies = self._bodies
        most = bodies.most if size <= SMALL else bodies.most - bodies.most // SMALL_SHARE
        held = bodies.held + size - self.size
        if held > most:
            raise ApiError(
                503,
                f"the request bodies under way here hold {bodies.held} of {most} bytes (max_bodies_bytes): try again, "
                "or send less at once",
                retry_after=1,
            )
        bodies.held, self.size = held, size

    def give_back(self) -> None:
        self._bodies.held -= self.size
        self.size = 0
