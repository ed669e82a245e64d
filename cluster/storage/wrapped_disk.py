"""A disk that stands for another one: all is that one's, but for what a kind of it changes (measured, sealed)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.ports import Disk, File

T = TypeVar("T")


class WrappedDisk:
    """Implements `cluster.ports.Disk`; its kinds change what `open` gives."""

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
