"""How one member measures log time (logtime.py), and what it does about it while it leads.

The clock is the event loop's, which is monotonic: nobody can set it, and it stands still while its machine sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volstore.core.acl.commands import PutAclToken
from volstore.core.commands import AdvanceTime, Command
from volstore.core.errors import NoLeader, NotKnownToAll, Overloaded
from volstore.core.logtime import TICK_EVERY
from volstore.core.state import State
from volstore.http.registry import Registry

LOOK_EVERY = 1.0
"""Seconds between two looks of the leader whether log time must move, and how old log time may be where it matters."""
_DEADLINE = 10.0


class LogClock:
    """Since when log time has been what it is, as this member saw it.

    `clock` is monotonic, in seconds. `wall` is the time of day in nanoseconds since 1970; nothing measured rests on it.
    """

    __slots__ = ("_at", "_clock", "base", "wall")

    def __init__(self, clock: Callable[[], float], wall: Callable[[], int]) -> None:
        self._clock = clock
        self.wall = wall
        self._at = clock()
        self.base = 0
        """The log time that was seen last."""

    def follow(self, log_time: int) -> None:
        """To be called as soon as log time moved here. Whatever passed on other members before is not counted."""
        self.base, self._at = log_time, self._clock()

    def elapsed(self) -> int:
        """Nanoseconds since log time moved, at least: more may have passed, never less."""
        return max(0, int((self._clock() - self._at) * 1e9))

    def now(self, state: State) -> int:
        """What log time would be if it were measured now. Before the measured time began it follows the wall clock."""
        if state.timers.measured:
            return state.log_time + self.elapsed()
        return max(self.wall(), state.log_time)

    def needed_before(self, command: Command, state: State) -> AdvanceTime | None:
        """The measure that must be applied before `command`, so that what begins with it won't end too late: a token
        with a TTL."""
        if type(command) is not PutAclToken or not command.ttl or not state.timers.measured:
            return None
        return self.measure(state) if self.elapsed() > LOOK_EVERY * 1e9 else None

    def measure(self, state: State) -> AdvanceTime:
        return AdvanceTime(state.log_time, self.elapsed())


def is_due(state: State, elapsed: int, down_for: int) -> bool:
    """Whether log time must move, `elapsed` nanoseconds after it did last; nodes are swept after `down_for` of them."""
    expiries = (state.outcomes.next_expiry(), state.access.next_expiry(), state.staging.next_expiry())
    waited_for = [expiry for expiry in expiries if expiry is not None]
    if waited_for and state.log_time + elapsed >= min(waited_for):
        return True
    return elapsed >= TICK_EVERY and (bool(waited_for) or _waits_for_a_node(state, down_for))


def _waits_for_a_node(state: State, down_for: int) -> bool:
    """Whether a node is down that hasn't been so for long enough to be swept."""
    last, epoch = state.timers.last_down(), state.timers.epoch
    if last is not None and state.log_time - last < down_for:
        return True
    if epoch is None or state.log_time - epoch.at >= down_for:
        return False
    return any(node.status == "down" for node in state.nodes())


class Timekeeper:
    """Has log time move while this member leads. `term` is the one in which it does, None while it doesn't.

    `began` is called when the measured time began by its doing. `failed` is called with a defect: the node must end.
    """

    def __init__(
        self,
        registry: Registry,
        clock: LogClock,
        *,
        term: Callable[[], int | None],
        node_gc_threshold: float,
        failed: Callable[[BaseException], None],
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._term = term
        self._down_for = round(node_gc_threshold * 1e9)
        self._failed = failed
        self._began = began
        self._led_term: int | None = None
        self._task: asyncio.Task[None] | None = None

    def leadership_changed(self) -> None:
        """Role, term or leader changed."""
        term = self._term()
        if term == self._led_term:
            return
        self._led_term = term
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if term is not None:
            self._task = asyncio.get_running_loop().create_task(self._lead())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _lead(self) -> None:
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_EVERY)
        except Exception as error:
            self._failed(error)

    async def _look(self) -> None:
        state = self._registry.state
        measured = state.timers.measured
        if not measured:
            command = AdvanceTime(0, 0, self._clock.wall())
        elif is_due(state, self._clock.elapsed(), self._down_for):
            command = self._clock.measure(state)
        else:
            return
        try:
            await self._registry.submit(command, asyncio.get_running_loop().time() + _DEADLINE)
        except (NoLeader, Overloaded, NotKnownToAll):
            return  # the next look tries again
        if not measured:
            self._began()
