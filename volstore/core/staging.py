"""A backup on its way into a running cluster: pieces that came through the log, until all are there and it is put on.

It is part of the replicated state, so that a member that starts from a snapshot in the middle can go on with the rest.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from volstore.core.commands import BeginRestore
from volstore.core.frozen import Frozen
from volstore.core.tables import Table

if TYPE_CHECKING:
    from volstore.core.rebuilding import Rebuilding

KEPT_FOR = 3600 * 10**9
"""Nanoseconds of log time after which a restore that nobody finished is dropped."""


class Piece(Frozen, frozen=True, kw_only=True):
    """One piece of a backup's state, numbered from 1. Number 0 has no data and holds what was announced of the rest:
    how many bytes, their SHA-256, and the log time at which the restore began."""

    id: str
    number: int
    data: bytes = b""
    size: int = 0
    digest: bytes = b""
    time: int = 0

    def __repr__(self) -> str:
        """A backup holds secrets."""
        return f"Piece({self.id}, {self.number})"


class Staging:
    """At most one restore at a time, and its pieces in order."""

    __slots__ = ("_hash", "_received", "rebuilding", "table")

    def __init__(self) -> None:
        self.table: Table[int, Piece] = Table("staged", Piece, lambda row: row.number)
        self.rebuilding: Rebuilding | None = None
        """What the pieces make so far, where somebody loads them as they come."""
        self._received = 0
        self._hash = sha256()

    @property
    def announced(self) -> Piece | None:
        """What the present restore said of itself."""
        return self.table.get(0)

    def begin(self, command: BeginRestore, time: int) -> None:
        """Start anew; an earlier restore that wasn't finished is dropped."""
        self.clear()
        self.table.put(Piece(id=command.id, number=0, size=command.size, digest=command.digest, time=time))

    def add(self, id: str, number: int, data: bytes) -> str | None:
        """Take a piece; why not, if it can't be taken. A piece that is there already is taken again."""
        announced = self.announced
        if announced is None or announced.id != id:
            return "this restore has not begun, or another one replaced it: begin again"
        if number < len(self.table):
            return None if self.table.rows[number].data == data else f"piece {number} came before with other bytes"
        if number != len(self.table):
            return f"piece {number} came before piece {len(self.table)}"
        if self._received + len(data) > announced.size:
            return f"the pieces are longer than the {announced.size} bytes that were announced"
        self.table.put(Piece(id=id, number=number, data=data))
        self._took(data)
        return None

    def whole(self, id: str) -> list[bytes] | str:
        """All pieces, in order, or what is wrong with them."""
        announced = self.announced
        if announced is None or announced.id != id:
            return "this restore has not begun, or another one replaced it: begin again"
        if self._received != announced.size:
            return f"{self._received} of {announced.size} bytes came: send the rest first"
        if self._hash.digest() != announced.digest:
            return "the pieces are not what was announced: their SHA-256 differs"
        return [self.table.rows[number].data for number in range(1, len(self.table))]

    def next_expiry(self) -> int | None:
        """The log time at which the present restore is dropped; None without one."""
        return None if self.announced is None else self.announced.time + KEPT_FOR

    def forget_expired(self, now: int) -> None:
        announced = self.announced
        if announced is not None and now - announced.time >= KEPT_FOR:
            self.clear()

    def clear(self) -> None:
        for number in list(self.table.rows):
            self.table.remove(number)
        self.rebuilding = None
        self._received = 0
        self._hash = sha256()

    def load(self, encoded: bytes) -> None:
        """Add a row of a snapshot. ValueError unless it is the next one."""
        row = self.table.load(encoded)
        if row.number != len(self.table) - 1:
            raise ValueError("the staged pieces are not in order")
        self._took(row.data)

    def _took(self, data: bytes) -> None:
        self._received += len(data)
        self._hash.update(data)
