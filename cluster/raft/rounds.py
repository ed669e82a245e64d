"""When a leader sent its rounds: precise for recent rounds, coarse for old ones, known for all.

Over a slow link, an answer may be tens of thousands of rounds late. Keeping the time of every round would need
unbounded memory. Without the old times, the leader would take a member that answers late for a silent one.
"""

from __future__ import annotations

import math
from bisect import bisect_right

MOST = 1024
"""Rounds whose time is kept. Past that, every other one is dropped: the older a round, the coarser its time."""


class RoundTimes:
    """Times of one leadership's rounds, which count up. `resolution`: least seconds between two that are kept."""

    def __init__(self, resolution: float) -> None:
        self._resolution = resolution
        self._rounds: list[int] = []
        self._times: list[float] = []
        self._next = -math.inf

    def clear(self) -> None:
        """Another leadership begins."""
        self._rounds.clear()
        self._times.clear()
        self._next = -math.inf

    def sent(self, round_: int, now: float) -> None:
        if now < self._next:
            return
        self._next = now + self._resolution
        self._rounds.append(round_)
        self._times.append(now)
        if len(self._rounds) > MOST:
            # The first one stays, so that every round of this leadership has a time at or before it.
            del self._rounds[1::2], self._times[1::2]

    def of(self, round_: int) -> float:
        """The time when `round_` was sent, or somewhat before; -inf for a round of another leadership.

        Never later than the truth: a leader may step down too early, but never too late (hole 22)."""
        rounds = self._rounds
        if rounds and round_ >= rounds[-1]:
            return self._times[-1]  # As nearly always.
        position = bisect_right(rounds, round_)
        return self._times[position - 1] if position else -math.inf
