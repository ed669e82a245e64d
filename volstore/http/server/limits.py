"""How much one caller may ask of this node: requests a second, and blocking queries that wait at the same time."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from volstore.core.errors import ApiError, Overloaded

MOST_BUCKETS = 20_000
"""Callers whose rate is remembered; who was forgotten begins with a full bucket again."""
BURST_SECONDS = 2.0
"""Seconds' worth of requests that may come at once after a rest."""


class RequestRate:
    """A token bucket for each caller: it refills by `rate` a second and holds BURST_SECONDS of that. Rate 0: no limit.

    `clock` gives seconds that only go forward.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._size = max(1.0, rate * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request of `caller`. Raises ApiError 429 with the seconds after which one more is good."""
        if not self._rate:
            return
        now = self._clock()
        left, then = self._buckets.pop(caller, (self._size, now))
        left = min(self._size, left + (now - then) * self._rate)
        if left < 1:
            self._buckets[caller] = left, now
            raise ApiError(
                429,
                f"too many requests: this node takes {self._rate:g} a second of each token",
                retry_after=math.ceil((1 - left) / self._rate),
            )
        self._buckets[caller] = left - 1, now
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)


class WaitersOfCallers:
    """Counts how many blocking queries of each caller wait, at most `most`. 0: any number."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: dict[str, int] = {}

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """While it waits. Raises Overloaded at the limit."""
        count = self._waiting.get(caller, 0)
        if self.most and count >= self.most:
            raise Overloaded(f"too many blocking queries: at most {self.most} of each token wait here at a time")
        self._waiting[caller] = count + 1
        try:
            yield
        finally:
            left = self._waiting[caller] - 1
            if left:
                self._waiting[caller] = left
            else:
                del self._waiting[caller]
