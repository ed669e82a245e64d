"""Measures log time (logtime.py) on one member, and advances it while the member leads.

The clock is the event loop's, which is monotonic: nobody can set it, and it stands still while the machine sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from volstore.core.acl.commands import PutAclToken
from volstore.core.attach.commands import ReportOutcome
from volstore.core.commands import AdvanceTime, Command
from volstore.core.errors import NoLeader, NotKnownToAll, Overloaded
from volstore.core.logtime import MAX_STEP, TICK_EVERY
from volstore.core.state import State
from volstore.http.registry import Registry

LOOK_EVERY = 1.0
"""Seconds between two checks whether log time must advance, and the maximal age of log time where it matters."""
_DEADLINE = 10.0
_MEASURES = 5
"""Attempts to measure before a command: others advance log time once in many seconds."""

MEASURED = (PutAclToken, ReportOutcome)
"""Commands that may need a measure first."""


class LogClock:
    """The time since log time advanced last, as this member saw it.

    `clock` is monotonic, in seconds. `wall` is the time of day in nanoseconds since 1970; no measurement uses it.
    """

    __slots__ = ("_at", "_clock", "base", "measured", "wall")

    def __init__(self, clock: Callable[[], float], wall: Callable[[], int]) -> None:
        self._clock = clock
        self.wall = wall
        self._at = clock()
        self.base = 0
        """The last log time."""
        self.measured = False
        """Whether measured time has begun."""

    def follow(self, state: State) -> None:
        """Start again at a new log time, or as measured time begins. Call this at once; time that passed on other
        members before doesn't count.
        """
        self.base, self.measured, self._at = state.log_time, state.timers.measured, self._clock()

    def elapsed(self) -> int:
        """A lower bound of the nanoseconds since log time advanced."""
        return max(0, int((self._clock() - self._at) * 1e9))

    def now(self, state: State) -> int:
        """The log time that a measurement now would give. Before measured time began it follows the wall clock."""
        if state.timers.measured:
            return state.log_time + self.elapsed()
        return max(self.wall(), state.log_time)

    def needed_before(self, command: Command, state: State) -> AdvanceTime | None:
        """The command that must be applied before `command`, if any, so that a new token's TTL counts from now, and so
        that the pause before a controller's call is made again isn't too short.

        For a token however little this member measured: it may have started after log time advanced last. From this
        command on all members measure anew, so that no later leader adds time from before the token.
        """
        if type(command) not in MEASURED:
            return None
        token = isinstance(command, PutAclToken) and bool(command.ttl)
        outcome = isinstance(command, ReportOutcome) and self.elapsed() > LOOK_EVERY * 1e9
        if not (token or outcome) or not state.timers.measured:
            return None
        return self.measure(state)

    async def prepare(self, command: Command, state: State, submit: Callable[[AdvanceTime], Awaitable[object]]) -> None:
        """Have applied what is needed before `command`. A measure from another moment that came first voids ours: then
        this member measures again. Raises NoLeader if that happens too often.
        """
        for _ in range(_MEASURES):
            first = self.needed_before(command, state)
            if first is None:
                return
            await submit(first)
            if state.log_time - first.base == min(first.elapsed, MAX_STEP):
                return
        raise NoLeader(may_happen=False)

    def measure(self, state: State) -> AdvanceTime:
        return AdvanceTime(state.log_time, self.elapsed())


def is_due(state: State, elapsed: int, down_for: int) -> bool:
    """Whether log time must advance, `elapsed` nanoseconds after the last time. Nodes are swept after `down_for`."""
    expiries = (
        state.outcomes.next_expiry(),
        state.access.next_expiry(),
        state.staging.next_expiry(),
        state.attachments.next_due(),
    )
    waited_for = [expiry for expiry in expiries if expiry is not None]
    if waited_for and state.log_time + elapsed >= min(waited_for):
        return True
    return elapsed >= TICK_EVERY and (bool(waited_for) or _waits_for_a_node(state, down_for))


def _waits_for_a_node(state: State, down_for: int) -> bool:
    """Whether a node is down, but not long enough to be swept."""
    last, epoch = state.timers.last_down(), state.timers.epoch
    if last is not None and state.log_time - last < down_for:
        return True
    if epoch is None or state.log_time - epoch.at >= down_for:
        return False
    return any(node.status == "down" for node in state.nodes())


class Timekeeper:
    """Advances log time while this member leads. `term` returns the term in which it leads, otherwise None.

    `began` is called when this member has begun measured time. `failed` is called with a defect, after which the node
    must stop.
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
        """Begin or end the work when this node's role or term changed."""
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
            return  # the next check tries again
        if not measured:
            self._began()
