"""How long to wait before dialling a peer again: doubling, with jitter, and hurried when the peer shows up itself."""

from __future__ import annotations

from cluster.ports import Random


class Backoff:
    """Delays in seconds, from about `shortest` to about `longest`, each 25% up or down at random: members that lost
    each other at the same moment don't come back at the same moment."""

    def __init__(self, random: Random, shortest: float, longest: float) -> None:
        self._random = random
        self._shortest = shortest
        self._longest = longest
        self._failures = 0

    def after(self, lived: float) -> float:
        """The delay after a connection that lived for so many seconds (0: it never came about).

        Only one that outlived the longest delay counts as a success: else a peer that accepts and at once hangs up
        would be dialled at the shortest delay for ever.
        """
        if lived >= self._longest:
            self._failures = 0
        delay = min(self._longest, self._shortest * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (0.75 + 0.5 * self._random.random())
