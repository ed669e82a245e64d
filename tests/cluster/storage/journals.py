"""Journals on a disk in memory, for all tests of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.storage.journal import Journal
from tests.cluster.storage.memory_disk import MemoryDisk


def open_journal(disk: MemoryDisk, segment_bytes: int = 1 << 20) -> Journal:
    return Journal.open(disk, segment_bytes=segment_bytes, reserve_bytes=1000)


def segments(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.list("journal") if name.endswith(".segment")]


def health(journal: Journal) -> tuple[bool, bool]:
    """Whether it works, and whether it has its reserve."""
    return journal.failed is None, journal.has_reserve


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the disk in memory works between two turns of the loop
            await asyncio.sleep(0)


async def filled(disk: MemoryDisk, count: int, segment_bytes: int = 1 << 20) -> Journal:
    journal = open_journal(disk, segment_bytes)
    for number in range(count):
        journal.append(b"entry %d" % number, 1)
        await journal.sync()
    return journal
