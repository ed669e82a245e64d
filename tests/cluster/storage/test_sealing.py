"""Encryption at rest: nothing readable on the disk, nothing moved unseen, and no start without the key."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.api import Applied, LogError
from cluster.storage.journal import Journal, JournalDamaged, JournalError
from cluster.storage.records import Kind, scan, seed_of
from cluster.storage.records import encode as encode_record
from cluster.storage.replay import segment_file
from cluster.storage.sealed_disk import BLOCK_BYTES, SealedDisk
from cluster.storage.sealing import Keyring, SealBroken, key_id_of, key_name, open_entry, seal_entry
from cluster.storage.snapshots import SnapshotDamaged, SnapshotMeta, SnapshotStore
from cluster.tools import inspect
from tests.cluster.node.group import Members, running
from tests.cluster.storage.memory_disk import MemoryDisk

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
SECRET = b"correct horse battery staple"
META = SnapshotMeta(7, 2, b"d" * 16, b"m", SECRET)


def everything(disk: MemoryDisk) -> bytes:
    return b"".join(bytes(inode.cached) for inode in disk.files.values())


async def journal_with(disk: MemoryDisk, keys: Keyring, count: int = 3) -> None:
    journal = Journal.open(disk, segment_bytes=400, reserve_bytes=0, keys=keys)
    journal.set_vote(max(1, journal.term), journal.voted_for or "me")
    for _ in range(count):
        journal.append(SECRET, 1)
    await journal.sync()
    await journal.close()


def reopened(disk: MemoryDisk, *keys: bytes) -> list[bytes]:
    journal = Journal.open(disk, segment_bytes=400, reserve_bytes=0, keys=Keyring(keys))
    return [journal.entry(n).data for n in range(1, journal.last_index + 1)]


async def test_entries_are_unreadable_on_the_disk_and_come_back_with_the_key() -> None:
    disk = MemoryDisk(Random(1))
    await journal_with(disk, Keyring([OLD]), 10)
    assert SECRET not in everything(disk)
    disk = disk.crash()
    assert reopened(disk, OLD) == [SECRET] * 10
    assert reopened(disk, NEW, OLD) == [SECRET] * 10


async def test_without_its_key_a_node_refuses_and_says_which_and_what_to_do() -> None:
    disk = MemoryDisk(Random(1))
    await journal_with(disk, Keyring([OLD]))
    before = everything(disk)
    for keys, has in (((), "none"), ((NEW,), f"only {key_name(key_id_of(NEW))}")):
        with pytest.raises(
            JournalError, match=f"segment, byte [0-9]+: encrypted under key .*, and this node has {has}"
        ):
            reopened(disk, *keys)
    with pytest.raises(JournalError, match="remove this member from the cluster, empty its data directory, and add it"):
        reopened(disk)
    assert everything(disk) == before


async def test_a_new_key_seals_what_comes_and_the_old_one_is_needed_until_its_segments_are_gone() -> None:
    disk = MemoryDisk(Random(1))
    await journal_with(disk, Keyring())  # from before there were keys
    await journal_with(disk, Keyring([OLD]))
    keys = Keyring([OLD])
    journal = Journal.open(disk, segment_bytes=400, reserve_bytes=0, keys=keys)
    journal.append(b"under the old", 1)
    keys.use([NEW])
    journal.append(b"under the new", 1)
    await journal.sync()
    assert [one.get("key") for one in shown(disk)][-2:] == [key_name(key_id_of(OLD)), key_name(key_id_of(NEW))]
    await journal.reopen(need_reserve=False)  # what was opened before can be opened on, whatever the file says now
    assert journal.entry(7).data == b"under the old"
    await journal.close()
    expected = [SECRET] * 6 + [b"under the old", b"under the new"]
    disk = disk.crash()
    assert reopened(disk, NEW, OLD) == expected
    with pytest.raises(JournalError, match=key_name(key_id_of(OLD))):
        reopened(disk, NEW)
    journal = Journal.open(disk, segment_bytes=400, reserve_bytes=0, keys=Keyring([NEW, OLD]))
    journal.drop_to(8)
    for _ in range(10):
        journal.append(SECRET, 1)
    await journal.sync()
    await journal.close()
    after = Journal.open(disk.crash(), segment_bytes=400, reserve_bytes=0, keys=Keyring([NEW]))
    assert (after.base_index, after.last_index) == (8, 18)


def shown(disk: MemoryDisk) -> list[dict[str, object]]:
    return [one for one in inspect.dump(disk) if one["kind"] == "entry"]


async def test_a_sealed_journal_is_verified_and_dumped_without_any_key() -> None:
    disk = MemoryDisk(Random(1))
    await journal_with(disk, Keyring([OLD]))
    report = inspect.verify(disk)
    assert report.ok
    assert report.last_index == 3
    assert report.keys == (key_name(key_id_of(OLD)),)
    assert {one["key"] for one in shown(disk)} == set(report.keys)


async def test_an_entry_that_was_put_elsewhere_is_damage_though_its_checksum_is_right() -> None:
    disk = MemoryDisk(Random(1))
    await journal_with(disk, Keyring([OLD]), 1)
    content = disk.files[segment_file(1)].cached
    sealed = next(record for record in scan(bytes(content), 1).records if record.kind == Kind.ENTRY)
    moved = encode_record(
        Kind.ENTRY,
        sealed.index,
        sealed.term + 1,
        sealed.data,
        seed=seed_of(1),
        offset=sealed.offset,
        synced=sealed.synced,
        key_id=sealed.key_id,
        nonce=sealed.nonce,
    )
    content[sealed.offset : sealed.end] = moved
    with pytest.raises(JournalDamaged, match="the entry isn't what was sealed there"):
        reopened(disk, OLD)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1 << 40), st.integers(0, 1 << 40), st.binary(max_size=200))
def test_an_entry_opens_in_its_place_alone_and_never_looks_the_same_twice(index: int, term: int, data: bytes) -> None:
    keys = Keyring([OLD])
    (key_id, nonce, sealed), again = seal_entry(keys, index, term, data), seal_entry(keys, index, term, data)
    assert nonce != again[1]
    assert len(sealed) == len(data) + 16

    def record(index: int, term: int) -> bytes:
        encoded = encode_record(
            Kind.ENTRY, index, term, sealed, seed=seed_of(1), offset=16, synced=0, key_id=key_id, nonce=nonce
        )
        found = scan(bytes(16) + encoded, 1).records[0]
        return open_entry(keys, found, "here")

    assert record(index, term) == data
    for other in ((index + 1, term), (index, term + 1), (index + (1 << 16), term)):
        with pytest.raises(SealBroken):
            record(*other)


def test_keys_that_can_not_be_keys_are_refused_and_none_is_shown() -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes, not 31"):
        Keyring([OLD[1:]])
    with pytest.raises(ValueError, match="the same key twice"):
        Keyring([OLD, OLD])
    assert repr(Keyring([OLD])) == f"Keyring({key_name(key_id_of(OLD))})"


# Files.


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3 * BLOCK_BYTES // 2), st.integers(-400, -1)), max_size=8), st.randoms())
def test_a_sealed_file_reads_as_what_was_written_whatever_the_pieces(steps: list[int], chance: Random) -> None:
    disk = MemoryDisk(Random(1))
    plain = bytearray()
    for step in steps:  # an append of so many bytes, or a truncation to so many per mille
        file = SealedDisk(disk, Keyring([OLD])).open("f", create=True)
        if step >= 0:
            data = chance.randbytes(step)
            file.append(data)
            plain += data
        else:
            del plain[len(plain) * -step // 1000 :]
            file.truncate(len(plain))
        assert file.size() == len(plain)
        offset, size = chance.randrange(len(plain) + 1), chance.randrange(2 * BLOCK_BYTES)
        assert file.read(offset, size) == bytes(plain[offset : offset + size])
        file.close()
    file = SealedDisk(disk, Keyring([NEW, OLD])).open("f", create=True)
    assert file.read(0, 1 << 30) == bytes(plain)


def sealed_file(disk: MemoryDisk, content: bytes) -> bytearray:
    file = SealedDisk(disk, Keyring([OLD])).open("f", create=True)
    file.append(content)
    file.sync()
    return disk.files["f"].cached


def test_a_flipped_bit_and_a_block_that_moved_do_not_open() -> None:
    block = 12 + BLOCK_BYTES + 16
    disk = MemoryDisk(Random(1))
    raw = sealed_file(disk, bytes(3 * BLOCK_BYTES))
    good = bytes(raw)
    flipped, moved, salted = bytearray(good), bytearray(good), bytearray(good)
    flipped[32 + block + 100] ^= 1
    moved[32 + block : 32 + 2 * block] = good[32 : 32 + block]
    salted[16] ^= 1  # and with it the key
    for spoilt in (flipped, moved, salted):
        raw[:] = spoilt
        file = SealedDisk(disk, Keyring([OLD])).open("f")
        with pytest.raises(OSError, match="this is not what was sealed there"):
            file.read(0, 1 << 30)
    raw[:] = good
    assert SealedDisk(disk, Keyring([OLD])).open("f").read(0, 1 << 30) == bytes(3 * BLOCK_BYTES)


def test_a_file_of_a_newer_format_or_of_an_unknown_key_is_refused_and_a_plain_one_is_read() -> None:
    disk = MemoryDisk(Random(1))
    raw = sealed_file(disk, b"content")
    with pytest.raises(JournalError, match=r"f: encrypted under key .*, and this node has none: give it that key back"):
        SealedDisk(disk, Keyring()).open("f")
    raw[8] = 2
    with pytest.raises(JournalError, match="sealed in format 2 by another version; this one knows 1"):
        SealedDisk(disk, Keyring([OLD])).open("f")
    raw[:] = b"SEALANT is not our magic"
    file = SealedDisk(disk, Keyring([OLD])).open("f")
    assert (file.read(8, 2), file.size()) == (b"is", 24)
    file.append(b"!")
    assert file.read(0, 99) == b"SEALANT is not our magic!"
    file.truncate(7)
    assert file.read(0, 99) == b"SEALANT"
    file.truncate(0)
    file.append(SECRET)  # it begins anew, and sealed
    assert file.read(0, 99) == SECRET
    assert SECRET not in bytes(raw)


def test_a_sealed_file_can_not_be_lengthened_by_zeros() -> None:
    sealed_file(disk := MemoryDisk(Random(1)), b"content")
    with pytest.raises(OSError, match="can't be lengthened to 8"):
        SealedDisk(disk, Keyring([OLD])).open("f").truncate(8)


# Snapshots.


async def test_snapshots_are_unreadable_on_the_disk_and_the_same_for_whoever_they_are_sent_to() -> None:
    chunks = [SECRET * 10_000, b"", SECRET]
    disks = [MemoryDisk(Random(n)) for n in range(2)]
    sender, receiver = (
        SnapshotStore(SealedDisk(disk, Keyring([key]))) for disk, key in zip(disks, (OLD, NEW), strict=True)
    )
    for store in (sender, receiver):
        store.load()
    meta = await sender.write(META, chunks)
    incoming = await receiver.begin(meta)
    while piece := await sender.read_at(meta, incoming.received, 50_001):
        await incoming.write_at(incoming.received, piece)
    assert await incoming.finish() == meta
    for disk, key, other in zip(disks, (OLD, NEW), (NEW, OLD), strict=True):
        assert SECRET not in everything(disk)
        after = disk.crash()
        store = SnapshotStore(SealedDisk(after, Keyring([key])))
        assert store.load().intact == (meta,)
        assert list(store.read_chunks(meta)) == chunks
        with pytest.raises(JournalError, match=r"snapshots/7-2\.snap: encrypted under key"):
            SnapshotStore(SealedDisk(after, Keyring([other]))).load()


async def test_a_snapshot_that_was_tampered_with_is_damaged() -> None:
    disk = MemoryDisk(Random(1))
    store = SnapshotStore(SealedDisk(disk, Keyring([OLD])))
    store.load()
    await store.write(META, [b"x" * 1000])
    disk.files["snapshots/7-2.snap"].cached[-1] ^= 1
    (damaged,) = SnapshotStore(SealedDisk(disk, Keyring([OLD]))).load().damaged
    assert isinstance(damaged, SnapshotDamaged)
    assert "this is not what was sealed there" in str(damaged)


# Members.


async def test_members_with_keys_of_their_own_agree_and_one_without_its_key_does_not_start() -> None:
    async def story(members: Members) -> None:
        leader = await members.led()
        name = leader.options.name
        for n in range(40):
            outcome = await members.propose(name, SECRET + b"%d" % n)
            assert isinstance(outcome, Applied)
        await leader.snapshot_now()
        await members.agree()
        (away,) = [m for m in members.logs if m != name][:1]
        await members.stop(away)
        members.options["keys"] = Keyring([NEW])
        with pytest.raises(LogError, match=r"the data directory can't be used: .* encrypted under key"):
            await members.make(away, address_of(members, away), members.first).start()
        members.logs.pop(away)
        members.options["keys"] = Keyring([NEW, OLD])
        await members.start(away)
        await members.propose(name, b"more")
        await members.agree()
        assert all(SECRET not in everything(disk) for disk in members.disks.values())

    await running(Members(["a", "b", "c"], keys=Keyring([OLD])), story)


def address_of(members: Members, name: str) -> str:
    return next(member.address for member in members.first if member.name == name)
