"""The bytes of a snapshot file: a header that says what it is of, checked chunks, a trailer at its end. Pure.

Little-endian: magic, format version u32, header length u32, CRC32C u32, header (msgpack: index, term, digest,
membership, extra); each chunk as length u32, CRC32C u32, data; a trailer of 0xFFFFFFFF, CRC32C u32, number of chunks
u64, bytes of all chunks u64. Every CRC starts from the offset at which its record stands, so that chunks can't swap.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgpack
from google_crc32c import extend, value

FORMAT_VERSION = 1
MAGIC = b"RAFTSNAP"
MAX_CHUNK_BYTES = 256 << 20
_MAX_HEADER_BYTES = 64 << 20
_TRAILER_MARK = 0xFFFFFFFF

_preamble = struct.Struct("<8sIII")
_chunk = struct.Struct("<II")
_totals = struct.Struct("<QQ")

Read = Callable[[int, int], bytes]
"""`read(offset, size)`: up to `size` bytes, fewer only at the end."""


class SnapshotDamaged(Exception):
    """A snapshot's bytes aren't what was written: `file` (relative to the data directory), `offset` in bytes."""

    def __init__(self, file: str, offset: int, problem: str) -> None:
        super().__init__(f"{file}, byte {offset}: {problem}")
        self.file = file
        self.offset = offset
        self.problem = problem


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot says of itself: the last entry it covers (index, term), the state's digest at it, the members.

    `membership` and `extra` are the log's own, opaque here. `size` is the file's, in bytes (0 until it is written).
    """

    index: int
    term: int
    digest: bytes
    membership: bytes
    extra: bytes = b""
    size: int = 0


class Encoder:
    """Encodes one snapshot; its pieces, in the order of the calls, are the file."""

    def __init__(self) -> None:
        self._chunks = 0
        self._bytes = 0
        self.size = 0

    def header(self, meta: SnapshotMeta) -> bytes:
        data: bytes = msgpack.packb([meta.index, meta.term, meta.digest, meta.membership, meta.extra])
        start = _preamble.pack(MAGIC, FORMAT_VERSION, len(data), 0)[:-4]
        return self._placed(start + struct.pack("<I", extend(value(start), data)) + data)

    def chunk(self, data: bytes) -> bytes:
        """ValueError for a chunk that is too large to be kept in memory when it is read."""
        if len(data) > MAX_CHUNK_BYTES:
            raise ValueError(f"a chunk of a snapshot has at most {MAX_CHUNK_BYTES} bytes, this one {len(data)}")
        self._chunks += 1
        self._bytes += len(data)
        return self._placed(_chunk.pack(len(data), extend(self.size, data)) + data)

    def trailer(self) -> bytes:
        totals = _totals.pack(self._chunks, self._bytes)
        return self._placed(_chunk.pack(_TRAILER_MARK, extend(self.size, totals)) + totals)

    def _placed(self, piece: bytes) -> bytes:
        self.size += len(piece)
        return piece


def decode_header(file: str, read: Read, size: int) -> tuple[SnapshotMeta, int]:
    """What the file of `size` bytes is a snapshot of, and where its chunks begin. Raises SnapshotDamaged."""
    start = read(0, _preamble.size)
    if len(start) < _preamble.size:
        raise SnapshotDamaged(file, len(start), f"a snapshot starts with {_preamble.size} bytes of magic and version")
    magic, version, length, checksum = _preamble.unpack(start)
    if magic != MAGIC:
        raise SnapshotDamaged(file, 0, f"a snapshot starts with {MAGIC!r}, found {magic!r}")
    data = read(_preamble.size, length) if length <= _MAX_HEADER_BYTES else b""
    if len(data) != length or extend(value(start[:-4]), data) != checksum:
        raise SnapshotDamaged(file, 0, "the header is incomplete, or its checksum wrong")
    if version != FORMAT_VERSION:
        raise SnapshotDamaged(
            file, 8, f"snapshot format {version} was written by another version; this one knows {FORMAT_VERSION}"
        )
    try:
        index, term, digest, membership, extra = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise SnapshotDamaged(file, _preamble.size, f"the header can't be read: {error}") from None
    return SnapshotMeta(index, term, digest, membership, extra, size), _preamble.size + length


def decode_chunks(file: str, read: Read, offset: int, size: int) -> Iterator[bytes]:
    """The chunks from `offset` on. Raises SnapshotDamaged where one isn't as it was, or the file isn't whole."""
    chunks = total = 0
    while True:
        head = read(offset, _chunk.size)
        if len(head) < _chunk.size:
            raise SnapshotDamaged(file, offset, f"the file ends after {chunks} chunks without its trailer")
        length, checksum = _chunk.unpack(head)
        if length == _TRAILER_MARK:
            break
        data = read(offset + _chunk.size, length) if length <= MAX_CHUNK_BYTES else b""
        if len(data) != length or extend(offset, data) != checksum:
            raise SnapshotDamaged(file, offset, f"chunk {chunks} is incomplete, or its checksum wrong")
        yield data
        chunks += 1
        total += length
        offset += _chunk.size + length
    totals = read(offset + _chunk.size, _totals.size)
    if len(totals) != _totals.size or extend(offset, totals) != checksum:
        raise SnapshotDamaged(file, offset, "the trailer is incomplete, or its checksum wrong")
    if _totals.unpack(totals) != (chunks, total):
        raise SnapshotDamaged(file, offset, f"the trailer's totals should be those of {chunks} chunks, {total} bytes")
    end = offset + _chunk.size + _totals.size
    if end != size:
        raise SnapshotDamaged(file, end, f"{size - end} bytes follow the trailer")
