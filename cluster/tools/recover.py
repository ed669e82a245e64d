"""Makes a cluster of one out of the data directory of a stopped member, when the majority is lost for ever.

It gives up what Raft promises: what this member never got is lost, and what it got without being told that it was
committed becomes so. The new cluster has another id, so that a member of the old one that comes back after all with
its old data is refused, instead of electing a leader of the old cluster beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.api import LogError, Member
from cluster.ports import Disk, Random
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration, Configurations
from cluster.storage import identity
from cluster.storage.identity import DataIdentity
from cluster.storage.journal import Journal, JournalError
from cluster.storage.sealed_disk import SealedDisk
from cluster.storage.sealing import Keyring
from cluster.storage.snapshots import SnapshotMeta, SnapshotStore


@dataclass(frozen=True, slots=True)
class Plan:
    """What recovery would start from. `lost` are the other members, who won't be members any more.

    `last_index` and `last_term` are of the log's last entry: of several survivors the one with the greater term, then
    index, has the most.
    """

    name: str
    cluster_id: str
    lost: tuple[str, ...]
    snapshot_index: int
    last_index: int
    last_term: int


async def plan(disk: Disk, keys: Keyring) -> Plan:
    """What `recover` would do. LogError when it can't, or when a node runs on the directory."""
    return await _with_survivor(disk, keys, None)


async def recover(disk: Disk, keys: Keyring, random: Random) -> Plan:
    """Do it; what was done, with the new cluster's id. `keys` are those that the directory is encrypted with.

    LogError when it can't; it may then be repeated.
    """
    return await _with_survivor(disk, keys, random)


async def _with_survivor(disk: Disk, keys: Keyring, random: Random | None) -> Plan:
    try:
        disk.lock()
    except BlockingIOError as error:
        raise LogError(f"the data directory is in use by another node: {error}") from None
    try:
        who = identity.held(disk)
        if who is None:
            raise LogError("this is no member's data directory: it holds no identity")
        journal = Journal.open(disk, reserve_bytes=0, keys=keys)
        try:
            return await _survivor(disk, keys, who, journal, random)
        finally:
            await journal.close()
    except (JournalError, OSError) as error:
        raise LogError(f"the data directory can't be used: {error}") from error
    finally:
        disk.unlock()


async def _survivor(disk: Disk, keys: Keyring, who: DataIdentity, journal: Journal, random: Random | None) -> Plan:
    snapshot = _newest_snapshot(SealedDisk(disk, keys), journal)
    members = _members(journal, snapshot)
    mine = next((m for m in members if m.name == who.name and m.incarnation == who.incarnation), None)
    if mine is None:
        raise LogError(
            f"the log doesn't name {who.name!r} with this disk as a member: nothing can be recovered from it"
        )
    last_index, last_term = journal.last_index, journal.last_term
    if random is not None:
        # The id first: a crash in between leaves a node that waits for its lost peers, and this can be repeated.
        who = DataIdentity(random.randbytes(8).hex(), who.name, who.incarnation)
        identity.replace(disk, who)
        alone = Configuration((Member(mine.name, mine.address, mine.incarnation),))
        journal.set_vote(journal.term + 1, None)
        journal.append(bytes([CONFIGURATION]) + alone.encode(), journal.term)
        await journal.sync()
    lost = tuple(sorted(m.name for m in members if m.name != who.name))
    return Plan(who.name, who.cluster_id, lost, snapshot.index if snapshot else 0, last_index, last_term)


def _newest_snapshot(disk: Disk, journal: Journal) -> SnapshotMeta | None:
    """As a node's start finds it, which refuses the same."""
    found = SnapshotStore(disk).load()
    snapshot = found.intact[0] if found.intact else None
    if journal.base_index > (snapshot.index if snapshot is not None else 0):
        raise LogError(
            f"the log starts after entry {journal.base_index} and no sound snapshot reaches it: "
            "nothing can be recovered from this disk; restore a backup into a new cluster"
        )
    if snapshot is not None and journal.term_at(snapshot.index) != snapshot.term:
        raise LogError("a received snapshot was not taken over yet: start this node once, stop it, and try again")
    return snapshot


def _members(journal: Journal, snapshot: SnapshotMeta | None) -> tuple[Member, ...]:
    """Of the newest configuration that the log and its snapshot hold, committed or not."""
    base = Configuration.decode(snapshot.membership, snapshot.index) if snapshot is not None else Configuration(())
    held = Configurations(base)
    for index in range(max(journal.base_index, base.index) + 1, journal.last_index + 1):
        data = journal.entry(index).data
        if data[0] == CONFIGURATION:
            held.added(Configuration.decode(data[1:], index))
    return held.latest.members
