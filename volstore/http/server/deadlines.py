"""When waiters have waited long enough: any number of deadlines on one timer of the loop.

Deadlines are rounded up to a grain, so that those of one grain are met together. All methods belong to one event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Iterable

BUCKETS_PER_SECOND = 32
"""The grain."""

Waiter = asyncio.Future[None]


class Deadlines:
    """Waiters by the time at which they are woken, in seconds of the loop's clock."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Waiter, None]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many waiters there are."""
        return sum(map(len, self._buckets.values()))

    def add(self, until: float, waiter: Waiter) -> None:
        """Wake `waiter` soon after `until`."""
        bucket = _bucket(until)
        members = self._buckets.get(bucket)
        if members is None:
            members = self._buckets[bucket] = {}
            heapq.heappush(self._order, bucket)
            if self._order[0] == bucket:
                self._set_timer()
        members[waiter] = None

    def discard(self, until: float, waiter: Waiter) -> None:
        # An emptied bucket stays until its time: it costs one entry, and most get company before.
        members = self._buckets.get(_bucket(until))
        if members is not None:
            members.pop(waiter, None)

    def close(self) -> None:
        """Wake nobody any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._order and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(self._order[0] / BUCKETS_PER_SECOND, self._expire)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time() * BUCKETS_PER_SECOND
        while self._order and self._order[0] <= now:
            wake(self._buckets.pop(heapq.heappop(self._order)))
        self._set_timer()


def wake(waiters: Iterable[Waiter]) -> None:
    """Waiters that weren't woken yet."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _bucket(until: float) -> int:
    return math.ceil(until * BUCKETS_PER_SECOND)
