"""The leader's duties: it takes heartbeats, marks silent nodes down, and frees abandoned claims.

Each duty may be done twice or late without harm: it ends in a command that `apply` checks.
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
"""The most commands of one sweep, that is, about one a second."""
_DOWN_AT_ONCE = 64
_DEADLINE = 10.0
_RETRY_AFTER = 5.0
"""Seconds that a command of ours may take, and seconds until a failed one is tried again."""

_log = structlog.get_logger("volstore.leading")


class _Answer(Struct, frozen=True, array_like=True):
    """The leader's answer to a heartbeat: the node is not `known`, it is `down`, or it was `heard`."""

    known: bool
    down: bool = False
    heard: Heard | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


class Leading:
    """The leader's duties, done while this node leads. `term` returns the term in which it leads, otherwise None.

    `failed` is called with a defect, after which the node must stop.
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

    # Callbacks of the log.

    def leadership_changed(self) -> None:
        """Begin or end the duties when this node's role or term changed."""
        term = self._term()
        if term == self._led_term:
            return
        self._led_term = term
        self._end()
        if term is not None:
            self._task = asyncio.get_running_loop().create_task(self._lead())

    def applied(self, events: Iterable[Event]) -> None:
        """Follow the applied changes of nodes: a report is a heartbeat, whichever member received it."""
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
        """Answer a member that received a heartbeat; `question` is the node's ID. None means: retry soon."""
        try:
            id = question.decode()
        except UnicodeDecodeError:
            return _encode(_Answer(known=False))  # No node has such an ID, whatever member asks for it.
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
        self._end()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    # While this node leads.

    def _end(self) -> None:
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
                tasks.create_task(self._sweep_regularly())
                await self._watch_heartbeats(tasks)
        except Exception as error:
            self._failed(error)

    async def _catch_up(self) -> None:
        """Wait until everything committed in earlier terms is applied, so that old reports don't count as
        heartbeats."""
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
                tasks.create_task(self._mark_down(node_id, limit))

    async def _mark_down(self, node_id: str, limit: asyncio.Semaphore) -> None:
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

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every)
            await self._sweep()

    async def _sweep(self) -> None:
        found = sweep.abandoned(
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
    """Pass a node's heartbeat on to the leader, and mark the node ready if it was down.

    Raises NoLeader, Overloaded, and ApiError 404 for an unknown node: it must report itself.
    """
    while True:
        answer = _decode(await ask(node_id.encode(), deadline))
        if answer.heard is not None:
            return answer.heard
        if not answer.known:
            raise ApiError(404, "node not found: report it again, with PUT /v1/node/ID")
        # This is refused if the node was removed meanwhile; then the leader's next answer says so.
        await registry.submit(SetNodeStatus(node_id, "ready"), deadline)


def _later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
