"""A process's way to its simulated disk: one queue of blocking work, delays that faults stretch, and its own death.

What is on the disk, and what a crash leaves of it, is `tests.cluster.storage.memory_disk`; it outlives the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from cluster.ports import File
from tests.cluster.storage.memory_disk import MemoryDisk, PowerCut
from tests.simulation.loop import NodeLoop

T = TypeVar("T")


@dataclass(slots=True)
class Speed:
    """How long blocking work takes, in seconds: at least `base`, `slow` times as long under a fault, and nothing
    ends before `stalled_until` (true time)."""

    base: float = 0.0005
    spread: float = 0.001
    slow: float = 1.0
    stalled_until: float = 0.0


class SimulatedDisk:
    """`cluster.ports.Disk` for one run of one process; work of `run` is done one by one on this face of the disk."""

    def __init__(
        self, storage: MemoryDisk, loop: NodeLoop, speed: Speed, random: Random, power_cut: Callable[[], None]
    ) -> None:
        self.storage = storage
        self.speed = speed
        self._loop = loop
        self._random = random
        self._power_cut = power_cut
        self._queue: deque[tuple[Callable[[], object], asyncio.Future[object]]] = deque()

    @property
    def _disk(self) -> MemoryDisk:
        if self._loop.dead:
            raise PowerCut
        return self.storage

    def open(self, name: str, *, create: bool = False) -> File:
        return _LiveFile(self._guard(lambda: self._disk.open(name, create=create)), self)

    def list(self, folder: str = "") -> list[str]:
        return self._disk.list(folder)

    def make_folder(self, name: str) -> None:
        self._disk.make_folder(name)

    def rename(self, old: str, new: str) -> None:
        self._guard(lambda: self._disk.rename(old, new))

    def remove(self, name: str) -> None:
        self._guard(lambda: self._disk.remove(name))

    def sync_folder(self, name: str = "") -> None:
        self._guard(lambda: self._disk.sync_folder(name))

    def free_bytes(self) -> int:
        return self._disk.free_bytes()

    def lock(self) -> None:
        self._disk.lock()

    def unlock(self) -> None:
        if not self._loop.dead:
            self.storage.unlock()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.append((work, future))  # type: ignore[arg-type]  # a pair of one T; the queue holds all
        if len(self._queue) == 1:
            self._begin()
        # Work that was begun is done, whether anybody still waits for it or not.
        return asyncio.shield(future)

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self.run(work).add_done_callback(lambda future: done(future.exception()))

    def half_done(self, operations: int) -> None:
        """The power goes: of the work that waits, so many operations more are done."""
        self.storage.power = operations
        try:
            for work, _future in self._queue:
                work()
        except Exception:
            return  # Its process hears of nothing any more. The same work fails aloud in a process that lives.
        finally:
            self.storage.power = None

    def _begin(self) -> None:
        speed = self.speed
        delay = (speed.base + speed.spread * self._random.random()) * speed.slow
        self._loop.call_later(delay, self._do)

    def _do(self) -> None:
        stalled = self.speed.stalled_until - self._loop.scheduler.now
        if stalled > 0:
            # In steps: a stall may be called off.
            self._loop.call_later(min(stalled + 1e-4, 0.1), self._do)
            return
        work, future = self._queue.popleft()
        try:
            result = work()
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)
        if self._queue:
            self._begin()

    def _guard(self, operation: Callable[[], T]) -> T:
        try:
            return operation()
        except PowerCut:
            self._power_cut()
            raise


class _LiveFile:
    """An open file, for as long as its process lives."""

    def __init__(self, file: File, disk: SimulatedDisk) -> None:
        self._file = file
        self._face = disk

    def append(self, data: bytes) -> None:
        self._do(lambda: self._file.append(data))

    def read(self, offset: int, size: int) -> bytes:
        return self._do(lambda: self._file.read(offset, size))

    def size(self) -> int:
        return self._file.size()

    def sync(self) -> None:
        self._do(self._file.sync)

    def truncate(self, size: int) -> None:
        self._do(lambda: self._file.truncate(size))

    def close(self) -> None:
        self._file.close()

    def _do(self, operation: Callable[[], T]) -> T:
        if self._face._loop.dead:
            raise PowerCut
        return self._face._guard(operation)
