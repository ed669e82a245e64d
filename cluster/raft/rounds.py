"""When a leader sent its rounds: exactly enough for the recent ones, roughly for the old ones, never nothing.

A slow link answers rounds that were sent seconds and tens of thousands of rounds ago. To keep each of them would cost
memory without a bound, and to forget the old ones would take a member that answers for a silent one.
"""

from __future__ import annotations

import math
from bisect import bisect_right

MOST = 1024
"""Rounds whose time is kept. When there are more, every other one goes: the older a round, the rougher its time."""


class RoundTimes:
    """The times of one leadership's rounds, which count up. `resolution`: seconds between two that are kept."""

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
            # The first one stays: there is a time at or before every round of this leadership.
            del self._rounds[1::2], self._times[1::2]

    def of(self, round_: int) -> float:
        """A time at which `round_` wasn't sent yet, or was just being sent; -inf for a round of another leadership.

        Never later than the truth: a leader may believe too early that it is alone, and never too late (hole 22)."""
        rounds = self._rounds
        if rounds and round_ >= rounds[-1]:
            return self._times[-1]  # As nearly always.
        position = bisect_right(rounds, round_)
        return self._times[position - 1] if position else -math.inf
