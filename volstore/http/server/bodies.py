"""Limits on what all request bodies together take of a node: memory, and time of its event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

from volstore.core.errors import ApiError

T = TypeVar("T")

SMALL = 64 * 1024
"""Bytes up to which a body may also take what larger ones leave free for it."""
SMALL_SHARE = 4
"""One part in so many of the budget is kept for small bodies."""
SLICE = 0.001
"""Seconds of the loop that large bodies take in a turn; afterwards they rest for as long as it took."""
MUCH = 32 * 1024
"""Bytes that came of a connection in one piece, from which on they wait for a turn."""


class Turns:
    """Who has much to read waits here for a turn, so that hundreds who come at once don't make one long turn of the
    loop. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._planned = False

    def join(self, work: Callable[[], None]) -> None:
        """Have `work` done in its turn, once; it raises nothing."""
        self._waiting.append(work)
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        began, took = time.perf_counter(), 0.0
        while self._waiting and took < SLICE:
            self._waiting.popleft()()
            took = time.perf_counter() - began
        self._planned = bool(self._waiting)
        if self._planned:
            asyncio.get_running_loop().call_later(took, self._go_on)


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
        """Run `work` to its result. It yields where the loop may run other tasks; one such work runs at a time."""
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
    """One body's share of the budget."""

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
