"""A disk that tells how long its syncs take, for metrics: all else is the disk's that it stands for."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.ports import Disk, File
from cluster.storage.wrapped_disk import WrappedDisk

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


class MeasuredDisk(WrappedDisk):
    """A disk whose files' syncs are measured."""

    def __init__(self, disk: Disk, observe: Observe) -> None:
        super().__init__(disk)
        self._observe = observe

    def open(self, name: str, *, create: bool = False) -> File:
        return _MeasuredFile(super().open(name, create=create), self._observe)
