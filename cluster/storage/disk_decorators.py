"""Decorators of disks: the base of them, and the one that times syncs for metrics (`sealed_disk.py` has another)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.ports import Disk, File

T = TypeVar("T")

Observe = Callable[[float], None]
"""Takes the seconds of one sync, also of one that failed; called in the disk's thread."""


class WrappedDisk:
    """Base of disk decorators: forwards every call to the wrapped disk. Subclasses change what `open` returns."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def open(self, name: str, *, create: bool = False) -> File:
        return self._disk.open(name, create=create)

    def list(self, folder: str = "") -> list[str]:
        return self._disk.list(folder)

    def make_folder(self, name: str) -> None:
        self._disk.make_folder(name)

    def rename(self, old: str, new: str) -> None:
        self._disk.rename(old, new)

    def remove(self, name: str) -> None:
        self._disk.remove(name)

    def sync_folder(self, name: str = "") -> None:
        self._disk.sync_folder(name)

    def free_bytes(self) -> int:
        return self._disk.free_bytes()

    def lock(self) -> None:
        self._disk.lock()

    def unlock(self) -> None:
        self._disk.unlock()

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        return self._disk.run(work)

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self._disk.begin(work, done)


class _TimedFile:
    def __init__(self, file: File, observe: Observe) -> None:
        self._file = file
        self._observe = observe

    def append(self, data: bytes) -> None:
        self._file.append(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._file.read(offset, size)

    def size(self) -> int:
        return self._file.size()

    def sync(self) -> None:
        started = time.perf_counter()
        try:
            self._file.sync()
        finally:
            self._observe(time.perf_counter() - started)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class TimedDisk(WrappedDisk):
    """Disk decorator that times syncs for metrics."""

    def __init__(self, disk: Disk, observe: Observe) -> None:
        super().__init__(disk)
        self._observe = observe

    def open(self, name: str, *, create: bool = False) -> File:
        return _TimedFile(super().open(name, create=create), self._observe)
