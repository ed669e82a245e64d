"""The journal as Raft uses it: what counts as durable, when segments go, what is refused."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.raft.storage import Entry
from cluster.storage.disk import RealDisk
from cluster.storage.journal import Journal, JournalError, JournalFailed
from cluster.storage.records import MAX_DATA_BYTES
from cluster.storage.replay import segment_file
from cluster.tools.inspect import verify
from tests.cluster.storage.journals import filled, open_journal, segments, until
from tests.cluster.storage.memory_disk import MemoryDisk


async def test_a_new_journal_is_empty_and_durable() -> None:
    journal = open_journal(MemoryDisk())
    assert (journal.base_index, journal.last_index, journal.term, journal.voted_for) == (0, 0, 0, None)
    assert (journal.durable_index, journal.unsynced, journal.failed) == (0, False, None)
    assert journal.has_reserve
    await journal.close()


async def test_a_change_shows_at_once_and_is_durable_after_the_sync() -> None:
    journal = open_journal(MemoryDisk())
    journal.set_vote(1, "n1")
    assert journal.append(b"one", 1) == 1
    assert journal.entry(1) == Entry(b"one", 1, 1)
    assert (journal.last_index, journal.last_term, journal.durable_index) == (1, 1, 0)
    assert journal.unsynced
    await journal.sync()
    assert journal.durable_index == 1
    assert not journal.unsynced


async def test_callers_share_syncs_and_what_comes_meanwhile_waits_for_one_more() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    before = disk.syncs
    disk.delay = 0.01
    journal.append(b"one", 1)
    first = [asyncio.create_task(journal.sync()) for _ in range(10)]
    await until(lambda: journal.sync_started_at is not None)
    for _ in range(10):
        journal.append(b"more", 1)
    second = [asyncio.create_task(journal.sync()) for _ in range(10)]
    await asyncio.gather(*first)
    assert journal.durable_index == 1
    await asyncio.gather(*second)
    assert journal.durable_index == 11
    assert disk.syncs - before == 2
    assert journal.sync_started_at is None
    assert journal.last_sync_seconds >= 0.009


async def test_a_sync_without_changes_costs_nothing() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 1)
    before = disk.syncs
    await journal.sync()
    assert disk.syncs == before


async def test_a_caller_that_is_cancelled_does_not_take_the_write_with_it() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    disk.delay = 0.01
    journal.append(b"one", 1)
    caller = asyncio.create_task(journal.sync())
    await until(lambda: journal.sync_started_at is not None)
    other = asyncio.create_task(journal.sync())
    caller.cancel()
    await other
    assert journal.durable_index == 1
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_entries_that_replace_others_during_a_write_are_not_durable_with_it() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 2)
    disk.delay = 0.01
    journal.append(b"three", 1)
    journal.append(b"four", 1)
    writing = asyncio.create_task(journal.sync())
    await until(lambda: journal.sync_started_at is not None)
    journal.truncate_from(2)
    assert journal.durable_index == 1
    journal.append(b"other two", 2)
    journal.append(b"other three", 2)
    await writing
    assert journal.durable_index == 1
    await journal.sync()
    assert journal.durable_index == 3
    journal = open_journal(disk)
    assert [entry.data for entry in journal.slice(1, 9, 999)] == [b"entry 0", b"other two", b"other three"]


async def test_after_a_reset_nothing_is_durable_until_it_is_synced() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 5)
    journal.set_vote(3, "n2")
    disk.delay = 0.01
    journal.append(b"six", 2)
    writing = asyncio.create_task(journal.sync())
    await until(lambda: journal.sync_started_at is not None)
    journal.reset(9, 3)
    assert (journal.base_index, journal.base_term, journal.last_index, journal.last_term) == (9, 3, 9, 3)
    await writing
    assert journal.durable_index == 0
    await journal.sync()
    assert journal.durable_index == 9
    journal.append(b"ten", 3)
    await journal.sync()
    journal = open_journal(disk)
    assert (journal.base_index, journal.base_term, journal.last_index) == (9, 3, 10)
    assert (journal.term, journal.voted_for, journal.term_at(9)) == (3, "n2", 3)


async def test_segments_roll_and_go_when_a_snapshot_covers_them() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 100, segment_bytes=500)
    count = len(segments(disk))
    assert count > 5
    journal.drop_to(60)
    assert (journal.base_index, journal.base_term, journal.term_at(60)) == (60, 1, 1)
    await journal.sync()
    await until(lambda: len(segments(disk)) < count - 5)
    journal = open_journal(disk, 500)
    assert (journal.base_index, journal.last_index) == (60, 100)
    assert journal.entry(61).data == b"entry 60"


async def test_segments_go_after_a_reset_also_when_the_journal_was_opened_again_since() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 50, segment_bytes=500)
    journal.reset(20, 2)
    disk.failures["remove"] = [errno.EIO]
    await journal.sync()
    await until(lambda: journal.failed is not None)
    await journal.close()
    assert len(segments(disk)) > 5
    journal = open_journal(disk, 500)
    journal.append(b"next", 2)
    await journal.sync()
    await until(lambda: len(segments(disk)) == 1)


async def test_a_reset_takes_no_segment_away_before_it_is_on_disk() -> None:
    disk = MemoryDisk()
    journal = await filled(disk, 50, segment_bytes=500)
    disk.delay = 0.01
    journal.append(b"entry 50", 1)
    writing = asyncio.create_task(journal.sync())
    await until(lambda: journal.sync_started_at is not None)
    journal.reset(20, 2)
    await writing
    await disk.run(lambda: None)
    await disk.run(lambda: None)
    journal = open_journal(disk.crash(), 500)
    assert (journal.base_index, journal.last_index) == (0, 51)


async def test_term_and_vote_outlive_the_segment_they_were_written_in() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, 500)
    journal.set_vote(4, "n3")
    for _ in range(50):
        journal.append(b"entry", 4)
        await journal.sync()
    journal.drop_to(50)
    await journal.sync()
    await until(lambda: len(segments(disk)) == 1)
    journal = open_journal(disk)
    assert (journal.term, journal.voted_for) == (4, "n3")


async def test_an_entry_that_covered_others_in_a_dropped_segment_is_still_read() -> None:
    """A truncation may reach below the oldest segment that is left; the log is whole all the same."""
    disk = MemoryDisk()
    journal = await filled(disk, 30, segment_bytes=500)
    journal.truncate_from(5)
    for _ in range(40):
        journal.append(b"other", 2)
        await journal.sync()
    journal.drop_to(40)
    await journal.sync()
    await until(lambda: "0000000000000001.segment" not in segments(disk))
    journal = open_journal(disk, 500)
    assert (journal.base_index, journal.base_term, journal.last_index) == (40, 2, 44)
    assert [entry.data for entry in journal.slice(41, 45, 999)] == [b"other"] * 4


async def test_what_would_break_raft_is_refused_and_changes_nothing() -> None:
    journal = await filled(MemoryDisk(), 5)
    journal.set_vote(3, "n1")
    journal.drop_to(2)
    await journal.sync()
    changes = journal.changes
    assert changes == 7
    with pytest.raises(ValueError, match="can't follow term 3"):
        journal.set_vote(2, None)
    with pytest.raises(ValueError, match="can't follow term 3 with one for n1"):
        journal.set_vote(3, "n2")
    with pytest.raises(ValueError, match="term 0 can't follow one of term 1"):
        journal.append(b"", 0)
    with pytest.raises(ValueError, match="covered by the snapshot at 2"):
        journal.truncate_from(2)
    with pytest.raises(ValueError, match="ends at 5"):
        journal.drop_to(6)
    with pytest.raises(ValueError, match="can't go back to 1"):
        journal.reset(1, 1)
    with pytest.raises(ValueError, match="at most"):
        journal.append(bytes(MAX_DATA_BYTES + 1), 3)
    journal.set_vote(3, "n1")
    journal.truncate_from(6)
    journal.drop_to(1)
    assert journal.changes == changes
    assert (journal.base_index, journal.last_index, journal.term, journal.voted_for) == (2, 5, 3, "n1")


async def test_a_closed_journal_takes_no_more() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    journal.append(b"unsynced", 1)
    await journal.close()
    await journal.close()
    journal.append(b"late", 1)
    with pytest.raises(JournalError, match="closed"):
        await journal.sync()
    with pytest.raises(JournalError, match="closed"):
        await journal.reopen()
    assert open_journal(disk).last_index == 1


async def test_a_close_that_can_not_sync_says_so() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    journal.append(b"unsynced", 1)
    disk.failures["sync"] = [errno.EIO]
    with pytest.raises(JournalFailed):
        await journal.close()


async def test_a_segment_size_that_can_not_work_is_refused() -> None:
    for size in (0, 2 << 30):
        with pytest.raises(ValueError, match="segments can have"):
            open_journal(MemoryDisk(), size)


def test_a_process_that_was_killed_leaves_nothing_to_cut(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from cluster.storage.disk import RealDisk; from cluster.storage.journal import Journal\n"
        "async def main():\n"
        "    journal = Journal.open(RealDisk(sys.argv[1]))\n"
        "    while True:\n"
        "        journal.append(b'entry', 1)\n"
        "        await journal.sync()\n"
        "        print(journal.durable_index, flush=True)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.kill()
        said += process.stdout.readlines()
    promised = int(said[-1])
    assert (tmp_path / segment_file(1)).read_bytes().endswith(bytes(1000))
    looking = RealDisk(tmp_path, create=False)
    report = verify(looking)
    looking.close()
    assert (report.problems, report.last_index >= promised) == ((), True)
    disk = RealDisk(tmp_path)
    journal = Journal.open(disk)
    assert journal.recovered_bytes_cut == 0
    assert journal.last_index >= promised
    assert (tmp_path / segment_file(1)).stat().st_size < 100_000
    disk.close()


async def test_it_keeps_its_word_on_a_real_disk(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    journal = Journal.open(disk, segment_bytes=10_000, reserve_bytes=1 << 20)
    journal.set_vote(2, "n1")
    for number in range(500):
        journal.append(b"%d" % number * 20, 2)
        if number % 7 == 0:
            await journal.sync()
    await journal.sync()
    journal.drop_to(300)
    await journal.sync()
    journal = Journal.open(disk, segment_bytes=10_000, reserve_bytes=1 << 20)
    assert (journal.base_index, journal.last_index, journal.term, journal.voted_for) == (300, 500, 2, "n1")
    assert journal.entry(500) == Entry(b"499" * 20, 500, 2)
    assert (tmp_path / "reserve").stat().st_size == 1 << 20
    await journal.close()
    disk.close()
