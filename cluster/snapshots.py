"""Snapshots of the state machine on disk: written beside the log's work, verified before they are believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cluster.ports import Disk


class SnapshotDamaged(Exception):
    """A snapshot's bytes aren't what was written; the text names file, byte and what was expected."""


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot says of itself. `size` is the file's, in bytes (0 until it is written)."""

    index: int
    term: int
    digest: bytes
    membership: bytes
    extra: bytes = b""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the disk at start: `intact` newest first, and what is wrong with the others.

    When `damaged` isn't empty and the journal's base lies after the newest intact one, the node must refuse to start.
    """

    intact: tuple[SnapshotMeta, ...]
    damaged: tuple[SnapshotDamaged, ...]


class SnapshotStore:
    """Skeleton: the final signatures; the bodies follow."""

    def __init__(self, disk: Disk, *, keep: int = 2) -> None:
        raise NotImplementedError

    def load(self) -> Found:
        """Blocking, once, at start: removes leftovers, verifies every snapshot wholly."""
        raise NotImplementedError

    def latest(self) -> SnapshotMeta | None:
        """The newest intact snapshot, as of `load` and what was written or received since."""
        raise NotImplementedError

    async def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> SnapshotMeta:
        """Durable and visible when it returns; `chunks` is drawn from in the disk's thread, a piece at a time."""
        raise NotImplementedError

    def read_chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Blocking. The chunks as written; SnapshotDamaged where they aren't."""
        raise NotImplementedError

    async def read_at(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        """A piece of the file, for sending; b"" at its end."""
        raise NotImplementedError

    async def begin(self, meta: SnapshotMeta) -> Incoming:
        """Receive the file that `meta` (with the sender's `size`) names; the same one again resumes."""
        raise NotImplementedError


class Incoming:
    """A snapshot that is being received."""

    meta: SnapshotMeta
    received: int

    async def write_at(self, offset: int, data: bytes) -> int:
        """Take a piece; the number of bytes held so far, from which the sender goes on (a gap changes nothing)."""
        raise NotImplementedError

    async def finish(self) -> SnapshotMeta:
        """Verify, make durable and visible at once; SnapshotDamaged (and the pieces are gone) if it isn't sound."""
        raise NotImplementedError

    async def abandon(self) -> None:
        raise NotImplementedError
