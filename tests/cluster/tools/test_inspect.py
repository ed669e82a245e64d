"""A look at a journal says what a start would find, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.storage.disk import RealDisk
from cluster.storage.journal import Journal
from cluster.storage.records import encode, seed_of
from cluster.storage.replay import segment_file
from cluster.tools.inspect import dump, verify
from tests.cluster.storage.memory_disk import MemoryDisk


async def filled() -> MemoryDisk:
    """Base 5, entries 6 to 30 of the terms 1 and 2, in several segments, cleanly closed."""
    disk = MemoryDisk()
    journal = Journal.open(disk, segment_bytes=250, reserve_bytes=100)
    journal.set_vote(2, "n1")
    for number in range(30):
        journal.append(b"secret %d" % number, 1 + number // 15)
        await journal.sync()
    journal.drop_to(5)
    await journal.close()
    return disk


def contents(disk: MemoryDisk) -> dict[str, bytes]:
    return {name: bytes(inode.cached) for name, inode in disk.files.items()}


async def test_a_sound_journal_is_summed_up() -> None:
    disk = await filled()
    before = contents(disk)
    report = verify(disk)
    assert report.ok
    assert report.problems == ()
    assert (report.first_index, report.last_index, report.base_index, report.base_term) == (6, 30, 5, 1)
    assert (report.term, report.voted_for, report.entry_terms) == (2, "n1", (1, 2))
    assert report.segments == len([name for name in before if name.endswith(".segment")])
    assert report.records == len(list(dump(disk)))
    assert contents(disk) == before


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path, create=False)
    report = verify(disk)
    assert report.ok
    assert (report.segments, report.records, report.first_index, report.last_index) == (0, 0, 0, 0)
    assert list(dump(disk)) == []
    assert list(tmp_path.iterdir()) == []
    disk.close()


async def test_every_damaged_segment_is_named_not_only_the_first() -> None:
    disk = await filled()
    for number in (3, 5):
        disk.files[segment_file(number)].cached[-1] ^= 1
    report = verify(disk)
    assert not report.ok
    assert [problem.file for problem in report.problems] == [segment_file(3), segment_file(5)]
    assert all(problem.fatal and problem.offset > 0 for problem in report.problems)
    assert report.last_index == 0


async def test_a_missing_segment_is_named() -> None:
    disk = await filled()
    numbers = sorted(disk.list("journal"))
    del disk.files[f"journal/{numbers[2]}"]
    report = verify(disk)
    assert not report.ok
    assert [problem.file for problem in report.problems] == [f"journal/{numbers[2]}"]
    assert "is missing" in report.problems[0].text


async def test_a_torn_tail_and_leftovers_are_told_and_not_fatal() -> None:
    disk = await filled()
    last = max(name for name in disk.files if name.endswith(".segment"))
    disk.files[last].cached.extend(b"\xa7\x5e torn")
    disk.open("journal/0000000000000099.tmp", create=True)
    report = verify(disk)
    assert report.ok
    assert report.last_index == 30
    assert [(problem.file, problem.fatal) for problem in report.problems] == [
        (last, False),
        ("journal/0000000000000099.tmp", False),
    ]
    assert "7 bytes" in report.problems[0].text


async def test_a_record_of_a_later_version_is_fatal_and_dumped_as_unknown() -> None:
    disk = await filled()
    number = max(int(name[:16]) for name in disk.list("journal") if name.endswith(".segment"))
    content = disk.files[segment_file(number)].cached
    content.extend(encode(77, 0, 0, b"?", seed=seed_of(number), offset=len(content), synced=0))
    report = verify(disk)
    assert not report.ok
    assert "kind 77" in report.problems[0].text
    assert list(dump(disk))[-1]["kind"] == "unknown 77"


async def test_a_dump_has_each_record_and_no_data() -> None:
    disk = await filled()
    lines = [json.dumps(record) for record in dump(disk)]
    assert "secret" not in "".join(lines)
    records = [json.loads(line) for line in lines]
    entries = [record for record in records if record["kind"] == "entry"]
    assert [record["index"] for record in entries] == list(range(entries[0]["index"], 31))
    assert entries[0]["bytes"] == len(b"secret 1")
    assert len(entries[0]["sha256"]) == 16
    assert {"kind": "vote", "index": 0, "term": 2, "voted_for": "n1"}.items() <= records[1].items() | records[2].items()
    assert records[-1]["kind"] == "mark"
    assert [record["index"] for record in records if record["kind"] == "base"] == [5]


async def test_a_dump_goes_on_after_damage() -> None:
    disk = await filled()
    disk.files[segment_file(3)].cached[0] ^= 1
    disk.files[segment_file(5)].cached[-1] ^= 1
    records = list(dump(disk))
    assert [record["segment"] for record in records if "problem" in record] == [3, 5]
    assert records[-1]["kind"] == "mark"


async def test_a_running_nodes_directory_is_refused() -> None:
    disk = await filled()
    disk.lock()
    with pytest.raises(BlockingIOError):
        verify(disk)
    with pytest.raises(BlockingIOError):
        next(dump(disk))
    disk.unlock()
    reading = dump(disk)
    next(reading)
    assert disk.locked
    reading.close()  # type: ignore[attr-defined]  # a generator, known as an iterator
    assert not disk.locked
