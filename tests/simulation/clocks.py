"""Wall clocks that are wrong, and what must hold whatever they show: of keys, of tokens, of what is swept.

Time that passed in truth is the scheduler's. Each node measures by its loop's clock, which drifts a little; the wall
clock beside it is set to anything, for good or for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from cluster.api import LogError, NoLeader
from cluster.log import ReplicatedLog
from tests.simulation.duties import NODE_GC_THRESHOLD
from tests.simulation.server import Lost
from volstore.agent import timekeeping
from volstore.core import commands, idempotency, logtime
from volstore.core.acl.commands import PutAclToken
from volstore.core.commands import AdvanceTime, Command, SetNodeStatus, Stamped, SweepNode
from volstore.core.errors import ApiError
from volstore.core.holders import running_on

if TYPE_CHECKING:
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World

YEARS = 10 * 365 * 86_400 * 10**9
_DEADLINE = 2.0
_TTL = 3.0
_SLACK = 0.05
"""Seconds between what a node measures and what is checked: the way of an answer."""


async def jump(world: World, fault: Fault) -> None:
    """One wall clock, or all, goes ten years forward or back; a while later it is right again, or stays so."""
    found = world.find(fault.who)
    servers = list(world.servers.values()) if fault.amount < 0.3 or found is None else [found]
    offset = YEARS if Random(fault.amount).random() < 0.6 else -YEARS
    for server in servers:
        server.wall_ahead = offset
    if fault.amount < 0.8:
        await asyncio.sleep(fault.duration)
        for server in servers:
            server.wall_ahead = 0


@dataclass(slots=True)
class _Made:
    """A token: when its request began, when it was acknowledged, and the index at which it was made.

    `late`: how long after the first node the asked one had applied the latest move of log time. It measures from
    then, and takes log time for newer than it is by as much.
    """

    secret_hash: bytes
    began: float
    acknowledged: float
    index: int
    late: float


class Clocks:
    """Judges every command when it is applied first, and tokens all the time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[bytes, float] = {}
        self._late: dict[str, float] = {}
        self._keys: dict[tuple[str, str], tuple[int, float]] = {}
        self._down: dict[str, float] = {}
        self._tokens: list[_Made] = []
        self.swept = 0

    @property
    def _slowest(self) -> float:
        """How much of the true time the slowest clock measures, at least."""
        return (1 - self._world.settings.drift) / (1 + self._world.settings.drift)

    def applying(self, server: Server, command: bytes) -> Callable[[bytes], None] | None:
        """What judges the result, where this is the first time that anybody applies it."""
        stamped, state, applied = commands.decode(command), server.machine.fsm.state, self._world.scheduler.now
        first = self._seen.get(command)
        if isinstance(stamped.command, AdvanceTime):
            self._late[server.name] = 0.0 if first is None else applied - first
        if first is not None:
            return None
        self._seen[command] = applied
        before = {id: node.status for id in self._ids(stamped.command) if (node := state.node(id)) is not None}
        running = running_on(state, stamped.command.id) if isinstance(stamped.command, SweepNode) else None
        log_time, measured = state.log_time, state.timers.measured

        def judge(result: bytes) -> None:
            outcome, now, after = commands.decode_outcome(result), self._world.scheduler.now, server.machine.fsm.state
            if measured and not 0 <= after.log_time - log_time <= logtime.MAX_STEP:
                self._world.violated("log time", f"it went from {log_time} to {after.log_time}")
            self._judge_key(stamped, outcome, now)
            if isinstance(stamped.command, SweepNode) and outcome.status == 200:
                self._judge_sweep(stamped.command, running is not None, now)
            for id in self._ids(stamped.command):
                node = after.node(id)
                if node is None or node.status != "down":
                    self._down.pop(id, None)
                elif before.get(id) != "down":
                    self._down[id] = now

        return judge

    @staticmethod
    def _ids(command: Command) -> tuple[str, ...]:
        if isinstance(command, commands.PutNode):
            return (command.node.id,)
        return (command.id,) if isinstance(command, SetNodeStatus | commands.DeleteNode | SweepNode) else ()

    def _judge_key(self, stamped: Stamped, outcome: commands.Outcome, now: float) -> None:
        key = stamped.idempotency
        if key is None:
            return
        first = self._keys.setdefault((key.caller, key.key), (outcome.index, now))
        kept = idempotency.KEPT_FOR / 1e9 * self._slowest
        if outcome.index != first[0]:
            if now - first[1] < kept:
                self._world.violated("keys are kept", f"{key.key} of index {first[0]} is applied again {outcome.index}")
            self._keys[key.caller, key.key] = (outcome.index, now)

    def _judge_sweep(self, command: SweepNode, running: bool, now: float) -> None:
        self.swept += 1
        if running:
            self._world.violated("what runs stays", f"{command.id} is swept, and an allocation there has not ended")
        if (down := self._down.get(command.id)) is None or now - down < NODE_GC_THRESHOLD * self._slowest:
            self._world.violated("swept in time", f"{command.id} is swept, down since {down}")

    # Tokens.

    async def make_tokens(self, random: Random, stopping: Callable[[], bool]) -> None:
        """Through any server, all the time, each with a TTL."""
        number = 0
        while not stopping():
            await asyncio.sleep(random.random())
            number += 1
            await self.make(random.choice(list(self._world.servers.values())), f"token {number}")

    async def make(self, server: Server, name: str) -> _Made | None:
        began, secret_hash = self._world.scheduler.now, name.encode()
        late = self._late.get(server.name, 0.0)
        measured = server.machine.fsm.state.timers.measured  # before that, TTLs follow the stamps of requests
        command = PutAclToken(name, secret_hash, name, "management", ttl=round(_TTL * 1e9))

        async def work(log: ReplicatedLog) -> commands.Outcome | None:
            assert server.duties is not None
            return await server.duties.submit(command, asyncio.get_running_loop().time() + _DEADLINE)

        try:
            async with asyncio.timeout(5):
                outcome = await server.ask(work)
        except (Lost, TimeoutError, LogError, NoLeader, ApiError):
            return None
        if outcome is None or outcome.status != 200 or not measured:
            return None
        made = _Made(secret_hash, began, self._world.scheduler.now, outcome.index, late)
        self._tokens.append(made)
        return made

    def look(self, server: Server) -> None:
        """After a step of this node: no token has ended too early on it."""
        now, machine = self._world.scheduler.now, server.machine
        lives = (_TTL - timekeeping.LOOK_EVERY) * self._slowest - _SLACK
        while self._tokens and self._tokens[0].began + lives < now - 1:
            self._tokens.pop(0)
        for made in self._tokens:
            ends = made.began + lives - made.late
            if made.index <= machine.fsm.state.index and now < ends and not self._works(server, made):
                self._world.violated("tokens live", f"{made.secret_hash!r} ended after {now - made.began:.3f} s")

    @staticmethod
    def _works(server: Server, made: _Made) -> bool:
        state, clock = server.machine.fsm.state, server.machine.clock
        return state.access.token_of(made.secret_hash, clock.now(state)) is not None

    async def judge_at_peace(self, servers: list[Server]) -> None:
        """Nothing goes wrong any more: a token ends on every node when it should."""
        made = None
        for attempt in range(20):
            if (made := await self.make(servers[attempt % len(servers)], f"last token {attempt}")) is not None:
                break
        if made is None:
            self._world.violated("tokens end", "none can be made")
            return
        late = _TTL / self._slowest + 2 * timekeeping.LOOK_EVERY + _SLACK
        await asyncio.sleep(made.acknowledged + late - self._world.scheduler.now)
        for server in servers:
            if server.ready and server.up and self._works(server, made):
                self._world.violated("tokens end", f"one of {_TTL} s lives on {server.name} after {late:.3f} s")
