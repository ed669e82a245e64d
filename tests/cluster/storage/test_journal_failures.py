"""A journal whose disk fails or is full: what counts then, and how it comes back."""

from __future__ import annotations

import asyncio
import errno

import pytest

from cluster.storage.journal import JournalError, JournalFailed
from cluster.storage.replay import segment_file
from tests.cluster.storage.journals import filled, health, open_journal, segments, until
from tests.cluster.storage.memory_disk import MemoryDisk


@pytest.mark.parametrize("operation", ["append", "sync"])
async def test_after_an_error_every_sync_fails_until_the_journal_is_reopened(operation: str) -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 3)
    disk.failures[operation] = [errno.EIO]
    journal.append(b"lost?", 1)
    waiting = [asyncio.create_task(journal.sync()) for _ in range(3)]
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, JournalFailed)
        assert outcome.cause.errno == errno.EIO
    with pytest.raises(JournalFailed):
        await journal.sync()
    assert health(journal) == (False, True)
    assert journal.durable_index == 3
    await journal.reopen()
    assert health(journal) == (True, True)
    assert journal.last_index in (3, 4)
    journal.append(b"more", 1)
    await journal.sync()
    assert journal.durable_index == journal.last_index


async def test_a_tail_whose_sync_failed_counts_only_after_it_was_written_anew() -> None:
    """fsyncgate: the next fsync succeeds and the cache shows the data, but the disk never got it."""
    disk = MemoryDisk()
    journal = await filled(disk, 3)
    disk.failures["sync"] = [errno.EIO]
    journal.append(b"x" * 5000, 1)
    with pytest.raises(JournalFailed):
        await journal.sync()
    await journal.reopen()
    assert journal.durable_index == journal.last_index == 4
    journal = open_journal(disk.crash())
    assert journal.entry(4).data == b"x" * 5000


async def test_a_failed_write_may_spoil_the_page_in_which_it_began() -> None:
    """A sync that fails in the middle of a page can take along what an earlier sync had put there."""
    disk = MemoryDisk()
    journal = open_journal(disk)
    for number in range(60):
        journal.append(b"%d" % number * 50, 1)
        await journal.sync()
    inode = disk.files[segment_file(1)]
    synced = len(inode.stored)
    page = synced - synced % 4096
    assert 0 < page < synced
    disk.failures["sync"] = [errno.EIO]
    journal.append(b"more", 1)
    with pytest.raises(JournalFailed):
        await journal.sync()
    inode.stored[page:] = bytes(len(inode.stored) - page)
    await journal.reopen()
    before = journal.slice(1, 99, 1 << 20)
    assert len(before) >= 60
    assert open_journal(disk.crash()).slice(1, 99, 1 << 20) == before


async def test_a_reopen_that_fails_leaves_the_journal_failed() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 3)
    disk.failures["append"] = [errno.EIO, errno.EIO]
    journal.append(b"", 1)
    with pytest.raises(JournalFailed):
        await journal.sync()
    with pytest.raises(JournalFailed):
        await journal.reopen()
    assert health(journal) == (False, True)
    await journal.reopen()
    assert health(journal) == (True, True)
    assert journal.last_index == 3


async def test_nothing_is_written_while_the_journal_is_read_again() -> None:
    """A reset of the old log would take segments away that the log which is read then needs."""
    disk = MemoryDisk()
    journal = await filled(disk, 5, segment_bytes=200)
    reading = asyncio.create_task(journal.reopen())
    await asyncio.sleep(0)
    journal.reset(10, 2)
    with pytest.raises(JournalFailed):
        await journal.sync()
    await reading
    assert (journal.base_index, journal.last_index, journal.failed) == (0, 5, None)
    journal.append(b"one more", 2)
    await journal.sync()
    await journal.close()
    assert open_journal(disk).last_index == 6


async def test_a_full_disk_gives_up_the_reserve_and_gets_it_back_when_there_is_room() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 3)
    disk.capacity -= disk.free_bytes()
    journal.append(b"x" * 100, 1)
    with pytest.raises(JournalFailed) as caught:
        await journal.sync()
    assert caught.value.cause.errno == errno.ENOSPC
    assert health(journal) == (False, False)
    with pytest.raises(JournalFailed, match="no room on the disk for a reserve of 1000 bytes"):
        await journal.reopen()
    disk.capacity += 10_000
    await journal.reopen()
    assert health(journal) == (True, True)
    journal.append(b"x" * 100, 1)
    await journal.sync()


async def test_a_log_that_filled_the_disk_can_be_shrunk_within_the_reserve() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 50, segment_bytes=500)
    disk.capacity -= disk.free_bytes()
    journal.append(b"x" * 100, 1)
    with pytest.raises(JournalFailed):
        await journal.sync()
    await journal.reopen(need_reserve=False)
    assert health(journal) == (True, False)
    journal.drop_to(50)
    await journal.sync()
    await until(lambda: len(segments(disk)) == 1)
    await journal.reopen()
    assert health(journal) == (True, True)


async def test_a_node_starts_on_a_full_disk() -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    disk.capacity -= disk.free_bytes()
    journal = open_journal(disk)
    assert (journal.last_index, journal.has_reserve) == (3, False)


async def test_a_disk_without_any_room_is_refused_in_words() -> None:
    with pytest.raises(JournalError, match=r"can't be opened.*No space"):
        open_journal(MemoryDisk(capacity=50))
