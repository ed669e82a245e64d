"""The real disk behind `cluster.ports.Disk`: one data directory, its lock, and a thread of its own for what blocks."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from cluster.storage.worker import Worker

T = TypeVar("T")

_LOCK = "lock"
# Where the files are that are appended to and synced all day (see `RealFile`).
_LOGS = "journal/"
_AHEAD_BYTES = 256 << 10
# Where there is no fdatasync (macOS), fsync does at least as much.
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class RealFile:
    """`cluster.ports.File` on a descriptor. The end is kept here, so that a failed append doesn't move it.

    With `ahead` the file is kept up to that many bytes longer than what was appended, in zeros that `close` cuts off
    again: an append within the file's length spares its sync a commit of the file system's own journal, a third to
    a half of its time on ext4. After a crash the zeros are still there: only logs, which know their end, can bear it.
    """

    def __init__(self, descriptor: int, ahead: int = 0) -> None:
        self._descriptor = descriptor
        self._ahead = ahead
        self._end = self._allocated = os.fstat(descriptor).st_size

    def append(self, data: bytes) -> None:
        end = self._end + len(data)
        if self._ahead and end > self._allocated:
            self._allocate(end)
        self._write(data, self._end)
        self._end = end
        self._allocated = max(self._allocated, end)

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self._end - offset)
        pieces = []
        while size > 0:
            piece = os.pread(self._descriptor, size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def size(self) -> int:
        return self._end

    def sync(self) -> None:
        _fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._end = self._allocated = size

    def close(self) -> None:
        try:
            if self._allocated > self._end:
                os.ftruncate(self._descriptor, self._end)
        finally:
            os.close(self._descriptor)

    def _allocate(self, end: int) -> None:
        try:
            self._write(bytes(self._ahead), end)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # What room there is belongs to the data; if there is none, writing that says so.
            os.ftruncate(self._descriptor, self._end)
            self._ahead = 0
            self._allocated = self._end
        else:
            self._allocated = end + self._ahead

    def _write(self, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            # A short write is how a disk that is nearly full begins to say so; the next call says it.
            written = os.pwrite(self._descriptor, rest, offset)
            rest = rest[written:]
            offset += written


class RealDisk:
    """`cluster.ports.Disk` on the folder `path`.

    `create` makes the folder, readable for its owner alone; without it the folder must be there, and not even
    `lock` leaves a trace in it. Work of `run` is done one by one in a thread of this disk: give the snapshots
    a second RealDisk of the same path, so that they don't hold up the journal. Only one of the two locks.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        self._create = create
        self._lock_descriptor: int | None = None
        if create and not self.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True)
            _sync_directory(self.path.parent)
        if not self.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such data directory", str(self.path))
        self._worker = Worker("disk")

    def open(self, name: str, *, create: bool = False) -> RealFile:
        path = self._path(name)
        if not self._create:
            return RealFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        ahead = _AHEAD_BYTES if name.startswith(_LOGS) else 0
        return RealFile(os.open(path, flags, 0o600), ahead)

    def list(self, folder: str = "") -> list[str]:
        return sorted(path.name for path in self._path(folder).iterdir())

    def make_folder(self, name: str) -> None:
        self._path(name).mkdir(mode=0o700, exist_ok=True)

    def rename(self, old: str, new: str) -> None:
        self._path(old).rename(self._path(new))

    def remove(self, name: str) -> None:
        self._path(name).unlink()

    def sync_folder(self, name: str = "") -> None:
        _sync_directory(self._path(name))

    def free_bytes(self) -> int:
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def lock(self) -> None:
        if self._lock_descriptor is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, "this process has locked the data directory already", self.path)
        flags = os.O_RDWR | os.O_CREAT if self._create else os.O_RDONLY
        try:
            descriptor = os.open(self._path(_LOCK), flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return  # only without `create`: where no lock file is, no node has ever run
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            raise BlockingIOError(
                errno.EWOULDBLOCK, f"the data directory is in use by {who}; stop that one first", str(self.path)
            ) from None
        if self._create:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock_descriptor = descriptor

    def unlock(self) -> None:
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._worker.run(work)

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self._worker.begin(work, done)

    def close(self) -> None:
        """End the thread, after the work that `run` was given, and release the lock."""
        self._worker.stop()
        self.unlock()

    def _path(self, name: str) -> Path:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"{name!r} is not a name inside the data directory")
        return self.path / pure


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
