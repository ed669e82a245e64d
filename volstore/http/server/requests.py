"""Counts requests by route, method and status, and how long they took: a few additions on the way of each answer."""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram's buckets in seconds; one more bucket holds what took longer."""


class Routed(Protocol):
    """A route: requests are counted under its path, so that IDs make no series of their own."""

    @property
    def path(self) -> str: ...

    @property
    def allow(self) -> tuple[str, ...]: ...


class Histogram:
    """Durations in seconds by bucket."""

    __slots__ = ("counts", "longest", "shortest", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0
        self.shortest = float("inf")
        self.longest = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds
        if seconds < self.shortest:
            self.shortest = seconds
        if seconds > self.longest:
            self.longest = seconds


class RequestFigures:
    """`counts` by (route, method, status), `durations` by (route, method). Blocking queries count with their wait."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}

    def answered(self, route: Routed | None, method: str, status: int, seconds: float) -> None:
        """`route` None: there is no such path. Methods that a route hasn't got are counted as one."""
        path = route.path if route is not None else "unknown"
        if route is None or method not in route.allow:
            method = "other"
        key = path, method, status
        self.counts[key] = self.counts.get(key, 0) + 1
        durations = self.durations.get((path, method))
        if durations is None:
            durations = self.durations[path, method] = Histogram()
        durations.observe(seconds)
