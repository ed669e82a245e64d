"""The bytes of the journal: what a record looks like on disk, and what a bad one still reveals. Pure.

A segment file is a preamble (magic, format version, CRC32C of both) and records. A record, little-endian:

    mark u16 | CRC32C u32 | length u32 | kind u8 | key id u32 | synced u32 | index u64 | term u64 | [nonce 12] | data

- The CRC covers everything after it, and starts from a value made of the segment's number and the record's offset:
  bytes that verify were written for this very place, not left there by a copy, another segment or a recycled block.
- `synced` is the offset up to which the segment was known to be synced before this record was written. A bad spot
  before the `synced` of any good record was once on the disk and is damage; one after all of them belongs to a write
  that never completed, or can't be told from one: nothing after it was acknowledged on its strength.
- `key id` other than 0 says that data is encrypted under that key, with the nonce; index and term stay readable.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import NamedTuple

from google_crc32c import extend, value

FORMAT_VERSION = 1
MAGIC = b"RAFTJRNL"
NONCE_BYTES = 12
MAX_DATA_BYTES = 256 << 20
_MARK = b"\xa7\x5e"

_preamble = struct.Struct("<8sII")
_prefix = struct.Struct("<2sI")
_body = struct.Struct("<IBIIQQ")
_segment = struct.Struct("<QQQQI")

PREAMBLE_BYTES = _preamble.size
HEAD_BYTES = _prefix.size + _body.size


class JournalError(Exception):
    """The journal can't be used; the text says why and what would be right."""


class JournalDamaged(JournalError):
    """The journal holds bytes that it should not: `file` (relative to the data directory), `offset` in bytes."""

    def __init__(self, file: str, offset: int, problem: str) -> None:
        super().__init__(f"{file}, byte {offset}: {problem}")
        self.file = file
        self.offset = offset
        self.problem = problem


class Kind(enum.IntEnum):
    """What a record says; `index` and `term` mean what is said here and are 0 where nothing is."""

    SEGMENT = 1
    """First of each segment. index: the next entry's when the file was begun; term: the entry's before it."""
    ENTRY = 2
    """An entry of the log at index, of term."""
    VOTE = 3
    """The current term, and the vote given in it."""
    TRUNCATE = 4
    """The entries from index on are gone: they conflicted with the leader's."""
    BASE = 5
    """A durable snapshot covers the log up to index, whose entry is of term; those after it stay."""
    RESET = 6
    """As BASE, but no entry stays: the snapshot was installed from elsewhere."""
    MARK = 7
    """Nothing but its `synced`: written at a clean stop, so that damage before it can't look like a torn write."""


class Record(NamedTuple):
    """A record as read; `offset` and `end` are its place in the file. `kind` may be one that isn't in Kind."""

    kind: int
    index: int  # type: ignore[assignment]  # tuple.index is of no use here
    term: int
    data: bytes
    key_id: int
    nonce: bytes
    synced: int
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The data of a SEGMENT record.

    `base_index` and `base_term` are the journal's when the file was begun; only the first `previous_end` bytes of
    the segment before count (what comes after them was carried over, or never acknowledged); the first `carried`
    bytes of this one were synced before it got its name.
    """

    number: int
    base_index: int
    base_term: int
    previous_end: int
    carried: int

    def encode(self) -> bytes:
        return _segment.pack(self.number, self.base_index, self.base_term, self.previous_end, self.carried)

    @classmethod
    def decode(cls, data: bytes) -> Segment:
        """Raises struct.error for any other length."""
        return cls(*_segment.unpack(data))


SEGMENT_END = PREAMBLE_BYTES + HEAD_BYTES + _segment.size
"""Where the SEGMENT record ends, in every segment of this format version."""


class BadPreamble(Exception):
    """The start of a file isn't that of a segment; the text says what was expected."""


class NewerFormat(Exception):
    """The file was written by a newer version; the text names both."""


def preamble() -> bytes:
    start = _preamble.pack(MAGIC, FORMAT_VERSION, 0)[:-4]
    return start + struct.pack("<I", value(start))


def check_preamble(data: bytes) -> None:
    """Raises BadPreamble or NewerFormat unless `data` starts as a segment of this format version does."""
    if len(data) < PREAMBLE_BYTES:
        raise BadPreamble(f"a segment starts with {PREAMBLE_BYTES} bytes of magic and version, found {len(data)}")
    magic, version, checksum = _preamble.unpack_from(data)
    if magic != MAGIC:
        raise BadPreamble(f"a segment starts with {MAGIC!r}, found {magic!r}")
    if value(data[: PREAMBLE_BYTES - 4]) != checksum:
        raise BadPreamble("the checksum of magic and version is wrong")
    if version != FORMAT_VERSION:
        raise NewerFormat(f"journal format {version} was written by another version; this one knows {FORMAT_VERSION}")


