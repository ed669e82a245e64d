"""What a node does while it leads: it waits for the nodes' heartbeats, calls silent ones down, and sweeps.

All of it may be done twice or too late without harm: whatever it ends in is a command that `apply` judges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog
from msgspec import Struct

from volstore.agent import sweep
from volstore.agent.heartbeats import TICK, Heartbeats
from volstore.core.commands import SetNodeStatus, SweepNode
from volstore.core.errors import ApiError, NoLeader, Overloaded
from volstore.core.events import Event, NodeChanged, Restored
from volstore.http.registry import Heard, Registry

SWEEP_EVERY = 60.0
"""Seconds between two sweeps."""
SWEEP_COMMANDS = 60
"""Commands of one sweep at most, that is, about one a second."""
_DOWN_AT_ONCE = 64
_DEADLINE = 10.0
_RETRY_AFTER = 5.0
"""Seconds: how long a command of ours may take, and after which one is tried again that didn't come about."""

_log = structlog.get_logger("volstore.leading")


class _Answer(Struct, frozen=True, array_like=True):
    """What the leader knows of a node that says it is alive: nothing (not `known`), that it is `down`, or that it was
    `heard`."""

    known: bool
    down: bool = False
    heard: Heard | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


class Leading:
    """The duties of one node's leaderships. `term` is the one in which this node leads now, None while it doesn't.

    `failed` is called with a defect: the node must end.
    """

    def __init__(
        self,
        registry: Registry,
        heartbeats: Heartbeats,
        *,
        term: Callable[[], int | None],
        node_gc_threshold: float,
        node_gc_running_claims: bool = False,
        failed: Callable[[BaseException], None],
        sweep_every: float = SWEEP_EVERY,
    ) -> None:
        self._registry = registry
        self._heartbeats = heartbeats
        self._term = term
        self._node_gc_threshold = node_gc_threshold
        self._node_gc_running_claims = node_gc_running_claims
        self._failed = failed
        self._sweep_every = sweep_every
        self._led_term: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = False
        self._going_down: set[str] = set()

    # What the log tells.

    def leadership_changed(self) -> None:
        """Role, term or leader changed."""
        term = self._term()
        if term == self._led_term:
            return
        self._led_term = term
        self._rest()
        if term is not None:
            self._task = asyncio.get_running_loop().create_task(self._lead())

    def applied(self, events: Iterable[Event]) -> None:
        """What was applied here: whoever reported was heard, through whatever member it came."""
        if not self._ready:
            return
        state = self._registry.state
        for event in events:
            match event:
                case NodeChanged():
                    self._heartbeats.follow(event.old, event.new, state.node_count())
                case Restored():
                    self._begin()

    def answer(self, question: bytes) -> bytes | None:
        """To the ID of a node that any member heard. None: ask again, soon."""
        id = question.decode()
        if not self._ready or id in self._going_down:
            return None
        state = self._registry.state
        node = state.node(id)
        if node is None:
            return _encode(_Answer(known=False))
        if node.status == "down":
            return _encode(_Answer(known=True, down=True))
        ttl = self._heartbeats.hear(id, state.node_count())
        heard = Heard(round(ttl * 1e9), node.modify_index, state.node_count(), state.index)
        return _encode(_Answer(known=True, heard=heard))

    async def stop(self) -> None:
        task = self._task
        self._rest()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    # While this node leads.

    def _rest(self) -> None:
        self._ready = False
        self._going_down.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _begin(self) -> None:
        state = self._registry.state
        self._heartbeats.begin(state.nodes(), state.node_count())
        self._ready = True

    async def _lead(self) -> None:
        try:
            await self._catch_up()
            self._begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep_now_and_then())
                await self._watch_heartbeats(tasks)
        except Exception as error:
            self._failed(error)

    async def _catch_up(self) -> None:
        """Apply what was committed before this leadership: who reported then is heard of before, not after."""
        while True:
            try:
                await self._registry.barrier(stale=False, deadline=_later(_DEADLINE))
                return
            except NoLeader:
                continue

    async def _watch_heartbeats(self, tasks: asyncio.TaskGroup) -> None:
        limit = asyncio.Semaphore(_DOWN_AT_ONCE)
        while True:
            await asyncio.sleep(TICK)
            if self._heartbeats.was_paused:
                _log.warning("leader_was_paused", nodes=len(self._heartbeats))
                self._begin()
                continue
            for node_id in self._heartbeats.silent():
                tasks.create_task(self._call_down(node_id, limit))

    async def _call_down(self, node_id: str, limit: asyncio.Semaphore) -> None:
        async with limit:
            node = self._registry.state.node(node_id)
            if node is None or node.status == "down" or self._heartbeats.waits_for(node_id):
                return
            self._going_down.add(node_id)
            try:
                outcome = await self._registry.submit(
                    SetNodeStatus(node_id, "down", node.modify_index), _later(_DEADLINE)
                )
                if outcome.status == 200:
                    _log.warning("node_missed_heartbeat", node=node_id, name=node.name)
            except (NoLeader, Overloaded):
                self._heartbeats.postpone(node_id, _RETRY_AFTER)
            finally:
                self._going_down.discard(node_id)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every)
            await self._sweep()

    async def _sweep(self) -> None:
        found = sweep.hanging(
            self._registry.state, self._node_gc_threshold, SWEEP_COMMANDS, running=self._node_gc_running_claims
        )
        for command in found:
            try:
                outcome = await self._registry.submit(command, _later(_DEADLINE))
            except (NoLeader, Overloaded) as error:
                _log.info("sweep_interrupted", reason=error.text)
                return
            if outcome.status == 200 and isinstance(command, SweepNode):
                _log.info("node_swept", node=command.id)
        if found:
            _log.info("swept", commands=len(found))


async def hear(
    node_id: str, ask: Callable[[bytes, float], Awaitable[bytes]], registry: Registry, deadline: float
) -> Heard:
    """Have the leader hear of a node that is alive, and make it ready if it was down.

    Raises NoLeader, Overloaded, and ApiError 404 for a node that is unknown: it must report itself.
    """
    while True:
        answer = _decode(await ask(node_id.encode(), deadline))
        if answer.heard is not None:
            return answer.heard
        if not answer.known:
            raise ApiError(404, "node not found: report it again, with PUT /v1/node/ID")
        # Refused where it was removed meanwhile; then the next answer says so.
        await registry.submit(SetNodeStatus(node_id, "ready"), deadline)


def _later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
