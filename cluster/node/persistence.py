"""Persist before send, in one place: what depends on this node's disk leaves it after the journal synced.

Acknowledgements, votes and requests for votes are held until then; a leader's append_entries need not wait, as it
counts itself only for what is on its disk (`Engine.countable`). A failed or slow disk ends acknowledging at once.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from cluster.api import LogError
from cluster.node.host import Host
from cluster.raft.engine import Message
from cluster.storage.journal import Journal, JournalFailed

_REOPEN_EVERY = 1.0


def _is_full(failure: JournalFailed) -> bool:
    return failure.cause.errno in (errno.ENOSPC, errno.EDQUOT)


class PersistenceHost(Host, Protocol):
    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` as a task; an exception in it ends the node."""
        ...

    def restart_engine(self) -> None:
        """Begin again from what the journal has now."""
        ...


class Persistence:
    def __init__(self, host: PersistenceHost, journal: Journal, make_room: Callable[[], Awaitable[None]]) -> None:
        """`make_room` lets go of as much of the log as can be, to get a full disk going again."""
        self.fault: str | None = None
        """Why this node acknowledges nothing at present, in words for the operator."""
        self._host = host
        self._journal = journal
        self._let_log_go = make_room
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
        host = self._host
        unsynced = self._journal.unsynced
        if host.engine.outbox:
            for message in host.engine.take_messages():
                if unsynced and message.after_sync:
                    self._held.append(message)
                else:
                    host.send(message.peer, message.frame)
        if unsynced and not self._busy:
            self._busy = True
            self._syncing, self._held = self._held, []
            self._journal.when_synced(self._synced)
            return True
        return False

    def _synced(self, error: BaseException | None) -> None:
        host = self._host
        held, self._syncing = self._syncing, []
        self._busy = False
        if not host.running:
            return
        if isinstance(error, JournalFailed):
            self._busy = True
            host.spawn(lambda: self._recover(error))
        elif error is not None:
            host.fail(error)
        else:
            host.step(self._let_go, held)

    def _let_go(self, held: list[Message]) -> None:
        host = self._host
        if not self._journal.unsynced:
            # Messages held meanwhile depend on no other sync, and the next one may be far off.
            held, self._held = held + self._held, []
        for message in held:
            host.send(message.peer, message.frame)
        host.engine.durable(host.loop.time())

    def judge(self, now: float) -> None:
        """A disk that takes longer than an election is a failed one: heartbeats must not hide it (hole 18)."""
        host = self._host
        limit = host.options.timing.election_min
        started = self._journal.sync_started_at
        slow = started is not None and now - started > limit
        if slow and self.fault is None:
            self._found_slow(now, limit)
        elif not slow and self.fault is not None and not self._recovering:
            self.fault = None
            host.log.info("disk_recovered")
        host.engine.unable = self.fault is not None

    def _found_slow(self, now: float, limit: float) -> None:
        self.fault = f"the disk needs more than {limit:g} s for a sync"
        self._host.log.error("disk_slow", seconds=limit)
        self._host.engine.step_down(now)

    async def _make_room(self) -> None:
        """A disk that our own log has filled: the reserve gives room for a snapshot, which lets the log go."""
        await self._reopen(need_reserve=False)
        await self._let_log_go()

    async def _recover(self, failure: JournalFailed) -> None:
        """Acknowledge nothing, lead nobody, and start again from what the disk really has, once it can be read."""
        host = self._host
        self._recovering = True
        self.fault = str(failure)
        host.log.error("disk_failed", reason=str(failure))
        host.engine.unable = True
        host.step(lambda: host.engine.step_down(host.loop.time()))
        while True:
            self._held.clear()
            try:
                if _is_full(failure):
                    await self._make_room()
                await self._reopen()
                break
            except (OSError, JournalFailed, LogError) as error:
                host.limited.warning(host.loop.time(), "reopen", "disk_still_failing", reason=str(error))
            await asyncio.sleep(_REOPEN_EVERY)
        self.fault = None
        self._busy = self._recovering = False
        host.engine.unable = False
        host.log.info("disk_recovered", last_index=self._journal.last_index)
        host.step(lambda: None)

    async def _reopen(self, *, need_reserve: bool = True) -> None:
        """Read the journal again, and at once Raft's state from it: nothing may act on what the disk doesn't have."""
        host = self._host
        await self._journal.reopen(need_reserve=need_reserve)
        self._held.clear()
        host.restart_engine()
        host.engine.unable = True
