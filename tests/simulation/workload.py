"""Clients that write and read on all servers, retry and give up; what they saw is the history to be explained."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec

from cluster.api import Applied, Barrier, LogError, NoLeader, NotApplied, ReadMode, Unknown
from cluster.log import ReplicatedLog
from tests.simulation.front import SETTINGS, Asked
from tests.simulation.server import Lost, Server
from tests.simulation.watchers import Watchers
from volstore.core.errors import ApiError
from volstore.drill.linearizability import Operation, TooManyStates, linearizable, register
from volstore.http.endpoints import volumes

if TYPE_CHECKING:
    from tests.simulation.world import World

_KEY_LIVES = 120
"""Operations on one key before another one takes its place: the checker's work grows faster than a history."""
_GRACE = 2.0
"""Seconds that a client waits for an answer after its deadline: none comes when the server is gone."""


def _seconds(server: Server) -> float:
    """What its wall clock shows, in seconds since the run began."""
    return server.world.scheduler.now + server.wall_ahead / 1e9


class Workload:
    def __init__(self, world: World, random: Random, *, keys: int = 4) -> None:
        self.world = world
        self.histories: dict[str, list[Operation]] = defaultdict(list)
        self.stopping = False
        self.answered = 0
        self.unknown = 0
        self._random = random
        self._keys = [f"k{number}" for number in range(keys)]
        self._epochs = [0] * keys
        self._value = 0
        self._background = 0
        self.prepared: asyncio.Future[None] = world.root.create_future()
        self.watchers = Watchers(world, self, Random(random.getrandbits(64)))

    def start(self) -> None:
        self.world.spawn(self._prepare)
        for _ in range(self.world.settings.clients):
            self.world.spawn(partial(self._client, Random(self._random.getrandbits(64))))
        self.world.spawn(lambda: self._noise(Random(self._random.getrandbits(64))))
        if self.world.settings.registry:
            self.watchers.start()
            self.world.spawn(self._tokens)

    def present_key(self, random: Random) -> str:
        """One of the keys that are written to now."""
        number = random.randrange(len(self._keys))
        return f"{self._keys[number]}.{self._epochs[number]}"

    def _key(self, random: Random) -> str:
        key = self.present_key(random)
        if len(self.histories[key]) >= _KEY_LIVES:
            self._epochs[self._keys.index(key.partition(".")[0])] += 1
        return key

    async def _client(self, random: Random) -> None:
        world = self.world
        await asyncio.shield(self.prepared)
        while not self.stopping:
            await asyncio.sleep(2 * world.settings.think * random.random())
            server = random.choice(list(world.servers.values()))
            kind = random.random()
            if kind < 0.4:
                await self._read(random, server)
            elif kind < 0.5:
                await self._stale_read(random, server)
            else:
                await self._write(random, server)

    async def _tokens(self) -> None:
        await asyncio.shield(self.prepared)
        await self.world.clocks.make_tokens(Random(self.world.settings.seed + 2), lambda: self.stopping)

    async def _prepare(self) -> None:
        """See to it that what all other commands need has been applied."""
        world, attempt = self.world, 0
        while (command := world.flavour.first(world.scheduler.now + 1e-6 * attempt)) is not None:
            attempt += 1
            server = list(world.servers.values())[attempt % len(world.servers)]
            if isinstance(await self._propose(server, command, 2.0), Applied):
                break
            await asyncio.sleep(0.2)
        while not self._is_prepared():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.05)
        self.prepared.set_result(None)

    def _is_prepared(self) -> bool:
        world = self.world
        return any(server.ready and world.flavour.prepared(server.machine) for server in world.servers.values())

    async def _noise(self, random: Random) -> None:
        """Load beside the registers, so that logs grow and snapshots are due."""
        world = self.world
        await asyncio.shield(self.prepared)
        while not self.stopping:
            await asyncio.sleep(2 * world.settings.think * random.random())
            server = random.choice(list(world.servers.values()))
            self._background += 1
            number = self._background
            command = world.flavour.background(number, _seconds(server) + number * 1e-6)
            await self._propose(server, command, 2.0)

    async def _propose(
        self, server: Server, command: bytes, patience: float, hangs_up: float | None = None
    ) -> Applied | NotApplied | Unknown:
        """Raises nothing: what is lost is unknown, and so is what the client doesn't wait for."""
        world = self.world

        async def work(log: ReplicatedLog) -> Applied | NotApplied | Unknown:
            loop = server.loop
            assert loop is not None
            deadline = loop.time() + patience
            paused_before = server.pauses
            outcome = await log.propose(command, deadline)
            if loop.time() > deadline + 1 and server.pauses == paused_before:
                world.violated("deadline", f"{server.name} answered {loop.time() - deadline:.3f} s after the deadline")
            world.observer.answered(command, outcome)
            return outcome

        loop, pauses, paused = server.loop, server.pauses, server.paused
        try:
            async with asyncio.timeout(patience + _GRACE if hangs_up is None else hangs_up):
                outcome = await server.ask(work)
        except Lost:
            return Unknown("lost")
        except TimeoutError:
            if hangs_up is None and loop is server.loop and server.up and server.pauses == pauses and not paused:
                world.violated("deadline", f"{server.name} has no answer {_GRACE} s after the deadline")
            return Unknown("lost")
        if isinstance(outcome, Applied):
            world.last_applied_at = world.scheduler.now
        return outcome

    async def _write(self, random: Random, server: Server) -> None:
        world, flavour = self.world, self.world.flavour
        key = self._key(random)
        self._value += 1
        number, value = self._value, f"v{self._value}"
        kind = random.random()
        input: tuple[object, ...] = ("write", value)
        if kind < 0.15:
            input = ("delete",)
        elif kind < 0.4 and not flavour.retries:
            history = self.histories[key]
            guess = history[-1].input[-1] if history and history[-1].input[0] == "write" else None
            input = ("cas", guess, value)
        patience = random.choice((0.3, 1.0, 3.0))
        start = world.scheduler.now
        attempt = 0
        exposed = False
        while True:
            attempt += 1
            command = flavour.command(key, input, f"t{number}", _seconds(server) + 1e-6 * attempt)
            hangs_up = 0.02 * random.random() if random.random() < 0.05 else None
            outcome = await self._propose(server, command, patience, hangs_up)
            if isinstance(outcome, Applied):
                self.answered += 1
                self.watchers.floor = max(self.watchers.floor, flavour.index(outcome.result))
                output = flavour.output(input, outcome.result)
                self.histories[key].append(Operation(start, world.scheduler.now, input, output))
                return
            exposed = exposed or isinstance(outcome, Unknown)
            # Repeating is only safe where the state machine knows the request again.
            if not flavour.retries or attempt >= 3 or self.stopping:
                break
            server = random.choice(list(world.servers.values()))
            await asyncio.sleep(0.05)
        if exposed:
            self.unknown += 1
            self.histories[key].append(Operation(start, None, input))

    async def _read(self, random: Random, server: Server) -> None:
        world, key = self.world, self._key(random)
        patience = random.choice((0.3, 1.0, 3.0))
        start = world.scheduler.now

        mode = random.choice(("", "consistent"))

        async def work(log: ReplicatedLog) -> object:
            loop, front = server.loop, server.front
            assert loop is not None
            deadline = loop.time() + (patience if front is None else SETTINGS.deadline)
            paused_before = server.pauses
            try:
                if front is None:
                    await log.read_barrier(ReadMode.LINEARIZABLE, deadline)
                    return world.flavour.read(server.machine, key)
                reply, _waiting = await front.get(Asked(volumes.READ, (key,), mode))
                return None if reply.json is None else msgspec.json.decode(reply.json.raw)["Name"]
            finally:
                if not loop.dead and loop.time() > deadline + 1 and server.pauses == paused_before:
                    world.violated("deadline", f"{server.name} answered a read {loop.time() - deadline:.3f} s late")

        try:
            async with asyncio.timeout(patience + 2):
                value = await server.ask(work)
        except (Lost, TimeoutError, NoLeader, LogError, ApiError):
            return
        self.answered += 1
        self.histories[key].append(Operation(start, world.scheduler.now, ("read",), value))

    async def _stale_read(self, random: Random, server: Server) -> None:
        """What a stale read shows never goes back on one node, and is no older than it claims."""
        world = self.world

        async def work(log: ReplicatedLog) -> None:
            barrier: Barrier = await log.read_barrier(ReadMode.STALE, 0.0)
            applied = log.status().applied_index
            if applied < server.stale_index:
                world.violated("stale goes on", f"{server.name} went back from {server.stale_index} to {applied}")
            server.stale_index = applied
            if barrier.known_leader and server.node is not None:
                world.observer.ages.check(server, server.node, barrier.last_contact)

        try:
            async with asyncio.timeout(5):
                await server.ask(work)
        except (Lost, TimeoutError):
            return

    def judge(self) -> None:
        """At the end: is there an order that explains every answer?"""
        for key, history in self.histories.items():
            try:
                explained = linearizable(history, register)
            except TooManyStates as error:
                self.world.trace.note("WORLD", "UNDECIDED", key=key, reason=str(error))
                continue
            if explained is not None:
                rest = [operation for operation in history if operation not in explained]
                following = sorted(rest, key=lambda o: o.end if o.end is not None else 1e9)[:3]
                self.world.violated(
                    "linearizable",
                    f"{key}: after {explained[-2:]} nothing explains {following} ({len(history)} in all)",
                )
                return
