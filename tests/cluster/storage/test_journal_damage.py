"""What is on the disk and isn't as it was written: a torn tail is cut, all else is refused with its place."""

from __future__ import annotations

import struct

import pytest
from google_crc32c import value

from cluster.storage.journal import JournalDamaged, JournalError
from cluster.storage.records import HEAD_BYTES, Kind, encode, seed_of
from cluster.storage.replay import segment_file
from tests.cluster.storage.journals import filled, open_journal
from tests.cluster.storage.memory_disk import MemoryDisk


async def test_a_torn_tail_is_cut_and_counted() -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    disk.files[segment_file(1)].cached.extend(b"\xa7\x5e torn")
    journal = open_journal(disk)
    assert (journal.last_index, journal.recovered_bytes_cut) == (3, 7)
    assert open_journal(disk).recovered_bytes_cut == 0


async def test_damage_is_refused_naming_file_place_and_expectation() -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    content = disk.files[segment_file(1)].cached
    place = content.index(b"entry 0")
    content[place] ^= 1
    with pytest.raises(JournalDamaged, match=r"checksum .* had been synced") as caught:
        open_journal(disk)
    assert (caught.value.file, caught.value.offset) == (segment_file(1), place - HEAD_BYTES)


async def test_a_short_segment_before_the_last_is_damage() -> None:
    disk = MemoryDisk()
    await filled(disk, 30, segment_bytes=500)
    del disk.files[segment_file(2)].cached[-1:]
    with pytest.raises(JournalDamaged, match=r"segment, byte \d+: the file should have at least"):
        open_journal(disk)


async def test_a_segment_before_the_last_that_ends_in_zeros_is_damage() -> None:
    disk = MemoryDisk()
    await filled(disk, 30, segment_bytes=500)
    content = disk.files[segment_file(2)].cached
    content[-60:] = bytes(60)
    with pytest.raises(JournalDamaged) as caught:
        open_journal(disk)
    assert caught.value.file == segment_file(2)


@pytest.mark.parametrize("number", [1, 3])
async def test_a_missing_segment_is_named(number: int) -> None:
    disk = MemoryDisk()
    await filled(disk, 30, segment_bytes=500)
    del disk.files[segment_file(number)]
    with pytest.raises(JournalDamaged, match=f"segment {number} is missing.*entries 1 to"):
        open_journal(disk)


async def test_a_segment_under_another_name_is_refused() -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    disk.rename(segment_file(1), segment_file(2))
    with pytest.raises(JournalDamaged, match="checksum"):
        open_journal(disk)


@pytest.mark.parametrize(
    ("kind", "index", "problem"),
    [(Kind.ENTRY, 9, "entry 4 should follow"), (Kind.TRUNCATE, 9, "ends at 3"), (Kind.BASE, 9, "ends at 3")],
)
async def test_a_record_out_of_order_is_damage(kind: Kind, index: int, problem: str) -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    content = disk.files[segment_file(1)].cached
    content.extend(encode(kind, index, 1, b"", seed=seed_of(1), offset=len(content), synced=0))
    with pytest.raises(JournalDamaged, match=f"{kind.name} of index 9 is out of order: .*{problem}"):
        open_journal(disk)


@pytest.mark.parametrize(("kind", "key_id", "problem"), [(99, 0, "kind 99 is not known"), (2, 5, "under key 00000005")])
async def test_a_record_of_a_later_version_stops_the_start(kind: int, key_id: int, problem: str) -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    content = disk.files[segment_file(1)].cached
    nonce = bytes(12) if key_id else b""
    content.extend(encode(kind, 4, 1, b"", seed=seed_of(1), offset=len(content), synced=0, key_id=key_id, nonce=nonce))
    before = {name: bytes(inode.cached) for name, inode in disk.files.items()}
    with pytest.raises(JournalError, match=problem):
        open_journal(disk)
    assert {name: bytes(inode.cached) for name, inode in disk.files.items()} == before


async def test_a_newer_format_is_refused_naming_both_versions() -> None:
    disk = MemoryDisk()
    await filled(disk, 3)
    content = disk.files[segment_file(1)].cached
    content[8:12] = struct.pack("<I", 2)
    content[12:16] = struct.pack("<I", value(bytes(content[:12])))
    with pytest.raises(JournalError, match=r"0001\.segment: journal format 2 .* knows 1"):
        open_journal(disk)
