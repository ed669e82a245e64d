"""A disk in memory that loses what a real one may lose: the same port, for tests and simulations of crashes.

What is written but not synced survives a crash sector by sector, as chance has it; directory entries likewise, until
their folder is synced. A sync that fails leaves its pages clean in the cache and anything on the platter (so later
syncs succeed without writing them), as Linux does.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from random import Random
from typing import TypeVar

T = TypeVar("T")
SECTOR = 512


class PowerCut(Exception):
    """The machine went down in the middle of an operation; the disk is of no use until `MemoryDisk.crash`."""


class Inode:
    """A file's bytes: as they read, as they are on the platter, and from where on the two may differ."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.stored = bytearray()
        self.dirty_from = 0

    def touch(self, offset: int) -> None:
        self.dirty_from = min(self.dirty_from, offset)

    def store(self) -> None:
        """What a sync that works does: all dirty bytes reach the platter, and only those."""
        start = self.dirty_from
        if len(self.stored) < start:
            self.stored.extend(bytes(start - len(self.stored)))
        self.stored[start:] = self.cached[start:]
        self.dirty_from = len(self.cached)

    def store_some(self, random: Random) -> None:
        """What may reach the platter without a sync: any of the dirty sectors, and a size between old and new."""
        first = self.dirty_from - self.dirty_from % SECTOR
        size = random.choice((len(self.stored), len(self.cached), random.randint(*self._sizes())))
        for start in range(first, len(self.cached), SECTOR):
            if random.random() < 0.5:
                end = min(start + SECTOR, len(self.cached))
                if len(self.stored) < end:
                    self.stored.extend(bytes(end - len(self.stored)))
                self.stored[max(start, self.dirty_from) : end] = self.cached[max(start, self.dirty_from) : end]
        size = max(size, min(self.dirty_from, len(self.stored)))
        if len(self.stored) < size:
            self.stored.extend(bytes(size - len(self.stored)))
        del self.stored[size:]

    def _sizes(self) -> tuple[int, int]:
        old, new = len(self.stored), len(self.cached)
        return min(old, new), max(old, new)


class MemoryFile:
    def __init__(self, disk: MemoryDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._open = True

    def append(self, data: bytes) -> None:
        self._step("append")
        room = self._disk.free_bytes()
        taken = data[:room]
        self._inode.touch(len(self._inode.cached))
        self._inode.cached.extend(taken)
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def read(self, offset: int, size: int) -> bytes:
        self._step("read")
        return bytes(self._inode.cached[offset : offset + size])

    def size(self) -> int:
        return len(self._inode.cached)

    def sync(self) -> None:
        try:
            self._step("sync")
        except OSError:
            self._inode.store_some(self._disk.random)
            self._inode.dirty_from = len(self._inode.cached)
            raise
        self._disk.syncs += 1
        self._inode.store()

    def truncate(self, size: int) -> None:
        self._step("truncate")
        self._inode.touch(size)
        del self._inode.cached[size:]

    def close(self) -> None:
        self._open = False

    def _step(self, operation: str) -> None:
        if not self._open:
            raise OSError(errno.EBADF, "Bad file descriptor")
        self._disk.step(operation)


class MemoryDisk:
    """`cluster.ports.Disk` in memory.

    `capacity`: bytes of files it holds. `failures`: errors (errno) by operation, each raised once for every time it
    is listed ("append", "sync", "read", "rename", "remove", "sync_folder", "truncate"). `power`: after so many more
    operations the power is cut; None for never. `delay`: seconds that `run` takes. `syncs` counts those that worked.
    """

    def __init__(self, random: Random | None = None, capacity: int = 1 << 40) -> None:
        self.random = random or Random(0)
        self.capacity = capacity
        self.failures: dict[str, list[int]] = {}
        self.power: int | None = None
        self.delay = 0.0
        self.syncs = 0
        self.locked = False
        self.files: dict[str, Inode] = {}
        self.folders = {""}
        self._stored_files: dict[str, Inode] = {}
        self._changes: list[tuple[str, Callable[[dict[str, Inode]], None]]] = []
        self._turn = asyncio.Lock()

    def crash(self) -> MemoryDisk:
        """The disk as it is found after the power came back; this one is of no use afterwards."""
        after = MemoryDisk(self.random, self.capacity)
        files = dict(self._stored_files)
        for _, change in self._changes:
            if self.random.random() < 0.5:
                change(files)
        for inode in dict.fromkeys(files.values()):  # A set's order would change what chance does.
            inode.store_some(self.random)
            survivor = Inode()
            survivor.cached = bytearray(inode.stored)
            survivor.stored = bytearray(inode.stored)
            survivor.dirty_from = len(inode.stored)
            for name in [name for name, other in files.items() if other is inode]:
                after.files[name] = survivor
        after._stored_files = dict(after.files)
        after.folders = set(self.folders)
        self.power = 0
        return after

    def step(self, operation: str) -> None:
        if self.power is not None:
            if self.power <= 0:
                raise PowerCut
            self.power -= 1
        if self.failures.get(operation):
            number = self.failures[operation].pop(0)
            raise OSError(number, f"injected {errno.errorcode[number]}")

    def open(self, name: str, *, create: bool = False) -> MemoryFile:
        if name not in self.files:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
            self.step("create")
            inode = Inode()
            self._change(name, lambda files: files.__setitem__(name, inode))
        return MemoryFile(self, self.files[name])

    def list(self, folder: str = "") -> list[str]:
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", folder)
        prefix = folder + "/" if folder else ""
        names = [name[len(prefix) :] for name in (*self.files, *self.folders) if name.startswith(prefix)]
        return sorted(name for name in names if name and "/" not in name)

    def make_folder(self, name: str) -> None:
        # Folders are made once and synced at once by all who use them; losing one isn't simulated.
        self.folders.add(name)

    def rename(self, old: str, new: str) -> None:
        self.step("rename")
        inode = self.files[old]

        def change(files: dict[str, Inode]) -> None:
            files.pop(old, None)
            files[new] = inode

        self._change(new, change)

    def remove(self, name: str) -> None:
        self.step("remove")
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)

        def change(files: dict[str, Inode]) -> None:
            files.pop(name, None)

        self._change(name, change)

    def sync_folder(self, name: str = "") -> None:
        self.step("sync_folder")
        for changed, change in self._changes:
            if changed.rpartition("/")[0] == name:
                change(self._stored_files)
        self._changes = [item for item in self._changes if item[0].rpartition("/")[0] != name]

    def free_bytes(self) -> int:
        return max(0, self.capacity - sum(len(inode.cached) for inode in set(self.files.values())))

    def lock(self) -> None:
        if self.locked:
            raise BlockingIOError(errno.EWOULDBLOCK, "the data directory is in use")
        self.locked = True

    def unlock(self) -> None:
        self.locked = False

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        def ended(task: asyncio.Task[object]) -> None:
            done(asyncio.CancelledError() if task.cancelled() else task.exception())

        asyncio.get_running_loop().create_task(self.run(work)).add_done_callback(ended)

    async def run(self, work: Callable[[], T]) -> T:
        async with self._turn:
            await asyncio.sleep(self.delay)
            return work()

    def _change(self, name: str, change: Callable[[dict[str, Inode]], None]) -> None:
        change(self.files)
        self._changes.append((name, change))
