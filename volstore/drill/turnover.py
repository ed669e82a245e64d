"""Which volumes a load uses: each for a bounded number of operations, so that its history can be judged."""

from __future__ import annotations

from random import Random

OPERATIONS = 60
"""On one volume, before another one takes its place: the checker's work grows faster than a history."""


class Turnover:
    """`count` volumes at a time; their IDs are `prefix`, the number of the place and that of the life in it."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix = prefix
        self._lives = [0] * count
        self._operations = [0] * count

    def draw(self, random: Random) -> str:
        """The volume of one more operation."""
        place = random.randrange(len(self._lives))
        if self._operations[place] >= OPERATIONS:
            self._lives[place] += 1
            self._operations[place] = 0
        self._operations[place] += 1
        return f"{self._prefix}-{place}-{self._lives[place]}"
