"""Writes snapshots of the state in the background, drops the log behind them, and sends them to members far behind."""

from __future__ import annotations

import asyncio
import math

from cluster.api import LogError
from cluster.net.dial import Backoff
from cluster.node.applier import Applier
from cluster.node.host import Host
from cluster.node.transfer import FIRST_PATIENCE, MOST_PATIENCE, Sending
from cluster.ports import Random
from cluster.storage.journal import Journal, JournalError
from cluster.storage.snapshots import SnapshotMeta, SnapshotStore

_RETRY_MIN, _RETRY_MAX = 0.1, 5.0
"""Seconds until a snapshot that couldn't be sent is tried again: doubling from the one to the other."""


class Snapshotting:
    def __init__(self, host: Host, applier: Applier, journal: Journal, store: SnapshotStore, random: Random) -> None:
        self.snapshot_index = applier.index
        self._host = host
        self._applier = applier
        self._journal = journal
        self._store = store
        self._random = random
        self._bytes_then = 0
        self._size = self._newest_size()
        self._writing: asyncio.Task[int] | None = None
        self._sending: dict[str, tuple[Sending, asyncio.Task[None]]] = {}
        self._kept_for_others = False
        self._retries: dict[str, Backoff] = {}
        self._not_before: dict[str, float] = {}
        self._patience: dict[str, float] = {}

    def consider(self) -> None:
        """Start what is due: a snapshot of a log that has grown, a transfer to a member that is too far behind.

        To be called whenever something was applied, and often besides."""
        host = self._host
        # After a failed disk was read again the log may lack what was applied, until the leader has sent it again.
        if self._writing is None and self._due() and self._applier.index <= self._journal.last_index:
            self._start_writing()
        engine = host.engine
        if self._kept_for_others and self._needed_from() >= self._trail(self.snapshot_index):
            self._drop_log()
        for peer, (sending, _task) in self._sending.items():
            if not engine.leads or engine.term != sending.term or peer not in engine.connected:
                sending.give_up()
        if engine.leads:
            for peer, progress in engine.progress.items():
                if progress.needs_snapshot and peer not in self._sending and peer in engine.connected:
                    if host.loop.time() < self._not_before.get(peer, 0.0):
                        continue
                    patience = self._patience.get(peer, FIRST_PATIENCE)
                    sending = Sending(self._store, peer, engine.term, host.send, patience)
                    self._sending[peer] = (sending, host.loop.create_task(self._send(peer, sending)))

    def _due(self) -> bool:
        options, applier = self._host.options, self._applier
        if applier.index - self.snapshot_index >= options.snapshot_entries:
            return True
        return applier.bytes - self._bytes_then >= max(options.snapshot_bytes, self._size)

    async def write(self) -> int:
        """A snapshot of what is applied now, or of a moment ago if one is being written; its log index. LogError."""
        task = self._writing or self._start_writing()
        try:
            return await asyncio.shield(task)
        except OSError as error:
            raise LogError(f"the snapshot can't be written: {error}") from error

    def _start_writing(self) -> asyncio.Task[int]:
        self._writing = self._host.loop.create_task(self._write())
        self._writing.add_done_callback(self._written)
        return self._writing

    def _written(self, task: asyncio.Task[int]) -> None:
        self._writing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, OSError | LogError):
                # A full disk: the log stays longer, and the next entry tries again.
                self._host.log.error("snapshot_failed", reason=str(error))
                self.snapshot_index = self._applier.index - self._host.options.snapshot_entries // 2
                self._bytes_then = self._applier.bytes
            else:
                self._host.fail(error)

    async def _write(self) -> int:
        host = self._host
        index = self._applier.index
        newest = self._store.latest()
        if newest is not None and newest.index >= index:
            return newest.index
        if host.engine.configurations.at(index).index == 0:
            raise LogError("a cluster that has not formed yet has nothing to keep")
        term = self._journal.term_at(index)
        if term is None:
            raise LogError(f"the log doesn't reach the applied entry {index} yet; the leader sends it anew")
        configuration = host.engine.configurations.at(index)
        state = self._applier.state
        captured = state.capture()
        meta = SnapshotMeta(index, term, state.digest(), configuration.encode(), configuration.encode_removed())
        bytes_now = self._applier.bytes
        await self._store.write(meta, captured.chunks())
        self.snapshot_index = index
        self._bytes_then = bytes_now
        self._size = self._newest_size()
        self._drop_log()
        host.engine.configurations.forget_before(index)
        host.log.info("snapshot_written", index=index, log_entries=self._journal.last_index - self._journal.base_index)
        return index

    def _newest_size(self) -> int:
        newest = self._store.latest()
        return newest.size if newest is not None else 0

    def _drop_log(self) -> None:
        """Drop what the newest snapshot covers, but for what trails behind it."""
        journal = self._journal
        kept_from = self._kept_from(self.snapshot_index)
        self._kept_for_others = kept_from < self._trail(self.snapshot_index)
        if journal.base_index < kept_from <= journal.last_index:
            journal.drop_to(kept_from)

    def _kept_from(self, index: int) -> int:
        """The entry that becomes the log's base: what trails behind the snapshot is bounded in number and bytes.

        What a member needs that is being sent a snapshot, or follows slowly, stays up to `snapshot_bytes`: it would
        have to be sent a newer snapshot otherwise, and on a slow line never catch up."""
        journal, options = self._journal, self._host.options
        first, most = self._trail(index), options.trailing_bytes
        if (needed := self._needed_from()) < first:
            first, most = int(needed), max(options.trailing_bytes, options.snapshot_bytes)
        first = max(journal.base_index, first)
        size = 0
        for kept in range(index, first, -1):
            size += len(journal.data(kept))
            if size > most:
                return kept
        return first

    def _trail(self, index: int) -> int:
        return max(self._journal.base_index, index - self._host.options.trailing_entries)

    def _needed_from(self) -> float:
        """The log after this entry is what connected members still need of this leader."""
        engine = self._host.engine
        if not engine.leads:
            return math.inf
        needed = [sending.index for sending, _task in self._sending.values() if sending.index is not None]
        for peer, progress in engine.progress.items():
            if peer in engine.connected and not progress.needs_snapshot:
                needed.append(engine.match_index(peer))
        return min((index for index in needed if index >= self._journal.base_index), default=math.inf)

    def installed(self, index: int) -> None:
        self.snapshot_index = index
        self._bytes_then = self._applier.bytes
        self._size = self._newest_size()

    # Sending.

    async def _send(self, peer: str, sending: Sending) -> None:
        host = self._host
        try:
            index = await sending.run()
            host.log.info("snapshot_sent", peer=peer, index=index)
            self._retries.pop(peer, None)
            host.step(lambda: host.engine.snapshot_installed(host.loop.time(), peer, index))
        except (OSError, JournalError) as error:
            # The member doesn't answer, or the file can't be read: no descriptor, a bad sector, a key that is gone.
            # Neither hinders this leader. It starts over: it resumes where the member stands, or sends a newer one.
            self._put_off(peer, sending, error)
        except Exception as error:
            host.fail(error)
        finally:
            del self._sending[peer]

    def _put_off(self, peer: str, sending: Sending, error: OSError | JournalError) -> None:
        host = self._host
        reason = str(error) or f"no answer within {sending.patience:g} s"
        host.limited.warning(host.loop.time(), (peer, reason), "snapshot_not_sent", peer=peer, reason=reason)
        if isinstance(error, TimeoutError):
            self._patience[peer] = min(2 * sending.patience, MOST_PATIENCE)
        elif not isinstance(error, ConnectionError | FileNotFoundError):
            backoff = self._retries.setdefault(peer, Backoff(self._random, _RETRY_MIN, _RETRY_MAX))
            self._not_before[peer] = host.loop.time() + backoff.after(0.0)

    def acknowledged(self, peer: str, term: int, index: int, held: int, installed: bool) -> None:
        if peer in self._sending and term == self._host.engine.term:
            self._sending[peer][0].answered(index, held, installed)

    def lost(self, peer: str) -> None:
        """The connection to `peer` is lost, and what was under way on it; another may be there at once."""
        self._patience.pop(peer, None)
        if peer in self._sending:
            self._sending[peer][0].give_up()

    def progress_of(self, peer: str) -> float | None:
        return self._sending[peer][0].progress if peer in self._sending else None

    async def stop(self) -> None:
        tasks = [task for _sending, task in self._sending.values()]
        for task in tasks:
            task.cancel()
        # A snapshot that is being written is let finish: its pieces are bounded, and half of it is nothing.
        writing = [self._writing] if self._writing is not None else []
        await asyncio.gather(*tasks, *writing, return_exceptions=True)
