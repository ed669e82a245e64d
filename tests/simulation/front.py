"""What stands above one simulated node's log, as in the agent: the waiters, and the way of a read through them.

All of it is the real thing but the bytes of HTTP. Beside it stands who waits here at present and what the answers
should be, which is looked at after every step of the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from cluster import api as cluster
from cluster.log import ReplicatedLog
from volstore.agent.state_machine import WatchedFsm
from volstore.core.errors import NoLeader
from volstore.core.state import State
from volstore.http.endpoints.lists import VolumeLists
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.json.parameters import Query
from volstore.http.json.replies import Reply
from volstore.http.registry import Contact, Registry
from volstore.http.server.call import Call, Service
from volstore.http.server.declaration import Absent, Question, Read
from volstore.http.server.limits import WaitersOfCallers
from volstore.http.server.pipeline import Pipeline
from volstore.http.server.settings import HttpSettings
from volstore.http.server.watch import Topic

if TYPE_CHECKING:
    from tests.simulation.server import Server

SETTINGS = HttpSettings(deadline=2.0)
"""Seconds for which a read looks for a leader: shorter than a node's default, so that giving up is met, too."""
WAKES_WITHIN = 0.05
"""Seconds within which a change wakes who waits for it, and a waiter whose client hung up is gone."""
_LOOK_EVERY = 0.02
_FRESH = Contact(last_contact=0, known_leader=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A GET: an endpoint, the IDs in its path, and its query string. `had` is the answer that the client holds as of
    the index in the query (None: that there is nothing); it means nothing without one."""

    read: Read
    ids: tuple[str, ...]
    query: str
    had: bytes | None = None


@dataclass(slots=True, eq=False)
class Waiting:
    """One query on its way, blocking where `index` isn't 0. Times are true ones, in seconds.

    `moved_at` is since when the state says that the answer moved, `differs_at` since when it is another in fact.
    `asleep`: it waits for a wake-up, not for a leader. `pauses` counts those of the node before it was last looked at.
    """

    asked: Asked
    index: int
    task: asyncio.Task[Any] | None
    asleep: bool = False
    moved_at: float | None = None
    differs_at: float | None = None
    hung_up_at: float | None = None
    pauses: int = 0


class Front:
    """What HTTP would ask of one process: `get`."""

    def __init__(self, server: Server, log: ReplicatedLog, machine: WatchedFsm, random: Random) -> None:
        self.watch = machine._watch
        self.waiting: dict[Waiting, None] = {}
        self.answered = 0
        """The highest index that an answer of this process carried."""
        self._server = server
        self._log = log
        self._machine = machine
        self._by_task: dict[asyncio.Task[Any] | None, Waiting] = {}
        self._service = _service(self)
        self._pipeline = Pipeline(random.random, WaitersOfCallers(0))
        self._looked: tuple[State | None, int] = (None, 0)
        self._next_look = 0.0
        self._watch_sleep()

    # What the pipeline needs of a registry, as the agent has it.

    @property
    def state(self) -> State:
        return self._machine.fsm.state

    async def barrier(self, *, stale: bool, deadline: float) -> Contact:
        mode = cluster.ReadMode.STALE if stale else cluster.ReadMode.LINEARIZABLE
        try:
            barrier = await self._log.read_barrier(mode, deadline)
        except cluster.NoLeader:
            raise NoLeader from None
        return Contact(round(barrier.last_contact * 1000), barrier.known_leader)

    # Reads.

    async def get(self, asked: Asked) -> tuple[Reply, Waiting]:
        """Answer as a client's connection has it; cancelled when the client hangs up. Raises ApiError."""
        call = Call(self._service, Query(asked.query), asked.ids)
        task = asyncio.current_task()
        waiting = self._by_task[task] = Waiting(asked, call.query.index, task)
        self.waiting[waiting] = None
        self._note(waiting)
        try:
            reply = await self._pipeline.run(asked.read, call, None)
            self._note(waiting)
            return reply, waiting
        finally:
            del self.waiting[waiting]
            del self._by_task[task]

    def truth(self, asked: Asked) -> bytes | None:
        """What the answer must be now, made from the state anew; None for "not found"."""
        try:
            reply = _at_once(_question(asked, _service(self)).answer(self.state, _FRESH))
        except Absent:
            return None
        assert reply.json is not None
        return reply.json.raw

    def hung_up(self, asked: Asked) -> None:
        """Its client doesn't wait any more."""
        for waiting in self.waiting:
            if waiting.asked is asked:
                self._stood_still(waiting)
                waiting.hung_up_at = self._server.world.scheduler.now
                waiting.pauses = self._server.pauses - self._server.paused

    async def stop(self, patience: float) -> None:
        """As the HTTP server stops: who waits is answered, and what takes longer is broken off."""
        self.watch.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while self.waiting and loop.time() < until:  # noqa: ASYNC110 (as the agent's server, it only looks now and then)
            await asyncio.sleep(0.01)
        for waiting in list(self.waiting):
            if waiting.task is not None:
                waiting.task.cancel()

    def left_over(self) -> int:
        """Entries in the waiters' tables; 0 when nobody waits."""
        watch = self.watch
        topics = len(watch._groups) + len(watch._lists) + len(watch._node_lists) + len(watch._allocation_lists)
        others = len(watch._volumes_of_plugin) + len(watch._readers) + len(watch._deadlines)
        return len(watch) + len(self.waiting) + topics + others

    # After every step of the node.

    def look(self) -> None:
        """Note whose answers moved, and whether all are woken that should be, and gone that nobody wants."""
        now, state = self._server.world.scheduler.now, self.state
        if self._looked[0] is not state or self._looked[1] != state.index:
            self._looked = (state, state.index)
            for waiting in self.waiting:
                self._note(waiting)
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            if len(self.watch) > len(self.waiting):
                self._violated("who gives up is dropped", f"{len(self.watch)} wait for {len(self.waiting)} clients")
            for waiting in self.waiting:
                self._check(waiting, now)

    def _note(self, waiting: Waiting) -> None:
        """Whether the state says that this answer moved, and whether it did."""
        now, state, asked = self._server.world.scheduler.now, self.state, waiting.asked
        # A node that is behind the client has yet to come to what it holds.
        if not waiting.index or state.index <= waiting.index:
            return
        if waiting.moved_at is None:
            question = _question(asked, self._service)
            if state.restored_at > waiting.index or question.moved_since(state, waiting.index):
                self._stood_still(waiting)
                waiting.moved_at, waiting.pauses = now, self._server.pauses
        if waiting.differs_at is None and self.truth(asked) != asked.had:
            waiting.differs_at = now
            if waiting.moved_at is None:
                self._violated("a change moves its index", f"{asked.read.name} {asked.ids} {asked.query}")

    def _check(self, waiting: Waiting, now: float) -> None:
        asked = waiting.asked
        self._stood_still(waiting)
        if waiting.asleep and waiting.moved_at is not None and now > waiting.moved_at + WAKES_WITHIN:
            self._violated(
                "no lost wake-up", f"{asked.read.name} {asked.ids} {asked.query} moved at {waiting.moved_at:.4f}"
            )
        if waiting.hung_up_at is not None and now > waiting.hung_up_at + WAKES_WITHIN:
            self._violated("who gives up is dropped", f"{asked.read.name} {asked.query} since {waiting.hung_up_at:.4f}")

    def _stood_still(self, waiting: Waiting) -> None:
        """What was due while the node stood still happens now."""
        if waiting.pauses != self._server.pauses:
            now, waiting.pauses = self._server.world.scheduler.now, self._server.pauses
            waiting.moved_at = waiting.moved_at and now
            waiting.hung_up_at = waiting.hung_up_at and now

    def _violated(self, invariant: str, text: str) -> None:
        self._server.world.violated(invariant, f"{self._server.name}: {text}")

    def _watch_sleep(self) -> None:
        """Know who waits for a wake-up."""
        wait = self.watch.wait

        async def watched(topic: Topic, until: float, plugin_id: str = "", sources: Any = ()) -> None:
            waiting = self._by_task[asyncio.current_task()]
            waiting.asleep = True
            try:
                await wait(topic, until, plugin_id, sources)
            finally:
                waiting.asleep = False

        setattr(self.watch, "wait", watched)  # noqa: B010 (a method is replaced)


def _service(front: Front) -> Service:
    renderer = VolumeRenderer()
    # A read needs the state, the waiters and the barrier; nothing else of a registry is asked for.
    return Service(cast(Registry, front), SETTINGS, renderer, VolumeLists())


def _question(asked: Asked, service: Service) -> Question:
    question = asked.read.ask(Call(service, Query(asked.query), asked.ids))
    assert not isinstance(question, Reply)
    return question


def _at_once(work: Coroutine[Any, Any, Reply]) -> Reply:
    """The result of what has no reason to wait."""
    try:
        work.send(None)
    except StopIteration as end:
        reply: Reply = end.value
        return reply
    raise AssertionError("an answer of this size is made in one go")
