"""A measured disk is the disk that it stands for, and tells of every sync."""

from __future__ import annotations

import errno
from random import Random

import pytest

from cluster.storage.disk_decorators import TimedDisk
from cluster.storage.journal import Journal
from tests.cluster.storage.memory_disk import MemoryDisk


async def test_a_journal_on_it_is_the_same_and_each_sync_is_told() -> None:
    disk, seconds = MemoryDisk(Random(1)), list[float]()
    measured = TimedDisk(disk, seconds.append)
    measured.lock()
    journal = Journal.open(measured, reserve_bytes=0)
    before = len(seconds)
    journal.append(b"an entry", 1)
    await journal.sync()
    assert len(seconds) == before + 1
    assert all(0 <= one < 10 for one in seconds)
    await journal.close()
    measured.unlock()
    again = Journal.open(disk, reserve_bytes=0)
    assert again.entry(1).data == b"an entry"
    await again.close()


def test_a_sync_that_fails_is_told_too() -> None:
    seconds: list[float] = []

    class Failing:
        def sync(self) -> None:
            raise OSError(errno.EIO, "no")

    disk = MemoryDisk(Random(1))
    disk.open = lambda name, *, create=False: Failing()  # type: ignore[method-assign,assignment,return-value]  # fails
    with pytest.raises(OSError, match="no"):
        TimedDisk(disk, seconds.append).open("x").sync()
    assert len(seconds) == 1
