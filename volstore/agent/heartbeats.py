"""The leader's time-outs of nodes: how long each may stay silent, who has been silent for too long.

Heartbeats stay out of the log: only the leader knows them, and what they end in, a node's `down`, is a command. So a
new leader, and one that was paused, gives every node time to be heard before it judges anyone (Nomad does so, too).
Nothing here does I/O; the clocks are given.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from volstore.core.model import Node

TICK = 0.25
"""Seconds between two looks at the wheel, and the width of its buckets."""
FAILOVER_PATIENCE = 300.0
"""Seconds that a new leader waits at least before it calls a node down that it hasn't heard yet."""

_Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """As in Nomad's server block; `min_ttl` and `grace` in seconds, `most_per_second` over all nodes."""

    min_ttl: float = 10.0
    grace: float = 10.0
    most_per_second: float = 50.0

    def ttl(self, node_id: str, node_count: int) -> float:
        """Seconds within which a node shall be heard again: more with more nodes, so that all of them together stay
        under the rate; and up to twice as much, drawn by the node's ID, so that they don't come in step.

        The same on every member.
        """
        drawn = int.from_bytes(hashlib.blake2b(node_id.encode(), digest_size=4).digest(), "big")
        return self._base(node_count) * (1 + drawn / 2**32)

    def longest_ttl(self, node_count: int) -> float:
        return 2 * self._base(node_count)

    def _base(self, node_count: int) -> float:
        return max(self.min_ttl, node_count / self.most_per_second)


class Heartbeats:
    """The nodes that must be heard from, in a wheel of buckets of TICK seconds: hearing one costs two dictionary
    writes, and looking for silent ones costs what is due.

    `clock` doesn't go back, `wall` is the time of day; both in seconds. Nodes in `kept_alive` never expire.
    """

    def __init__(
        self, settings: HeartbeatSettings, *, clock: _Clock, wall: _Clock, kept_alive: Collection[str] = ()
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._wall = wall
        self._kept_alive = frozenset(kept_alive)
        self._longest = 0.0
        self._deadlines: dict[str, float] = {}
        # The bucket where each node's entry lies; entries elsewhere are left-overs, skipped when their time comes.
        self._place: dict[str, int] = {}
        self._buckets: dict[int, list[str]] = {}
        self._next_bucket = 0
        self._looked = (0.0, 0.0)

    def waits_for(self, node_id: str) -> bool:
        return node_id in self._deadlines

    def __len__(self) -> int:
        """How many nodes are waited for."""
        return len(self._deadlines)

    def begin(self, nodes: Iterable[Node], node_count: int) -> None:
        """Start over, as a leader that has heard nobody yet: all that aren't down have time."""
        self._longest = max(self._longest, self.settings.longest_ttl(node_count))
        patience = max(FAILOVER_PATIENCE, self._longest + self.settings.grace)
        self._deadlines.clear()
        self._place.clear()
        self._buckets.clear()
        now = self._clock()
        self._next_bucket = math.floor(now / TICK)
        self._looked = now, self._wall()
        for node in nodes:
            if node.status != "down":
                self._expect(node.id, now + patience)

    def follow(self, old: Node | None, new: Node | None, node_count: int) -> None:
        """A node came, reported or changed (it was heard), went, or was called down (it isn't waited for)."""
        if new is not None and new.status != "down":
            self.hear(new.id, node_count)
        elif old is not None:
            self._deadlines.pop(old.id, None)
            self._place.pop(old.id, None)

    def hear(self, node_id: str, node_count: int) -> float:
        """The node is alive now; the seconds within which it shall be heard again."""
        ttl = self.settings.ttl(node_id, node_count)
        self._longest = max(self._longest, ttl)
        self._expect(node_id, self._clock() + ttl + self.settings.grace)
        return ttl

    def postpone(self, node_id: str, seconds: float) -> None:
        """Look at the node again later: it couldn't be called down."""
        self._expect(node_id, self._clock() + seconds)

    def silent(self) -> list[str]:
        """The nodes whose time is over since the last look; they aren't waited for any more."""
        now = self._clock()
        self._looked = now, self._wall()
        found = []
        last = math.floor(now / TICK)
        for bucket in self._due_buckets(last):
            for node_id in self._buckets.pop(bucket):
                if self._place.get(node_id) != bucket:
                    continue
                deadline = self._deadlines[node_id]
                del self._place[node_id]
                if deadline <= now:
                    del self._deadlines[node_id]
                    found.append(node_id)
                else:
                    self._expect(node_id, deadline)
        return found

    @property
    def was_paused(self) -> bool:
        """Whether so much time passed since the last look that heartbeats may have come to a closed door: the process
        was stopped, or its machine, which stops `clock` but not the time of day."""
        at, wall = self._looked
        limit = max(1.0, self.settings.grace / 2)
        return self._clock() - at > limit or abs(self._wall() - wall) > limit

    def _due_buckets(self, last: int) -> Iterator[int]:
        first, self._next_bucket = self._next_bucket, last + 1
        if last - first > len(self._buckets):
            yield from sorted(bucket for bucket in self._buckets if bucket <= last)
            return
        for bucket in range(first, last + 1):
            if bucket in self._buckets:
                yield bucket

    def _expect(self, node_id: str, deadline: float) -> None:
        if node_id in self._kept_alive:
            return
        self._deadlines[node_id] = deadline
        bucket = max(math.ceil(deadline / TICK), self._next_bucket)
        place = self._place.get(node_id)
        # An entry that is earlier finds the later deadline when its time comes: most are heard before, and again.
        if place is None or bucket < place:
            self._place[node_id] = bucket
            self._buckets.setdefault(bucket, []).append(node_id)