def seed_of(number: int) -> int:
    """Where the checksums of segment `number` start from."""
    return int(value(MAGIC + number.to_bytes(8, "little")))


def encode(
    kind: int,
    index: int,
    term: int,
    data: bytes,
    *,
    seed: int,
    offset: int,
    synced: int,
    key_id: int = 0,
    nonce: bytes = b"",
) -> bytes:
    """A record for `offset` of the segment with that seed. `nonce` has NONCE_BYTES if key_id isn't 0, or none."""
    if len(nonce) != (NONCE_BYTES if key_id else 0):
        raise ValueError(f"a record has a nonce of {NONCE_BYTES} bytes if, and only if, it has a key id")
    if nonce:
        data = nonce + data
    body = _body.pack(len(data), kind, key_id, synced, index, term)
    return _prefix.pack(_MARK, extend(extend(seed ^ offset, body), data)) + body + data


def encode_vote(voted_for: str | None) -> bytes:
    return b"" if voted_for is None else b"\x01" + voted_for.encode()


def decode_vote(data: bytes) -> str | None:
    return data[1:].decode() if data else None


@dataclass(frozen=True, slots=True)
class Bad:
    """The first spot where no record could be read.

    `damage`: it was synced once, so this is no torn write. `blank`: there is nothing but zeros from there on, which
    is how a file looks that was made longer ahead of its use.
    """

    offset: int
    problem: str
    damage: bool
    blank: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """The good records from the start, where they end, and how far the segment was synced for certain."""

    records: list[Record]
    end: int
    synced: int
    bad: Bad | None


def scan(data: bytes, number: int) -> Scan:
    """Read the records of segment `number` from its whole bytes `data` (whose preamble was checked)."""
    seed = seed_of(number)
    records = []
    offset, size, synced = PREAMBLE_BYTES, len(data), 0
    problem = ""
    while offset < size:
        record = _read(data, offset, size, seed)
        if isinstance(record, str):
            problem = record
            break
        records.append(record)
        offset = record.end
        if record.synced > synced:
            synced = record.synced
    if records and records[0].kind == Kind.SEGMENT and len(records[0].data) == _segment.size:
        synced = max(synced, Segment.decode(records[0].data).carried)
    if not problem:
        return Scan(records, offset, min(synced, offset), None)
    after = _synced_after(data, offset, size, seed)
    damage = max(synced, after) > offset
    if damage and after <= synced:
        problem += "; it lies in what was synced before the file got its name"
    elif damage:
        problem += f"; records after it say that everything before byte {after} had been synced"
    return Scan(records, offset, min(synced, offset), Bad(offset, problem, damage, not data[offset:].strip(b"\0")))


def _read(data: bytes, offset: int, size: int, seed: int) -> Record | str:
    """The record at `offset`, or why there is none."""
    body = offset + 6
    start = offset + HEAD_BYTES
    if start > size:
        return f"a record has at least {HEAD_BYTES} bytes, found {size - offset}"
    mark, checksum = _prefix.unpack_from(data, offset)
    if mark != _MARK:
        return f"a record starts with {_MARK.hex()}, found {mark.hex()}"
    length, kind, key_id, synced, index, term = _body.unpack_from(data, body)
    end = start + length
    if end > size:
        return f"a record of {length} bytes of data reaches {end - size} bytes beyond the end of the file"
    content = data[start:end]
    found = extend(extend(seed ^ offset, data[body:start]), content)
    if found != checksum:
        return f"a record with checksum {checksum:08x} has {found:08x}"
    nonce = b""
    if key_id:
        nonce, content = content[:NONCE_BYTES], content[NONCE_BYTES:]
    return Record(kind, index, term, content, key_id, nonce, synced, offset, end)


def _synced_after(data: bytes, bad: int, size: int, seed: int) -> int:
    """The greatest `synced` of any record that verifies somewhere after a bad spot; 0 when none does."""
    synced = 0
    offset = data.find(_MARK, bad + 1)
    while offset != -1:
        record = _read(data, offset, size, seed)
        if isinstance(record, str):
            offset = data.find(_MARK, offset + 1)
        else:
            synced = max(synced, record.synced)
            offset = data.find(_MARK, record.end)
    return synced
