"""Persist before send, in one place: what depends on this node's disk leaves it after the journal synced.

Acknowledgements, votes and requests for votes are held until then; a leader's append_entries need not wait, as it
counts itself only for what is on its disk (`Engine.countable`). A failed or slow disk ends acknowledging at once.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from cluster.api import LogError
from cluster.raft.engine import Message
from cluster.storage.journal import JournalFailed

if TYPE_CHECKING:
    from cluster.node.node import Node

_REOPEN_EVERY = 1.0


def _is_full(failure: JournalFailed) -> bool:
    return failure.cause.errno in (errno.ENOSPC, errno.EDQUOT)


class Persistence:
    def __init__(self, node: Node) -> None:
        self.fault: str | None = None
        """Why this node acknowledges nothing at present, in words for the operator."""
        self._node = node
        self._held: list[Message] = []
        self._syncing: list[Message] = []
        """What waits for the sync that is under way; what is held later waits for the next one."""
        self._busy = False
        """A sync is under way, or the disk is being recovered: what changes meanwhile waits for the next sync."""
        self._recovering = False

    def send_out(self) -> bool:
        """Send what the engine has made, or hold it and sync: one sync for all that waits (group commit).

        Whether a sync began.
        """
        node = self._node
        unsynced = node.journal.unsynced
        if node.engine.outbox:
            for message in node.engine.take_messages():
                if unsynced and message.after_sync:
                    self._held.append(message)
                else:
                    node.send(message.peer, message.frame)
        if unsynced and not self._busy:
            self._busy = True
            self._syncing, self._held = self._held, []
            node.journal.when_synced(self._synced)
            return True
        return False

    def _synced(self, error: BaseException | None) -> None:
        node = self._node
        held, self._syncing = self._syncing, []
        self._busy = False
        if not node.running:
            return
        if isinstance(error, JournalFailed):
            self._busy = True
            node.spawn(lambda: self._recover(error))
        elif error is not None:
            node.fail(error)
        else:
            node.step(self._let_go, held)

    def _let_go(self, held: list[Message]) -> None:
        node = self._node
        if not node.journal.unsynced:
            # What was held meanwhile depends on nothing else, and no other sync may come for long.
            held, self._held = held + self._held, []
        for message in held:
            node.send(message.peer, message.frame)
        node.engine.durable(node.loop.time())

    def judge(self, now: float) -> None:
        """A disk that takes longer than an election is a failed one: heartbeats must not hide it (hole 18)."""
        node = self._node
        limit = node.options.timing.election_min
        started = node.journal.sync_started_at
        slow = started is not None and now - started > limit
        if slow and self.fault is None:
            self._found_slow(now, limit)
        elif not slow and self.fault is not None and not self._recovering:
            self.fault = None
            node.log.info("disk_recovered")
        node.engine.unable = self.fault is not None

    def _found_slow(self, now: float, limit: float) -> None:
        self.fault = f"the disk needs more than {limit:g} s for a sync"
        self._node.log.error("disk_slow", seconds=limit)
        self._node.engine.step_down(now)

    async def _make_room(self) -> None:
        """A disk that our own log has filled: the reserve gives room for a snapshot, which lets the log go."""
        node = self._node
        await self._reopen(need_reserve=False)
        try:
            await node.compaction.write()
        except LogError:
            # It was logged. Nothing of ours can go, but whoever else filled the disk may have made room meanwhile.
            return
        snapshot = node.store.latest()
        # One that was received and isn't installed yet covers what the state lacks: the log stays until it is.
        if snapshot is not None and node.journal.base_index < snapshot.index <= node.applier.index:
            # The disk may have less of the log than the snapshot covers, if that was begun before the disk failed.
            node.start_log_after(snapshot)
            await node.journal.sync()

    async def _recover(self, failure: JournalFailed) -> None:
        """Acknowledge nothing, lead nobody, and start again from what the disk really has, once it can be read."""
        node = self._node
        self._recovering = True
        self.fault = str(failure)
        node.log.error("disk_failed", reason=str(failure))
        node.engine.unable = True
        node.step(lambda: node.engine.step_down(node.loop.time()))
        while True:
            self._held.clear()
            try:
                if _is_full(failure):
                    await self._make_room()
                await self._reopen()
                break
            except (OSError, JournalFailed, LogError) as error:
                node.limited.warning(node.loop.time(), "reopen", "disk_still_failing", reason=str(error))
            await asyncio.sleep(_REOPEN_EVERY)
        self.fault = None
        self._busy = self._recovering = False
        node.engine.unable = False
        node.log.info("disk_recovered", last_index=node.journal.last_index)
        node.step(lambda: None)

    async def _reopen(self, *, need_reserve: bool = True) -> None:
        """Read the journal again, and at once Raft's state from it: nothing may act on what the disk doesn't have."""
        node = self._node
        await node.journal.reopen(need_reserve=need_reserve)
        self._held.clear()
        node.restart_engine()
        node.engine.unable = True
