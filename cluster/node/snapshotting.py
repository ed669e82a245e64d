"""Writes snapshots of the state beside the log's work, drops the log behind them, and sends them to who needs one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cluster.api import LogError
from cluster.node.transfer import Sending
from cluster.storage.snapshots import SnapshotMeta

if TYPE_CHECKING:
    from cluster.node.node import Node


class Compaction:
    def __init__(self, node: Node, snapshot_index: int) -> None:
        self.snapshot_index = snapshot_index
        self._node = node
        self._bytes_then = 0
        self._size = self._newest_size()
        self._writing: asyncio.Task[int] | None = None
        self._sending: dict[str, tuple[Sending, asyncio.Task[None]]] = {}

    def consider(self) -> None:
        """Start what is due: a snapshot of a log that has grown, a transfer to a member that is too far behind.

        To be called whenever something was applied, and often besides."""
        node = self._node
        # After a failed disk was read again the log may lack what was applied, until the leader has sent it anew.
        if self._writing is None and self._due() and node.applier.index <= node.journal.last_index:
            self._start_writing()
        engine = node.engine
        for peer, (sending, _task) in self._sending.items():
            if not engine.leads or engine.term != sending.term or peer not in engine.connected:
                sending.give_up()
        if engine.leads:
            for peer, progress in engine.progress.items():
                if progress.needs_snapshot and peer not in self._sending and peer in engine.connected:
                    sending = Sending(node.store, peer, engine.term, node.send)
                    self._sending[peer] = (sending, node.loop.create_task(self._send(peer, sending)))

    def _due(self) -> bool:
        options, applier = self._node.options, self._node.applier
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
        self._writing = self._node.loop.create_task(self._write())
        self._writing.add_done_callback(self._written)
        return self._writing

    def _written(self, task: asyncio.Task[int]) -> None:
        self._writing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, OSError | LogError):
                # A full disk: the log stays longer, and the next entry tries again.
                self._node.log.error("snapshot_failed", reason=str(error))
                self.snapshot_index = self._node.applier.index - self._node.options.snapshot_entries // 2
                self._bytes_then = self._node.applier.bytes
            else:
                self._node.fail(error)

    async def _write(self) -> int:
        node = self._node
        index = node.applier.index
        newest = node.store.latest()
        if newest is not None and newest.index >= index:
            return newest.index
        if node.engine.configurations.at(index).index == 0:
            raise LogError("a cluster that has not formed yet has nothing to keep")
        term = node.journal.term_at(index)
        if term is None:
            raise LogError(f"the log doesn't reach the applied entry {index} yet; the leader sends it anew")
        membership = node.engine.configurations.at(index).encode()
        captured = node.state.capture()
        meta = SnapshotMeta(index, term, node.state.digest(), membership)
        bytes_now = node.applier.bytes
        await node.store.write(meta, captured.chunks())
        self.snapshot_index = index
        self._bytes_then = bytes_now
        self._size = self._newest_size()
        kept_from = self._kept_from(index)
        if kept_from > node.journal.base_index:
            node.journal.drop_to(kept_from)
        node.engine.configurations.forget_before(index)
        node.log.info("snapshot_written", index=index, log_entries=node.journal.last_index - node.journal.base_index)
        return index

    def _newest_size(self) -> int:
        newest = self._node.store.latest()
        return newest.size if newest is not None else 0

    def _kept_from(self, index: int) -> int:
        """The entry that becomes the log's base: what trails behind the snapshot is bounded in number and bytes."""
        journal, options = self._node.journal, self._node.options
        first = max(journal.base_index, index - options.trailing_entries)
        size = 0
        for kept in range(index, first, -1):
            size += len(journal.data(kept))
            if size > options.trailing_bytes:
                return kept
        return first

    def installed(self, index: int) -> None:
        self.snapshot_index = index
        self._bytes_then = self._node.applier.bytes
        self._size = self._newest_size()

    # Sending.

    async def _send(self, peer: str, sending: Sending) -> None:
        node = self._node
        try:
            index = await sending.run()
            node.log.info("snapshot_sent", peer=peer, index=index)
            node.step(lambda: node.engine.snapshot_installed(node.loop.time(), peer, index))
        except (TimeoutError, ConnectionError, FileNotFoundError) as error:
            # The next step starts over: it resumes where the member stands, or sends a newer snapshot.
            node.log.warning("snapshot_not_sent", peer=peer, reason=str(error) or "no answer")
        except Exception as error:
            node.fail(error)
        finally:
            del self._sending[peer]

    def acknowledged(self, peer: str, term: int, index: int, held: int, installed: bool) -> None:
        if peer in self._sending and term == self._node.engine.term:
            self._sending[peer][0].answered(index, held, installed)

    def lost(self, peer: str) -> None:
        """The connection to `peer` is lost, and what was under way on it; another may be there at once."""
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
