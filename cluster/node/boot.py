"""Brings a member back from its disk: identity, journal, the newest sound snapshot, or a refusal that says why."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from cluster.api import LogError
from cluster.node.sessions import ReplicatedState
from cluster.options import Options
from cluster.ports import Disk, Random
from cluster.raft.membership import Configuration, Configurations
from cluster.storage import identity
from cluster.storage.identity import DataIdentity
from cluster.storage.journal import Journal, JournalError, JournalFailed
from cluster.storage.sealed_disk import SealedDisk
from cluster.storage.snapshots import Found, SnapshotMeta, SnapshotStore


@dataclass(frozen=True, slots=True)
class Booted:
    """`applied`: the log index that the state stands at, the snapshot's."""

    identity: DataIdentity
    journal: Journal
    store: SnapshotStore
    configurations: Configurations
    applied: int


async def boot(options: Options, state: ReplicatedState, disk: Disk, snapshot_disk: Disk, random: Random) -> Booted:
    """Raises LogError; the directory's lock is then free again."""
    try:
        disk.lock()
    except BlockingIOError as error:
        raise LogError(f"the data directory is in use by another node: {error}") from None
    try:
        return await _boot(options, state, disk, snapshot_disk, random)
    except (JournalError, OSError, ValueError) as error:
        # ValueError: a newer version wrote what this one can't read.
        disk.unlock()
        raise LogError(f"the data directory can't be used: {error}") from error
    except BaseException:
        disk.unlock()
        raise


async def _boot(options: Options, state: ReplicatedState, disk: Disk, snapshot_disk: Disk, random: Random) -> Booted:
    who = identity.claim(disk, options.cluster_id, options.name, random)
    journal = await disk.run(
        lambda: Journal.open(
            disk, segment_bytes=options.segment_bytes, reserve_bytes=options.reserve_bytes, keys=options.keys
        )
    )
    try:
        return await _restore_from(options, state, snapshot_disk, who, journal)
    except (Exception, asyncio.CancelledError):  # not GeneratorExit: then nothing may be awaited
        with suppress(JournalFailed):  # What was acknowledged was synced before.
            await journal.close()
        raise


async def _restore_from(
    options: Options, state: ReplicatedState, snapshot_disk: Disk, who: DataIdentity, journal: Journal
) -> Booted:
    """Bring `state` to the newest sound snapshot, and see that the log goes on from there."""
    store = SnapshotStore(SealedDisk(snapshot_disk, options.keys))
    found = await snapshot_disk.run(store.load)
    snapshot = _choose(journal, found)
    configuration = Configuration(options.members)
    if snapshot is not None:
        await _restore(state, store, snapshot)
        configuration = Configuration.decode(snapshot.membership, snapshot.index, snapshot.extra)
        if journal.term_at(snapshot.index) != snapshot.term:
            # A crash came between a received snapshot and the log's switch to it.
            journal.reset(snapshot.index, snapshot.term)
            await journal.sync()
    return Booted(who, journal, store, Configurations(configuration), snapshot.index if snapshot else 0)


def _choose(journal: Journal, found: Found) -> SnapshotMeta | None:
    """The snapshot to start from. LogError when the log builds on one that can't be read (hole 24)."""
    snapshot = found.intact[0] if found.intact else None
    if journal.base_index > (snapshot.index if snapshot is not None else 0):
        reason = str(found.damaged[0]) if found.damaged else "there is none"
        raise LogError(
            f"the log starts after entry {journal.base_index} and no sound snapshot reaches it ({reason}): "
            "this disk can't be trusted, replace the member by a new one"
        )
    return snapshot


async def _restore(state: ReplicatedState, store: SnapshotStore, snapshot: SnapshotMeta) -> None:
    try:
        state.load(store.read_chunks(snapshot))()
    except ValueError as error:
        raise LogError(f"the snapshot of log index {snapshot.index} can't be restored: {error}") from None
    if state.digest() != snapshot.digest:
        raise LogError(
            f"the snapshot of log index {snapshot.index} restores to another state than it names: "
            "this disk can't be trusted, replace the member by a new one"
        )
