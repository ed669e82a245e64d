"""What a simulated process does by log time while it leads: it keeps time and sweeps, as a real node does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from cluster.api import Applied
from cluster.log import ReplicatedLog
from volstore.agent import sweep
from volstore.agent.state_machine import WatchedFsm
from volstore.agent.timekeeping import LogClock, Timekeeper
from volstore.core import commands
from volstore.core.commands import Command, Stamped
from volstore.core.errors import NoLeader
from volstore.core.state import State
from volstore.http.registry import Registry

if TYPE_CHECKING:
    from tests.simulation.server import Server

NODE_GC_THRESHOLD = 4.0
"""Seconds, of log time."""
_SWEEP_EVERY = 0.5
_DEADLINE = 2.0


def clock_of(server: Server) -> LogClock:
    """What this process measures by."""
    assert server.loop is not None
    return LogClock(server.loop.time, server.wall)


class Duties:
    """What a leader does by log time, as `Leading` and `Timekeeper` do it on a real node: of one process."""

    def __init__(self, server: Server, log: ReplicatedLog, machine: WatchedFsm) -> None:
        self._server = server
        self._log = log
        self._machine = machine
        self._number = 0
        self._timekeeper = Timekeeper(
            cast(Registry, self),  # it asks for no more than what is here
            machine.clock,
            term=self._term,
            node_gc_threshold=NODE_GC_THRESHOLD,
            failed=self._failed,
        )
        log.on_leadership(self._timekeeper.leadership_changed)

    @property
    def state(self) -> State:
        return self._machine.fsm.state

    def _term(self) -> int | None:
        engine = self._server.node.engine if self._server.node is not None else None
        return engine.term if engine is not None and engine.leads else None

    def _failed(self, error: BaseException) -> None:
        self._server.world.violated("fail-stop", f"{self._server.name}: keeping time failed: {error!r}")

    async def submit(self, command: Command, deadline: float) -> commands.Outcome | None:
        """As `Agent.submit`; None when it isn't known to be applied."""
        await self._machine.clock.prepare(command, self.state, lambda first: self._measured(first, deadline))
        self._number += 1
        # Nanoseconds that make it unlike all others: the observer looks for commands that are applied twice.
        serial = self._number * 1000 + int(self._server.name[1:])
        encoded = commands.encode(Stamped(self._server.wall() + serial, command))
        outcome = await self._log.propose(encoded, deadline)
        self._server.world.observer.answered(encoded, outcome)
        return commands.decode_outcome(outcome.result) if isinstance(outcome, Applied) else None

    async def _measured(self, first: Command, deadline: float) -> None:
        if await self.submit(first, deadline) is None:
            raise NoLeader(may_happen=False)

    async def sweep(self) -> None:
        """Now and then, while this process leads."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            for command in sweep.abandoned(self.state, NODE_GC_THRESHOLD, 10) if self._term() is not None else ():
                await self.submit(command, loop.time() + _DEADLINE)
