"""A registry in this process for the HTTP tests: the real state machine, applied at once, without a log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from volstore.agent.heartbeats import Heartbeats, HeartbeatSettings
from volstore.agent.leading import Leading, hear
from volstore.agent.timekeeping import LogClock
from volstore.core.acl.commands import Caller
from volstore.core.commands import Command, Idempotency, Outcome, Stamped, decode_outcome, encode
from volstore.core.errors import NoLeader
from volstore.core.fsm import Fsm
from volstore.core.state import State
from volstore.http.registry import ClusterView, Contact, Heard, ServerView
from volstore.http.server.watch import MAX_WAITERS, Watch

SERVER = ServerView(
    name="server1",
    incarnation="0f0e0d0c",
    raft_address="127.0.0.1:4647",
    http_address="127.0.0.1:4646",
    version="0.1.0",
    leader=True,
    voter=True,
    status="alive",
)


class InProcessRegistry:
    """What the agent provides, of one node that always leads.

    `cut_off` makes it a node without a leader: stale reads work, everything else waits out its deadline.
    """

    def __init__(self, max_waiters: int = MAX_WAITERS) -> None:
        self.fsm = Fsm()
        self._watch = Watch(max_waiters)
        self.heartbeats = Heartbeats(HeartbeatSettings(), clock=time.monotonic, wall=time.time)
        self.leading = Leading(
            self,
            self.heartbeats,
            term=lambda: 1,
            node_gc_threshold=86_400,
            failed=lambda error: None,
        )
        self.leading._begin()
        self.clock = LogClock(time.monotonic, time.time_ns)
        self.cut_off = False
        self.barriers = 0

    @property
    def state(self) -> State:
        return self.fsm.state

    @property
    def watch(self) -> Watch:
        return self._watch

    def log_now(self) -> int:
        return self.clock.now(self.state)

    async def submit(
        self,
        command: Command,
        deadline: float,
        idempotency: Idempotency | None = None,
        caller: Caller | None = None,
    ) -> Outcome:
        if self.cut_off:
            await _until(deadline)
            raise NoLeader(may_happen=False)
        return self.apply(command, idempotency, caller)

    def apply(self, command: Command, idempotency: Idempotency | None = None, caller: Caller | None = None) -> Outcome:
        """The way of a committed entry: apply, then wake who is concerned."""
        result = self.fsm.apply(encode(Stamped(time.time_ns(), command, idempotency, caller)))
        if self.state.log_time != self.clock.base or self.state.timers.measured is not self.clock.measured:
            self.clock.follow(self.state)
        events = self.fsm.take_events()
        self._watch.notify(events)
        self.leading.applied(events)
        return decode_outcome(result)

    async def heartbeat(self, node_id: str, deadline: float) -> Heard:
        return await hear(node_id, self._ask, self, deadline)

    async def _ask(self, question: bytes, deadline: float) -> bytes:
        answer = None if self.cut_off else self.leading.answer(question)
        if answer is None:
            await _until(deadline)
            raise NoLeader
        return answer

    def heartbeat_ttl(self, node_id: str) -> int:
        return round(self.heartbeats.settings.ttl(node_id, self.state.node_count()) * 1e9)

    async def barrier(self, *, stale: bool, deadline: float) -> Contact:
        self.barriers += 1
        if not self.cut_off:
            # A barrier is a round to the others: whoever relies on nothing happening in it must fail here.
            await asyncio.sleep(0)
            return Contact(last_contact=0, known_leader=True)
        if stale:
            return Contact(last_contact=15_694, known_leader=False)
        await _until(deadline)
        raise NoLeader

    def restore(self) -> None:
        """As if a snapshot of the present state were installed: another state object, everybody woken."""
        self.fsm.restore(list(self.fsm.capture().chunks()))
        self._watch.wake_all()

    def cluster(self) -> ClusterView:
        return ClusterView(
            name="server1",
            region="global",
            datacenter="dc1",
            leader=None if self.cut_off else SERVER,
            servers=(replace(SERVER, leader=not self.cut_off),),
            stats={"raft": {"term": "2"}},
        )


async def _until(deadline: float) -> None:
    await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
