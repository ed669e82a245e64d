"""The outcomes that clients may ask for again under their Idempotency-Key, kept for ten minutes of log time.

Log time (logtime.py) is part of the state, so every member forgets a key at the same index. Nothing is forgotten early:
a full table refuses new keys instead.
"""

from __future__ import annotations

from collections import deque

from volstore.core.commands import Idempotency, Outcome
from volstore.core.frozen import Frozen
from volstore.core.tables import Table

KEPT_FOR = 600 * 10**9
"""Nanoseconds of log time."""
CAPACITY = 100_000
TOO_MANY_OF_ONE = (
    f"{CAPACITY} Idempotency-Keys are remembered at most, each for 10 minutes, and a caller has no more of them than "
    "are free: repeat later, or send none"
)
FORGOTTEN_AT_ONCE = 64
"""At most so many expired rows leave with one command: more than one, so that expired rows never fill the table."""


class Remembered(Frozen, frozen=True, kw_only=True):
    """The first outcome under a caller's key, and the SHA-256 of the request that it belongs to. No body, no secret.

    `time`: nanoseconds since 1970, log time.
    """

    caller: str
    key: str
    request_hash: bytes
    time: int
    index: int
    status: int
    text: str

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.index, self.status, self.text)


class Outcomes:
    """Remembered outcomes by caller and key; the rows of the table are in the order of their time."""

    __slots__ = ("_by_caller", "_queue", "table")

    def __init__(self) -> None:
        self.table: Table[tuple[str, str], Remembered] = Table("outcomes", Remembered, _key)
        self._queue: deque[Remembered] = deque()
        self._by_caller: dict[str, int] = {}

    def has_its_share(self, caller: str) -> bool:
        """Whether a caller has as many keys here as there are places left: so nobody, nor any few, can take them all.

        Asked where a request comes in, not in `apply`: requests under way may go a little beyond.
        """
        return self._by_caller.get(caller, 0) >= CAPACITY - len(self.table)

    @property
    def full(self) -> bool:
        return len(self.table) >= CAPACITY

    def find(self, asked: Idempotency, now: int) -> Remembered | None:
        found = self.table.get((asked.caller, asked.key))
        return None if found is None or _expired(found, now) else found

    def remember(self, asked: Idempotency, now: int, outcome: Outcome) -> None:
        """Keep `outcome` from `now` on. An expired row of the same key leaves; the new one goes to the end."""
        key = (asked.caller, asked.key)
        if key in self.table.rows:
            self._remove(key)
        row = Remembered(
            caller=asked.caller,
            key=asked.key,
            request_hash=asked.request_hash,
            time=now,
            index=outcome.index,
            status=outcome.status,
            text=outcome.text,
        )
        self.table.put(row)
        self._add(row)

    def next_expiry(self) -> int | None:
        """The log time at which the oldest row expires, or one that it replaced; None when there are none."""
        return self._queue[0].time + KEPT_FOR if self._queue else None

    def forget_expired(self, now: int, most: int | None = None) -> None:
        """Drop the oldest expired rows, at most `most` (usually FORGOTTEN_AT_ONCE).

        Entries of the queue whose row was replaced don't count: the queue of a restored member hasn't got them, and
        both must drop the same rows.
        """
        dropped, most = 0, FORGOTTEN_AT_ONCE if most is None else most
        while self._queue and dropped < most and _expired(self._queue[0], now):
            row = self._queue.popleft()
            if self.table.get(_key(row)) is row:
                self._remove(_key(row))
                dropped += 1

    def load(self, encoded: bytes) -> None:
        """Add a row of a snapshot. ValueError unless it is at least as young as the one before it."""
        row = self.table.load(encoded)
        if self._queue and row.time < self._queue[-1].time:
            raise ValueError("the outcomes are not in the order of their time")
        self._add(row)

    def _add(self, row: Remembered) -> None:
        self._queue.append(row)
        self._by_caller[row.caller] = self._by_caller.get(row.caller, 0) + 1

    def _remove(self, key: tuple[str, str]) -> None:
        caller = self.table.remove(key).caller
        count = self._by_caller[caller] - 1
        if count:
            self._by_caller[caller] = count
        else:
            del self._by_caller[caller]


def _key(row: Remembered) -> tuple[str, str]:
    return row.caller, row.key


def _expired(row: Remembered, now: int) -> bool:
    return now - row.time >= KEPT_FOR
