"""The state as bytes: a frozen capture that is joined from what each row already carries, and the way back.

Layout: MAGIC, one byte of level (levels.py), then frames (length in 4 bytes, big endian, and that many bytes): a
header, the rows of every table in the order that the header names, a trailer. Pieces are cut anywhere. The file's
checksum is the business of whoever stores it; the digest in the trailer shows that what was read back is what was
captured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from volstore.core.frozen import Frozen
from volstore.core.levels import LEVEL

MAGIC = b"volstore state\n"
PIECE_BYTES = 256 * 1024
_ROWS_AT_ONCE = 256
_MALFORMED = "the snapshot is malformed"


class Header(Frozen, frozen=True):
    """The state's scalars and, for each table in order, its name and the number of its rows."""

    index: int
    log_time: int
    departures_floor: int
    tables: tuple[tuple[str, int], ...]
    restored_at: int = 0


class Trailer(Frozen, frozen=True):
    rows: int
    digest: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(Header).decode
_decode_trailer = msgspec.msgpack.Decoder(Trailer).decode


@dataclass(frozen=True, slots=True)
class Captured:
    """One moment of the state. Holds only immutable bytes, so another thread may read it while the state goes on."""

    header: Header
    tables: tuple[tuple[bytes, ...], ...]
    digest: bytes
    level: int = 1

    def chunks(self) -> Iterator[bytes]:
        """The snapshot in pieces of at most PIECE_BYTES."""
        parts = [MAGIC, bytes([self.level]), _frame(_encode(self.header))]
        size = sum(map(len, parts))
        for part in self._frames():
            parts.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                joined = b"".join(parts)
                whole = size - size % PIECE_BYTES
                for start in range(0, whole, PIECE_BYTES):
                    yield joined[start : start + PIECE_BYTES]
                parts = [joined[whole:]]
                size -= whole
        if size:
            yield b"".join(parts)

    def _frames(self) -> Iterator[bytes]:
        rows = 0
        for frames in self.tables:
            rows += len(frames)
            for start in range(0, len(frames), _ROWS_AT_ONCE):
                yield b"".join(frames[start : start + _ROWS_AT_ONCE])
        yield _frame(_encode(Trailer(rows, self.digest)))


class Reader:
    """Takes a snapshot apart again. Raises ValueError on anything that `Captured.chunks` doesn't give."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._start = 0
        self._rows = 0
        if self._take(len(MAGIC)) != MAGIC:
            raise ValueError(f"{_MALFORMED}: it doesn't start as a snapshot of volstore")
        self.level = self._take(1)[0]
        if not 1 <= self.level <= LEVEL:
            raise ValueError(
                f"the snapshot needs feature level {self.level}, and this version of volstore is at {LEVEL}: "
                "upgrade this node"
            )
        try:
            self.header = _decode_header(self._frame())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{_MALFORMED}: its header: {error}") from None
        self._rows_left = sum(count for _, count in self.header.tables)

    def feed(self, chunk: bytes) -> None:
        """More of the snapshot, where not all of it was there at the beginning."""
        self._buffer += chunk

    @property
    def has_row(self) -> bool:
        """Whether a row is still to come, and is here wholly."""
        if self._rows_left == 0:
            return False
        start = self._start
        here = len(self._buffer) - start - 4
        return here >= 0 and here >= int.from_bytes(self._buffer[start : start + 4], "big")

    def rows(self, count: int) -> Iterator[bytes]:
        """The next `count` rows."""
        for _ in range(count):
            self._rows_left -= 1
            yield self._frame()
        self._rows += count

    def finish(self) -> bytes:
        """The digest in the trailer, after which nothing may come."""
        try:
            trailer = _decode_trailer(self._frame())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{_MALFORMED}: its trailer: {error}") from None
        if trailer.rows != self._rows:
            raise ValueError(f"{_MALFORMED}: it has {self._rows} rows, its trailer counts {trailer.rows}")
        if len(self._buffer) > self._start or any(self._chunks):
            raise ValueError(f"{_MALFORMED}: something follows its trailer")
        return trailer.digest

    def _frame(self) -> bytes:
        return self._take(int.from_bytes(self._take(4), "big"))

    def _take(self, size: int) -> bytes:
        end = self._start + size
        if end > len(self._buffer):
            del self._buffer[: self._start]
            self._start, end = 0, size
            while len(self._buffer) < size:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise ValueError(f"the snapshot is truncated: {size - len(self._buffer)} bytes are missing")
                self._buffer += chunk
        taken = bytes(memoryview(self._buffer)[self._start : end])
        self._start = end
        return taken


def level_of(beginning: bytes) -> int:
    """The level that the snapshot which begins so needs to be read; 1 for what is none."""
    place = len(MAGIC)
    return beginning[place] if beginning[:place] == MAGIC and len(beginning) > place else 1


def _frame(encoded: bytes) -> bytes:
    return len(encoded).to_bytes(4, "big") + encoded
