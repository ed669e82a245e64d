"""Tables of frozen rows which keep each row's bytes and a running digest: snapshots and digests then cost little."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=msgspec.Struct)

_encode = msgspec.msgpack.Encoder().encode
_MASK = (1 << 128) - 1

AT_MOST_LATER = 16
"""Rows whose bytes are still to be made, at most: whoever asks for the whole waits for all of them."""


class Table(Generic[K, V]):
    """Rows by key, changed only by `put` and `remove`.

    Frames hold each row as it lies in a snapshot: its length (4 bytes, big endian) and its msgpack bytes. Rows and
    frames keep the order in which keys came; that order is the same on every member, because commands are, and it
    survives a restore, because snapshots list rows in it. `sum` adds blake2b-128 of every frame modulo 2^128, with
    the table's name as personalisation; a row holds its own key, so the sum is one of the keys too.

    A large row's bytes may be made `later`: at the latest when somebody asks for frames or sum, or when AT_MOST_LATER
    others wait too. Until then its frame and its part in the sum are those of the row before.
    """

    __slots__ = ("_decode", "_empty_hash", "_frames", "_key", "_later", "_sum", "get", "name", "row_type", "rows")

    def __init__(
        self, name: str, row_type: type[V], key: Callable[[V], K], decode: Callable[[bytes], V] | None = None
    ) -> None:
        """`decode` reads a row's bytes, where its type alone doesn't say how."""
        self.name = name
        self.row_type = row_type
        self.rows: dict[K, V] = {}
        self.get = self.rows.get
        self._frames: dict[K, bytes] = {}
        self._sum = 0
        self._later: dict[K, None] = {}
        self._key = key
        self._empty_hash = blake2b(digest_size=16, person=name.encode())
        self._decode = decode or msgspec.msgpack.Decoder(row_type).decode

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[V]:
        return iter(self.rows.values())

    @property
    def sum(self) -> int:
        self._settle_all()
        return self._sum

    @property
    def frames(self) -> dict[K, bytes]:
        """All of them, by key. Not to be changed."""
        self._settle_all()
        return self._frames

    def _settle_all(self) -> None:
        while self._later:
            self._settle(next(iter(self._later)))

    def put(self, row: V, key: K | None = None, *, later: bool = False) -> V | None:
        """Add or replace the row of this key; the row that was there before. `key` is its key, if it is at hand."""
        if key is None:
            key = self._key(row)
        if later and key in self.rows:
            old = self.rows[key]
            self.rows[key] = row
            self._later[key] = None
            if len(self._later) > AT_MOST_LATER:
                self._settle(next(iter(self._later)))
            return old
        encoded = _encode(row)
        return self._set(key, row, len(encoded).to_bytes(4, "big") + encoded)

    def _settle(self, key: K) -> None:
        self.put(self.rows[key], key)

    def remove(self, key: K) -> V:
        """Take the row out and return it. KeyError when there is none."""
        row = self.rows.pop(key)
        self._later.pop(key, None)
        self._sum = (self._sum - self._weight(self._frames.pop(key))) & _MASK
        return row

    def load(self, encoded: bytes) -> V:
        """Add the row that a snapshot holds as `encoded`, whose bytes stay as they are, and return it.

        ValueError when it is malformed or its key is there already.
        """
        try:
            row = self._decode(encoded)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"a row of {self.name} is malformed: {error}") from None
        key = self._key(row)
        if key in self.rows:
            raise ValueError(f"a row of {self.name} is there twice")
        self._set(key, row, len(encoded).to_bytes(4, "big") + encoded)
        return row

    def _set(self, key: K, row: V, frame: bytes) -> V | None:
        old = self.rows.get(key)
        change = self._weight(frame)
        if old is not None:
            change -= self._weight(self._frames[key])
            if self._later:
                self._later.pop(key, None)
        self.rows[key] = row
        self._frames[key] = frame
        self._sum = (self._sum + change) & _MASK
        return old

    def _weight(self, frame: bytes) -> int:
        hashed = self._empty_hash.copy()
        hashed.update(frame)
        return int.from_bytes(hashed.digest(), "big")
