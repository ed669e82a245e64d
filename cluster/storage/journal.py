"""The log, term and vote of one member: in memory for Raft, and on disk before anything depends on them.

Every change is made in memory at once and encoded into a buffer; `sync` hands the buffer to the disk's thread, which
appends and syncs it as one. Whatever leaves the node on the strength of a change waits for that sync first.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from cluster.ports import Disk
from cluster.raft.storage import Entry
from cluster.storage.records import MAX_DATA_BYTES, JournalDamaged, JournalError, Kind, encode_vote
from cluster.storage.replay import Recovered, SegmentState
from cluster.storage.sealing import Keyring
from cluster.storage.segments import SegmentWriter
from cluster.storage.write_queue import Pending

__all__ = ["Journal", "JournalDamaged", "JournalError", "JournalFailed"]


class JournalFailed(JournalError):
    """A write or a sync failed; nothing is believed until `Journal.reopen`. `cause` is the disk's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"the journal can't be written: {cause}")
        self.cause = cause


Synced = Callable[[BaseException | None], None]
"""Sync callback: None on success, otherwise the exception."""


class Journal:
    """One member's journal; made by `open`. All methods belong to one event loop, which none of them blocks.

    Log, term and vote are as of the last call, on disk or not.
    `recovered_bytes_cut` counts the bytes of a write that hadn't completed when the node last went down.
    `durable_index` is the highest entry of this log that is known to be on disk; 0 after a reset until that is synced.
    `last_sync_seconds` is how long the latest sync took; `sync_started_at` (the loop's time) is set while one runs.
    `failed` is the error after which nothing is believed until `reopen`.
    """

    recovered_bytes_cut: int

    def __init__(self, disk: Disk, segment_bytes: int, reserve_bytes: int, keys: Keyring) -> None:
        """For `open` alone."""
        if not 0 < segment_bytes <= 1 << 30:
            raise ValueError(f"segments can have 1 byte to 1 GiB, not {segment_bytes} bytes")
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._keys = keys
        self._writer = SegmentWriter(disk, reserve_bytes, keys)
        self._running = False
        self._ended: list[asyncio.Future[None]] = []
        """Those that wait for the write that runs to end, however it does."""
        self._waiting: list[tuple[int, Synced]] = []
        self._cleaning: asyncio.Task[None] | None = None
        self._closed = False
        self.durable_index = self._writing_up_to = 0
        self.last_sync_seconds = 0.0
        self.sync_started_at: float | None = None
        self.failed: OSError | None = None

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        segment_bytes: int = 16 << 20,
        reserve_bytes: int = 4 << 20,
        keys: Keyring | None = None,
    ) -> Journal:
        """Read the journal on `disk` (an empty one if there is none); blocks, so only at start.

        All that it shows was synced before it returns. A write that never completed is cut off the end; anything
        else that isn't as it was written raises JournalDamaged naming the place. JournalError for a newer format,
        a disk without any room, one that can't be read, or one with entries sealed under a key that `keys` lack.
        """
        journal = cls(disk, segment_bytes, reserve_bytes, keys or Keyring())
        try:
            journal._adopt(*journal._writer.restart(need_reserve=False))
        except OSError as error:
            raise JournalError(f"the journal can't be opened: {error}") from error
        return journal

    @property
    def base_index(self) -> int:
        """The last entry that a snapshot covers: the log's entries start after it."""
        return self._entries.base_index

    @property
    def base_term(self) -> int:
        return self._entries.base_term

    @property
    def last_index(self) -> int:
        return self._entries.last_index

    @property
    def last_term(self) -> int:
        return self._entries.last_term

    @property
    def term(self) -> int:
        return self._view.term

    @property
    def voted_for(self) -> str | None:
        return self._view.voted_for

    @property
    def unsynced(self) -> bool:
        """Whether anything (entries, vote, truncation, base) isn't known to be on disk."""
        return self._pending.changes != self._synced_changes

    @property
    def changes(self) -> int:
        """How many changes (entries, votes, truncations, bases) were made since it was opened or reopened."""
        return self._pending.changes

    @property
    def has_reserve(self) -> bool:
        """Whether the file that keeps room on the disk is there; without it a full disk is close."""
        return self._writer.has_reserve

    def data(self, index: int) -> bytes:
        """What the entry at `index` holds. IndexError as `entry`."""
        return self._entries.data(index)

    def entry(self, index: int) -> Entry:
        """IndexError outside base_index + 1 .. last_index."""
        return self._entries.entry(index)

    def slice(self, start: int, stop: int, max_bytes: int) -> list[Entry]:
        """Entries `start` .. `stop` - 1 as far as there are any: as many as fit `max_bytes`, but at least one.

        Raises IndexError when `start` isn't in base_index + 1 .. last_index + 1.
        """
        return self._entries.slice(start, stop, max_bytes)

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`, also at base_index; None outside the log."""
        return self._entries.term_at(index)

    def append(self, data: bytes, term: int) -> int:
        """Add an entry; its index. ValueError when it is too large, or its term before that of the last entry."""
        if len(data) > MAX_DATA_BYTES:
            raise ValueError(f"an entry has at most {MAX_DATA_BYTES} bytes, this one {len(data)}")
        entries = self._entries
        if term < entries.last_term:
            raise ValueError(f"an entry of term {term} can't follow one of term {entries.last_term}")
        self._pending.entry(entries.last_index + 1, term, data)
        return entries.append(data, term)

    def truncate_from(self, index: int) -> None:
        """Drop the entries from `index` on. ValueError when a snapshot covers it; nothing when there are none."""
        if index > self.last_index:
            return
        if index <= self.base_index:
            raise ValueError(f"entry {index} is covered by the snapshot at {self.base_index} and can't be dropped")
        self._pending.record(Kind.TRUNCATE, index, 0, b"")
        self._entries.truncate_from(index)
        self.durable_index = min(self.durable_index, index - 1)
        self._writing_up_to = min(self._writing_up_to, index - 1)

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """ValueError when the term would go back, or a vote given in this term would change (Raft §5.2)."""
        if (term, voted_for) == (self.term, self.voted_for):
            return
        if term < self.term or (term == self.term and self.voted_for is not None):
            raise ValueError(
                f"term {term} with a vote for {voted_for} can't follow term {self.term} with one for {self.voted_for}"
            )
        self._pending.record(Kind.VOTE, 0, term, encode_vote(voted_for))
        self._view.term, self._view.voted_for = term, voted_for

    def reset(self, base_index: int, base_term: int) -> None:
        """Go on with an empty log after an installed, durable snapshot; term and vote stay.

        One record does it, so that a crash leaves the old log or the new one. ValueError when the base would go back.
        """
        if base_index < self.base_index:
            raise ValueError(f"the log's base is {self.base_index} and can't go back to {base_index}")
        self._pending.reset(base_index, base_term)
        self._entries.reset(base_index, base_term)
        self._view.base_index, self._view.base_term = base_index, base_term
        self.durable_index = self._writing_up_to = 0

    def drop_to(self, index: int) -> None:
        """Make `index`, which a durable snapshot covers, the base; nothing when it is before the base.

        The files go after the sync that comes next. ValueError beyond last_index: that is what `reset` is for.
        """
        if index <= self.base_index:
            return
        term = self.term_at(index)
        if term is None:
            raise ValueError(f"the log ends at {self.last_index}: it can't be dropped up to {index}")
        self._pending.record(Kind.BASE, index, term, b"")
        self._entries.drop_to(index)
        self._view.base_index, self._view.base_term = index, term

    async def sync(self) -> None:
        """Return when all that was changed before the call is on disk. Raises JournalFailed.

        Whatever is buffered when a write starts goes with it: callers share syncs, and two never run at once.
        """
        self._refuse_if_failed()
        if not self.unsynced:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(error: BaseException | None) -> None:
            if future.done():  # Its caller was cancelled; the write goes on for the others.
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.when_synced(told)
        await future

    def when_synced(self, told: Synced) -> None:
        """As `sync`, without a task that waits: begins at once, and calls `told` in a later turn of the loop."""
        refusal: JournalError | None = None
        unsynced = self.unsynced
        if self.failed is not None:
            refusal = JournalFailed(self.failed)
        elif self._closed and unsynced:
            refusal = JournalError("the journal is closed")
        if refusal is not None or not unsynced:
            asyncio.get_running_loop().call_soon(told, refusal)
            return
        self._waiting.append((self._pending.changes, told))
        if not self._running:
            self._begin()

    async def reopen(self, *, need_reserve: bool = True) -> None:
        """After a failure: forget what is in memory, read the disk again, go on with what it really has.

        The entries, term and vote are afterwards as at a restart, for Raft too: what had not been synced may be
        gone or still be there. Either is safe, since nobody was told of it; what had been synced is there, or
        JournalDamaged is raised. A failed fsync says nothing of what reached the disk, and the page cache goes on
        showing what didn't; so everything after the last sync that worked is written anew, to another file,
        and synced before it counts, however well it reads.

        Raises JournalFailed when the disk still fails, also when there is no room for the reserve file; with
        `need_reserve` False it goes on without one, which is meant for shrinking a log that filled the disk itself.
        """
        if self._closed:
            raise JournalError("the journal is closed")
        if self.failed is None:
            # What was written beside the reading would build on a log that is gone once the disk was read.
            self.failed = OSError(errno.EBUSY, "it is being read again")
        await self._quiet()
        try:
            recovered, size = await self._disk.run(lambda: self._writer.restart(need_reserve=need_reserve))
        except OSError as error:
            self.failed = error
            raise JournalFailed(error) from error
        self.failed = None
        self._adopt(recovered, size)

    async def close(self) -> None:
        """Sync what there is, mark the end as synced, close the file. Raises JournalFailed; closed it is anyway."""
        if self._closed:
            return
        await self._quiet()
        try:
            if self.failed is None:
                await self.sync()
                self._pending.record(Kind.MARK, 0, 0, b"")
                await self.sync()
        finally:
            self._closed = True
            await self._quiet()
            await self._disk.run(self._writer.close)

    def _adopt(self, recovered: Recovered, size: int) -> None:
        self._view = recovered.view
        self._entries = recovered.view.entries
        self.recovered_bytes_cut = recovered.cut
        segments = [*recovered.segments, SegmentState(recovered.restart.number, self.last_index)]
        self._pending = Pending(self._view, segments, size, self._segment_bytes, self._keys)
        self._retired: list[SegmentState] = []
        self.durable_index = self._writing_up_to = self.last_index
        self._synced_changes = 0

    def _begin(self) -> None:
        """Write and sync all that is buffered."""
        pending = self._pending
        batches, changes = pending.take(), pending.changes
        self._writing_up_to = self.last_index
        # Decided now: what a later, still unwritten change makes superfluous must stay until that one is on disk.
        retired = pending.superfluous()
        time = asyncio.get_running_loop().time
        self.sync_started_at = started = time()
        self._running = True

        def written(error: BaseException | None) -> None:
            self.last_sync_seconds = time() - started
            self._written(error, changes, retired)

        self._disk.begin(lambda: self._writer.write(batches), written)

    def _written(self, error: BaseException | None, changes: int, retired: list[SegmentState]) -> None:
        self.sync_started_at = None
        self._running = False
        if isinstance(error, OSError):
            self.failed = error
            error = JournalFailed(error)
        elif error is not None:
            self.failed = OSError(errno.EIO, f"the write was broken off by {error!r}")
        else:
            self._synced_changes = changes
            self.durable_index = self._writing_up_to
            self._retire(retired)
        waiting, self._waiting = self._waiting, []
        for wanted, told in waiting:
            if error is not None or wanted <= changes:
                told(error)
            else:
                self._waiting.append((wanted, told))
        if self._waiting and not self._running:
            self._begin()
        ended, self._ended = self._ended, []
        for future in ended:
            if not future.done():
                future.set_result(None)

    def _retire(self, segments: list[SegmentState]) -> None:
        if segments:
            self._retired.extend(segments)
            del self._pending.segments[: len(segments)]
            if self._cleaning is None:
                self._cleaning = asyncio.get_running_loop().create_task(self._clean())

    async def _clean(self) -> None:
        """Remove retired segments, one file at a time, so that a sync never waits for more than one."""
        try:
            while self._retired:
                number = self._retired[0].number
                # Bound by a default, which mypy gives no type.
                await self._disk.run(lambda number=number: self._writer.remove(number))  # type: ignore[misc]
                del self._retired[0]
        except OSError as error:
            self.failed = error
        finally:
            self._cleaning = None

    def _refuse_if_failed(self) -> None:
        if self.failed is not None:
            raise JournalFailed(self.failed)

    async def _quiet(self) -> None:
        """Return when no disk work of this journal runs; what ends may have begun other work."""
        while self._running or self._cleaning is not None:
            if self._running:
                self._ended.append(asyncio.get_running_loop().create_future())
                await self._ended[-1]
            elif self._cleaning is not None:
                await asyncio.wait([self._cleaning])
