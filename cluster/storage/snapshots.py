"""Snapshots of the state machine on disk: written beside the log's work, verified before they are believed.

A file is written under another name, synced, and renamed: what is called a snapshot is whole. The work is cut in
steps of half a megabyte, each synced, so that neither the disk's thread nor its write-back is taken for long; the
store should have a `Disk` of its own all the same, as its thread is busy most of the time while one is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from cluster.ports import Disk
from cluster.storage.snapshot_format import Encoder, SnapshotDamaged, SnapshotMeta, decode_chunks, decode_header

__all__ = ["Found", "Incoming", "SnapshotDamaged", "SnapshotMeta", "SnapshotStore"]

FOLDER = "snapshots"
_STEP_BYTES = 512 << 10
_READ_GRACE_SECONDS = 60.0


def snapshot_file(meta: SnapshotMeta, suffix: str = "snap") -> str:
    return f"{FOLDER}/{meta.index}-{meta.term}.{suffix}"


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the disk at start: `intact` newest first, and what is wrong with the others.

    An older snapshot may stand in for a damaged one only if the log still reaches back to it: that is for the
    caller to decide, who knows the journal's base.
    """

    intact: tuple[SnapshotMeta, ...]
    damaged: tuple[SnapshotDamaged, ...]


class SnapshotStore:
    """The `keep` newest snapshots of one member. Methods belong to one event loop; `load` and `read_chunks` block."""

    def __init__(self, disk: Disk, *, keep: int = 2) -> None:
        self._disk = disk
        self._keep = keep
        self._intact: list[SnapshotMeta] = []
        self._last_read: dict[str, float] = {}
        self._incoming: Incoming | None = None
        self._one_at_a_time = asyncio.Lock()

    def load(self) -> Found:
        """Blocking, once, at start: removes what a crash left behind, verifies every snapshot wholly. OSError."""
        if FOLDER not in self._disk.list():
            self._disk.make_folder(FOLDER)
            self._disk.sync_folder()
        # A name that its folder's sync failed to keep is still shown, and would be gone after a power cut: the journal
        # must not be cut behind a snapshot of that name.
        self._disk.sync_folder(FOLDER)
        self._intact, damaged = [], []
        for name in self._disk.list(FOLDER):
            path = f"{FOLDER}/{name}"
            if name.endswith((".tmp", ".part")):
                self._disk.remove(path)
                continue
            try:
                for meta in self._verified(path):
                    if meta is not None:
                        self._intact.append(meta)
            except SnapshotDamaged as error:
                damaged.append(error)
        self._intact.sort(key=_position, reverse=True)
        return Found(tuple(self._intact), tuple(damaged))

    def latest(self) -> SnapshotMeta | None:
        """The newest intact snapshot, as of `load` and what was written or received since."""
        return self._intact[0] if self._intact else None

    async def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> SnapshotMeta:
        """Write a snapshot; durable and visible when it returns, with its size.

        `chunks` is drawn from in the disk's thread; half of the time is left to others. An OSError, or whatever
        `chunks` raises, leaves things as they were.
        """
        async with self._one_at_a_time:
            temporary = snapshot_file(meta, "tmp")
            encoder = Encoder()
            try:
                await self._in_steps(self._encoded(temporary, encoder, meta, chunks), throttled=True)
                return await self._publish(temporary, replace(meta, size=encoder.size))
            except BaseException:
                await self._discard(temporary)
                raise

    def read_chunks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """Blocking. The chunks as written; raises SnapshotDamaged where they aren't, or it isn't that snapshot."""
        path = snapshot_file(meta)
        file = self._disk.open(path)
        try:
            found, start = decode_header(path, file.read, file.size())
            if found != meta:
                raise SnapshotDamaged(path, 0, "the header is another snapshot's")
            yield from decode_chunks(path, file.read, start, meta.size)
        finally:
            file.close()

    async def read_at(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        """A piece of the file, for sending; b"" at its end. FileNotFoundError when newer ones replaced it.

        A snapshot that was read from within the last minute is not removed, so that a transfer can end.
        """
        path = snapshot_file(meta)
        self._last_read[path] = asyncio.get_running_loop().time()

        def read() -> bytes:
            file = self._disk.open(path)
            try:
                return file.read(offset, size)
            finally:
                file.close()

        return await self._disk.run(read)

    async def begin(self, meta: SnapshotMeta) -> Incoming:
        """Receive the file that `meta` (with the sender's `size`) names; the same one again resumes.

        Another one that was being received is abandoned. ValueError when the size can't be right.
        """
        if meta.size <= 0:
            raise ValueError(f"a snapshot of {meta.size} bytes can't be received")
        if self._incoming is not None:
            if self._incoming.meta == meta:
                return self._incoming
            await self._incoming.abandon()
        self._incoming = Incoming(self, self._disk, meta)
        return self._incoming

    def _ended(self, incoming: Incoming) -> None:
        if self._incoming is incoming:
            self._incoming = None

    async def _accept(self, temporary: str, meta: SnapshotMeta) -> SnapshotMeta:
        """Verify what was received and publish it."""
        async with self._one_at_a_time:
            await self._in_steps(self._verified(temporary, meta))
            return await self._publish(temporary, meta)

    async def _publish(self, temporary: str, meta: SnapshotMeta) -> SnapshotMeta:
        """Give a file, which is whole and synced, its name, for good; then remove those beyond `keep`."""

        def rename() -> None:
            self._disk.rename(temporary, snapshot_file(meta))
            self._disk.sync_folder(FOLDER)

        await self._disk.run(rename)
        others = [other for other in self._intact if _position(other) != _position(meta)]
        self._intact = sorted([*others, meta], key=_position, reverse=True)
        await self._prune()
        return meta

    async def _prune(self) -> None:
        now = asyncio.get_running_loop().time()
        self._last_read = {path: time for path, time in self._last_read.items() if now - time < _READ_GRACE_SECONDS}
        for meta in self._intact[self._keep :]:
            path = snapshot_file(meta)
            if path not in self._last_read:
                # Bound by a default, which mypy gives no type.
                await self._disk.run(lambda path=path: self._disk.remove(path))  # type: ignore[misc]
                self._intact.remove(meta)

    async def _discard(self, path: str) -> None:
        # What can't be removed now is removed by the next `load`; the error that led here is the one to tell.
        with contextlib.suppress(OSError):
            await self._disk.run(lambda: self._disk.remove(path))

    async def _in_steps(self, work: Generator[object, None, None], *, throttled: bool = False) -> None:
        """Have a generator's blocking work done in the disk's thread, one step at a time."""
        loop = asyncio.get_running_loop()
        end = object()
        try:
            started = loop.time()
            while await self._disk.run(lambda: next(work, end)) is not end:
                # As long as the step took: the disk, and the interpreter's lock, are free half of the time.
                await asyncio.sleep(loop.time() - started if throttled else 0)
                started = loop.time()
        finally:
            # In the thread, since a step of a cancelled caller may still be under way there.
            await self._disk.run(work.close)

    def _encoded(
        self, path: str, encoder: Encoder, meta: SnapshotMeta, chunks: Iterable[bytes]
    ) -> Generator[None, None, None]:
        """Write the file `path`, synced at each step."""
        file = self._disk.open(path, create=True)
        try:
            file.truncate(0)
            pieces = [encoder.header(meta)]
            waiting = len(pieces[0])
            for chunk in chunks:
                pieces.append(encoder.chunk(chunk))
                waiting += len(pieces[-1])
                if waiting >= _STEP_BYTES:
                    file.append(b"".join(pieces))
                    file.sync()
                    pieces, waiting = [], 0
                    yield
            file.append(b"".join([*pieces, encoder.trailer()]))
            file.sync()
        finally:
            file.close()

    def _verified(self, path: str, expected: SnapshotMeta | None = None) -> Generator[SnapshotMeta | None, None, None]:
        """Read the whole file, yielding None after each step and what it is a snapshot of at the end.

        Raises SnapshotDamaged; what can't be read is damaged too. Without `expected`, the file's name says what
        is expected.
        """
        file = None
        try:
            file = self._disk.open(path)
            meta, start = decode_header(path, file.read, file.size())
            if expected is None and f"{FOLDER}/{meta.index}-{meta.term}.snap" != path:
                raise SnapshotDamaged(path, 0, f"this is the snapshot of entry {meta.index} of term {meta.term}")
            if expected is not None and meta != expected:
                raise SnapshotDamaged(path, 0, "the header isn't that of the snapshot that was announced")
            read = 0
            for chunk in decode_chunks(path, file.read, start, meta.size):
                read += len(chunk)
                if read >= _STEP_BYTES:
                    read = 0
                    yield None
            yield meta
        except OSError as error:
            raise SnapshotDamaged(path, 0, f"it can't be read: {error}") from error
        finally:
            if file is not None:
                file.close()


class Incoming:
    """A snapshot that is being received; made by `SnapshotStore.begin`. `received` bytes of it are here."""

    def __init__(self, store: SnapshotStore, disk: Disk, meta: SnapshotMeta) -> None:
        self.meta = meta
        self.received = 0
        self._store = store
        self._disk = disk
        self._path = snapshot_file(meta, "part")
        self._one_at_a_time = asyncio.Lock()

    async def write_at(self, offset: int, data: bytes) -> int:
        """Take a piece; the number of bytes held now, from which the sender goes on.

        What is here already is ignored, and so is a piece that would leave a gap. OSError from the disk changes
        nothing. Raises SnapshotDamaged when it would be longer than was announced.
        """
        async with self._one_at_a_time:
            if offset + len(data) > self.meta.size:
                raise SnapshotDamaged(self._path, offset, f"more than the announced {self.meta.size} bytes were sent")
            if offset <= self.received < offset + len(data):
                fresh, held = data[self.received - offset :], self.received
                await self._disk.run(lambda: self._write(held, fresh))
                self.received += len(fresh)
            return self.received

    async def finish(self) -> SnapshotMeta:
        """Verify it, make it durable and visible at once. SnapshotDamaged, and it is gone, if it isn't sound."""
        async with self._one_at_a_time:
            try:
                if self.received != self.meta.size:
                    raise SnapshotDamaged(self._path, self.received, f"{self.meta.size} bytes were announced")
                return await self._store._accept(self._path, self.meta)
            except BaseException:
                await self._store._discard(self._path)
                raise
            finally:
                self._store._ended(self)

    async def abandon(self) -> None:
        """Forget what was received."""
        async with self._one_at_a_time:
            self._store._ended(self)
            if self.received:
                await self._store._discard(self._path)

    def _write(self, held: int, data: bytes) -> None:
        file = self._disk.open(self._path, create=True)
        try:
            # Also cuts what an earlier piece left when it could be written in part only.
            file.truncate(held)
            file.append(data)
            # Piece by piece: one sync of all of it at the end would hold up every other sync of this disk.
            file.sync()
        finally:
            file.close()


def _position(meta: SnapshotMeta) -> tuple[int, int]:
    return meta.index, meta.term
