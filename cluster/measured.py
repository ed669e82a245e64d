"""A disk that tells how long its syncs take, for metrics: all else is the disk's that it stands for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.ports import Disk, File

T = TypeVar("T")

Observe = Callable[[float], None]
"""Takes the seconds of one sync, also of one that failed; called in the disk's thread."""


class _MeasuredFile:
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


class MeasuredDisk:
    """Implements `Disk`; its files' syncs are measured."""

    def __init__(self, disk: Disk, observe: Observe) -> None:
        self._disk = disk
        self._observe = observe

    def open(self, name: str, *, create: bool = False) -> File:
        return _MeasuredFile(self._disk.open(name, create=create), self._observe)

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
