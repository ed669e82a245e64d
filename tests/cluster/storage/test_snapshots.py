"""Snapshots: what is called one is whole; a torn, flipped or wrong one is never taken for one."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.disk import RealDisk
from cluster.storage.snapshot_format import FORMAT_VERSION, Encoder
from cluster.storage.snapshots import Incoming, SnapshotDamaged, SnapshotMeta, SnapshotStore
from tests.cluster.storage.memory_disk import MemoryDisk, PowerCut

META = SnapshotMeta(10, 2, b"digest", b"members", b"extra")
CHUNKS = [b"first", b"", b"second" * 1000, b"third"]


def loaded(disk: MemoryDisk) -> SnapshotStore:
    store = SnapshotStore(disk)
    store.load()
    return store


def file_of(disk: MemoryDisk, index: int = 10, term: int = 2) -> bytearray:
    return disk.files[f"snapshots/{index}-{term}.snap"].cached


async def sent(source: SnapshotStore, meta: SnapshotMeta, target: SnapshotStore, piece: int = 1000) -> Incoming:
    incoming = await target.begin(meta)
    while incoming.received < meta.size:
        data = await source.read_at(meta, incoming.received, piece)
        await incoming.write_at(incoming.received, data)
    return incoming


async def test_a_snapshot_is_read_as_it_was_written() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    assert store.latest() is None
    meta = await store.write(META, CHUNKS)
    assert meta == replace(META, size=len(file_of(disk)))
    assert store.latest() == meta
    assert list(store.read_chunks(meta)) == CHUNKS
    found = SnapshotStore(disk.crash()).load()
    assert (found.intact, found.damaged) == ((meta,), ())


async def test_a_snapshot_of_nothing_is_one() -> None:
    store = loaded(MemoryDisk())
    meta = await store.write(META, [])
    assert list(store.read_chunks(meta)) == []


async def test_two_are_kept_the_newest_first() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    metas = [
        await store.write(replace(META, index=index, term=term), CHUNKS) for index, term in [(9, 1), (10, 1), (100, 2)]
    ]
    assert store.latest() == metas[2]
    assert disk.list("snapshots") == ["10-1.snap", "100-2.snap"]
    assert SnapshotStore(disk).load().intact == (metas[2], metas[1])


async def test_one_that_is_being_sent_stays_until_it_is_no_longer_read() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    first = await store.write(META, CHUNKS)
    await store.read_at(first, 0, 10)
    for index in (11, 12, 13):
        await store.write(replace(META, index=index), CHUNKS)
    assert disk.list("snapshots") == ["10-2.snap", "12-2.snap", "13-2.snap"]
    assert (await store.read_at(first, 10, 1 << 20))[:1] == file_of(disk)[10:11]
    store._last_read["snapshots/10-2.snap"] -= 61
    await store.write(replace(META, index=14), CHUNKS)
    assert disk.list("snapshots") == ["13-2.snap", "14-2.snap"]
    with pytest.raises(FileNotFoundError):
        await store.read_at(first, 0, 10)


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_seen(place: float, bit: int) -> None:
    async def scene() -> None:
        disk = MemoryDisk()
        meta = await loaded(disk).write(META, CHUNKS)
        content = file_of(disk)
        content[int(place * len(content))] ^= 1 << bit
        store = SnapshotStore(disk)
        found = store.load()
        assert found.intact == ()
        assert found.damaged[0].file == "snapshots/10-2.snap"
        assert store.latest() is None
        with pytest.raises(SnapshotDamaged):
            list(store.read_chunks(meta))

    asyncio.run(scene())


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_truncated_or_lengthened_file_is_seen(place: float) -> None:
    async def scene() -> None:
        disk = MemoryDisk()
        await loaded(disk).write(META, CHUNKS)
        content = file_of(disk)
        whole = bytes(content)
        del content[int(place * len(content)) :]
        assert SnapshotStore(disk).load().intact == ()
        content[:] = whole + b"?"
        assert "1 bytes follow the trailer" in str(SnapshotStore(disk).load().damaged[0])

    asyncio.run(scene())


async def test_chunks_that_were_swapped_or_left_out_are_seen() -> None:
    encoder = Encoder()
    header = encoder.header(META)
    one, two = encoder.chunk(b"one"), encoder.chunk(b"two")
    trailer = encoder.trailer()
    disk = MemoryDisk()
    await loaded(disk).write(META, [b"one", b"two"])
    content = file_of(disk)
    assert content == header + one + two + trailer
    for wrong in (header + two + one + trailer, header + one + trailer, header + one + one + trailer):
        content[:] = wrong
        assert SnapshotStore(disk).load().intact == ()


async def test_the_older_one_is_found_when_the_newest_is_damaged() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    old = await store.write(META, CHUNKS)
    await store.write(replace(META, index=11), CHUNKS)
    file_of(disk, 11)[-1] ^= 1
    found = SnapshotStore(disk).load()
    assert found.intact == (old,)
    assert [damaged.file for damaged in found.damaged] == ["snapshots/11-2.snap"]


async def test_a_snapshot_under_another_name_is_damaged() -> None:
    disk = MemoryDisk()
    await loaded(disk).write(META, CHUNKS)
    disk.rename("snapshots/10-2.snap", "snapshots/11-2.snap")
    found = SnapshotStore(disk).load()
    assert found.intact == ()
    assert "snapshot of entry 10 of term 2" in str(found.damaged[0])


async def test_a_newer_format_is_refused_naming_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    monkeypatch.setattr("cluster.storage.snapshot_format.FORMAT_VERSION", FORMAT_VERSION + 1)
    await loaded(disk).write(META, CHUNKS)
    monkeypatch.undo()
    (damaged,) = SnapshotStore(disk).load().damaged
    assert f"format {FORMAT_VERSION + 1} " in str(damaged)
    assert f"knows {FORMAT_VERSION}" in str(damaged)


async def test_what_can_not_be_read_is_damaged() -> None:
    disk = MemoryDisk()
    await loaded(disk).write(META, CHUNKS)
    disk.failures["read"] = [errno.EIO]
    (damaged,) = SnapshotStore(disk).load().damaged
    assert "can't be read" in str(damaged)


@settings(max_examples=150, deadline=None)
@given(power=st.integers(0, 25), seed=st.integers(0, 1 << 32), received=st.booleans())
def test_a_power_cut_leaves_the_new_snapshot_whole_or_not_at_all(power: int, seed: int, received: bool) -> None:
    async def scene() -> None:
        source = loaded(MemoryDisk())
        new = await source.write(replace(META, index=20), CHUNKS)
        disk = MemoryDisk(Random(seed))
        store = loaded(disk)
        old = await store.write(META, CHUNKS)
        disk.power = power
        done = False
        try:
            if received:
                await (await sent(source, new, store)).finish()
            else:
                await store.write(replace(META, index=20), CHUNKS)
            done = True
        except PowerCut:
            pass
        after = disk.crash()
        found = SnapshotStore(after).load()
        assert found.damaged == ()
        assert found.intact in ([(new, old)] if done else [(old,), (new, old)])
        assert all(name.endswith(".snap") for name in after.list("snapshots"))

    asyncio.run(scene())


@pytest.mark.parametrize("operation", ["append", "sync", "rename", "sync_folder"])
async def test_a_write_that_fails_leaves_things_as_they_were(operation: str) -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    old = await store.write(META, CHUNKS)
    disk.failures[operation] = [errno.EIO]
    with pytest.raises(OSError, match="EIO"):
        await store.write(replace(META, index=11), CHUNKS)
    assert store.latest() == old
    assert [name for name in disk.list("snapshots") if name.endswith(".tmp")] == []
    newer = await store.write(replace(META, index=12), CHUNKS)
    assert store.latest() == newer


async def test_a_full_disk_is_told_and_nothing_is_left() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    disk.capacity = 3000
    with pytest.raises(OSError, match="No space"):
        await store.write(META, CHUNKS)
    assert disk.list("snapshots") == []


async def test_chunks_that_fail_leave_nothing() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("the state can't be encoded")

    disk = MemoryDisk()
    store = loaded(disk)
    with pytest.raises(RuntimeError, match="can't be encoded"):
        await store.write(META, broken())
    assert disk.list("snapshots") == []


async def test_a_cancelled_write_leaves_nothing() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    asked = asyncio.Event()

    def endless() -> Iterator[bytes]:
        while True:
            asked.set()
            yield bytes(1 << 19)

    writing = asyncio.create_task(store.write(META, endless()))
    await asked.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert disk.list("snapshots") == []


async def test_other_work_gets_its_turn_while_a_snapshot_is_written() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    turns = 0
    writing = asyncio.create_task(store.write(META, [bytes(1 << 18)] * 40))
    while not writing.done():
        await disk.run(lambda: None)
        turns += 1
    assert turns > 15
    await writing


async def test_a_transfer_goes_on_where_it_stood_and_ends_durable() -> None:
    source, disk = loaded(MemoryDisk()), MemoryDisk()
    target = loaded(disk)
    meta = await source.write(META, CHUNKS)
    incoming = await target.begin(meta)
    assert await incoming.write_at(0, await source.read_at(meta, 0, 1000)) == 1000
    assert await incoming.write_at(2000, b"a gap") == 1000
    assert await incoming.write_at(0, b"again") == 1000
    assert target.latest() is None
    again = await target.begin(meta)
    assert again is incoming
    assert await again.write_at(500, await source.read_at(meta, 500, 1000)) == 1500
    assert await (await sent(source, meta, target)).finish() == meta
    assert target.latest() == meta
    assert list(SnapshotStore(disk.crash()).read_chunks(meta)) == CHUNKS


async def test_another_transfer_takes_the_place_of_an_unfinished_one() -> None:
    source, disk = loaded(MemoryDisk()), MemoryDisk()
    target = loaded(disk)
    meta = await source.write(META, CHUNKS)
    incoming = await target.begin(meta)
    await incoming.write_at(0, b"some")
    newer = await source.write(replace(META, index=11), CHUNKS)
    await (await sent(source, newer, target)).finish()
    assert disk.list("snapshots") == ["11-2.snap"]


async def test_what_arrives_damaged_is_refused_and_can_be_sent_again() -> None:
    source, disk = loaded(MemoryDisk()), MemoryDisk()
    target = loaded(disk)
    meta = await source.write(META, CHUNKS)
    incoming = await target.begin(meta)
    await incoming.write_at(0, (await source.read_at(meta, 0, 1 << 20))[:-1] + b"?")
    with pytest.raises(SnapshotDamaged):
        await incoming.finish()
    assert (target.latest(), disk.list("snapshots")) == (None, [])
    again = await target.begin(meta)
    assert again is not incoming
    assert again.received == 0
    assert await (await sent(source, meta, target)).finish() == meta


async def test_a_transfer_of_another_snapshot_than_announced_is_refused() -> None:
    source, target = loaded(MemoryDisk()), loaded(MemoryDisk())
    meta = await source.write(META, CHUNKS)
    lie = replace(meta, digest=b"DIGEST")
    incoming = await target.begin(lie)
    await incoming.write_at(0, await source.read_at(meta, 0, 1 << 20))
    with pytest.raises(SnapshotDamaged, match="announced"):
        await incoming.finish()
    with pytest.raises(ValueError, match="0 bytes"):
        await target.begin(META)


async def test_more_or_less_than_was_announced_is_refused() -> None:
    source, target = loaded(MemoryDisk()), loaded(MemoryDisk())
    meta = await source.write(META, CHUNKS)
    incoming = await target.begin(meta)
    with pytest.raises(SnapshotDamaged, match="more than the announced"):
        await incoming.write_at(0, bytes(meta.size + 1))
    await incoming.write_at(0, b"little")
    with pytest.raises(SnapshotDamaged, match="were announced"):
        await incoming.finish()
    assert target.latest() is None


async def test_a_piece_that_could_not_be_written_is_taken_again() -> None:
    source, disk = loaded(MemoryDisk()), MemoryDisk()
    target = loaded(disk)
    meta = await source.write(META, CHUNKS)
    incoming = await target.begin(meta)
    await incoming.write_at(0, await source.read_at(meta, 0, 1000))
    disk.capacity = 1500
    with pytest.raises(OSError, match="No space"):
        await incoming.write_at(1000, await source.read_at(meta, 1000, 1000))
    assert incoming.received == 1000
    disk.capacity = 1 << 20
    assert await (await sent(source, meta, target)).finish() == meta


async def test_pieces_that_come_at_once_are_taken_one_after_the_other() -> None:
    source, target = loaded(MemoryDisk()), loaded(MemoryDisk())
    meta = await source.write(META, CHUNKS)
    whole = await source.read_at(meta, 0, meta.size)
    incoming = await target.begin(meta)
    await asyncio.gather(*[incoming.write_at(0, whole[: 1000 * number]) for number in range(1, 9)])
    assert await incoming.finish() == meta


async def test_what_a_failed_write_left_behind_does_no_harm() -> None:
    disk = MemoryDisk()
    store = loaded(disk)
    disk.failures = {"sync": [errno.EIO], "remove": [errno.EIO]}
    with pytest.raises(OSError, match="EIO"):
        await store.write(META, CHUNKS)
    assert disk.list("snapshots") == ["10-2.tmp"]
    meta = await store.write(META, CHUNKS[:1])
    assert list(store.read_chunks(meta)) == CHUNKS[:1]
    assert SnapshotStore(disk).load().intact == (meta,)


async def test_it_works_on_a_real_disk(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    store = SnapshotStore(disk)
    assert store.load().intact == ()
    chunks = [os.urandom(100_000) for _ in range(20)]
    meta = await store.write(META, chunks)
    assert (tmp_path / "snapshots" / "10-2.snap").stat().st_size == meta.size
    assert list(store.read_chunks(meta)) == chunks
    assert SnapshotStore(disk).load().intact == (meta,)
    disk.close()
