"""The leader's heartbeat timers: how long each client node may stay silent, and which nodes have timed out.

Heartbeats are not in the log: only the leader knows them. A missed heartbeat leads to a command that marks the node
`down`. A new leader, or one that was paused, therefore gives every node time to send a heartbeat before it marks any
(so does Nomad's). Nothing here does I/O; the caller passes the clocks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from volstore.core.model import Node

TICK = 0.25
"""Seconds between two checks of the timer wheel, and the width of its buckets."""
FAILOVER_PATIENCE = 300.0
"""The least seconds that a new leader waits before it marks a node down that has sent it no heartbeat."""

_Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """As in Nomad's server block. `min_ttl` and `grace` are in seconds; `most_per_second` counts all nodes."""

    min_ttl: float = 10.0
    grace: float = 10.0
    most_per_second: float = 50.0

    def ttl(self, node_id: str, node_count: int) -> float:
        """Seconds within which a node must send its next heartbeat; every member computes the same.

        It grows with the number of nodes, so that all heartbeats together stay below the rate. The node's ID adds up to
        the same again, so that nodes don't send in step.
        """
        drawn = int.from_bytes(hashlib.blake2b(node_id.encode(), digest_size=4).digest(), "big")
        return self._base(node_count) * (1 + drawn / 2**32)

    def longest_ttl(self, node_count: int) -> float:
        return 2 * self._base(node_count)

    def _base(self, node_count: int) -> float:
        return max(self.min_ttl, node_count / self.most_per_second)


class Heartbeats:
    """A timer wheel of nodes, in buckets of TICK seconds.

    A heartbeat costs two dictionary writes; a check for silent nodes costs what is due. `clock` is monotonic, `wall` is
    the time of day, both in seconds. Nodes in `kept_alive` never expire.
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
        # The bucket of each node's valid entry. Entries in other buckets are stale, and skipped when they are due.
        self._place: dict[str, int] = {}
        self._buckets: dict[int, list[str]] = {}
        self._next_bucket = 0
        self._looked = (0.0, 0.0)

    def waits_for(self, node_id: str) -> bool:
        return node_id in self._deadlines

    def __len__(self) -> int:
        """How many nodes have a running timer."""
        return len(self._deadlines)

    def begin(self, nodes: Iterable[Node], node_count: int) -> None:
        """Start over, as a new leader: every node that isn't down gets a full time-out."""
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
        """Follow a change of a node: a report counts as a heartbeat; a node that is down or gone has no timer."""
        if new is not None and new.status != "down":
            self.hear(new.id, node_count)
        elif old is not None:
            self._deadlines.pop(old.id, None)
            self._place.pop(old.id, None)

    def hear(self, node_id: str, node_count: int) -> float:
        """Take a heartbeat. Returns the seconds within which the node must send the next one."""
        ttl = self.settings.ttl(node_id, node_count)
        self._longest = max(self._longest, ttl)
        self._expect(node_id, self._clock() + ttl + self.settings.grace)
        return ttl

    def postpone(self, node_id: str, seconds: float) -> None:
        """Restart the timer of a node that could not be marked down."""
        self._expect(node_id, self._clock() + seconds)

    def silent(self) -> list[str]:
        """The nodes that timed out since the last check. Their timers are removed."""
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
        """Whether heartbeats may have been missed because this process stood still for too long since the last check.

        When the machine was suspended, `clock` stood still too, but the time of day moved on.
        """
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
        # An earlier entry stays: when it is due it finds the later deadline. Most nodes send several heartbeats before.
        if place is None or bucket < place:
            self._place[node_id] = bucket
            self._buckets.setdefault(bucket, []).append(node_id)
