"""Virtual time: one scheduler for the whole world, and an asyncio loop per process on it, each with its own clock.

Nothing ever waits: when nothing is due, time jumps to the next timer. What is due at one instant runs in the order
in which it was scheduled, so that a run depends on nothing but its inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

T = TypeVar("T")

BUSY = 100_000
"""Steps within one virtual second that are no work but a loop without end: some 700 rounds go through a log in that
time, and a leader may look 40 times whether more commands come before it begins one."""
_EARLY = 1e-6
"""Seconds by which a timer may fire early, from rounding between a node's clock and true time."""


class Scheduler:
    """True time, in seconds from 0, and what is to be done in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self.stopped = False
        self.busy: Callable[[], None] | None = None
        """Called when time doesn't get on."""
        self._second = (0.0, 0)
        self._timers: list[tuple[float, int, asyncio.Handle, NodeLoop]] = []
        self._ready: deque[tuple[asyncio.Handle, NodeLoop]] = deque()
        self._sequence = 0

    def push(self, when: float, handle: asyncio.Handle, loop: NodeLoop) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle, loop))

    def push_now(self, handle: asyncio.Handle, loop: NodeLoop) -> None:
        self._ready.append((handle, loop))

    def run(self, until: float) -> None:
        """Let time pass up to `until`, or until somebody sets `stopped`."""
        timers, ready = self._timers, self._ready
        try:
            while not self.stopped:
                while timers and timers[0][0] <= self.now:
                    _when, _sequence, handle, loop = heapq.heappop(timers)
                    ready.append((handle, loop))
                if ready:
                    handle, loop = ready.popleft()
                    if not handle.cancelled():
                        self.steps += 1
                        loop.execute(handle)
                    if self.steps > self._second[1] + BUSY:
                        self._check_pace()
                elif timers and timers[0][0] <= until:
                    self.now = timers[0][0]
                else:
                    self.now = until
                    return
        finally:
            events._set_running_loop(None)

    def _check_pace(self) -> None:
        if self.now < self._second[0] + 1.0 and self.busy is not None:
            self.busy()
        self._second = (self.now, self.steps)


class NodeLoop:
    """As much of asyncio's loop as a process needs. It can be paused, and it can die.

    `offset` and `rate` make its clock: `offset + rate * true time`. `failed` hears of what asyncio would only log.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        offset: float = 0.0,
        rate: float = 1.0,
        failed: Callable[[BaseException], None],
        after: Callable[[], None] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.face = cast(asyncio.AbstractEventLoop, self)
        """This loop, for asyncio's own classes, which ask for no more than what is here."""
        self.dead = False
        self._offset = offset
        self._rate = rate
        self._failed = failed
        self._after = after
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 256
        self._paused = False
        self._frozen_at: float | None = None
        self.was_frozen = False
        self._withheld: list[asyncio.Handle] = []

    # Asyncio's side.

    def time(self) -> float:
        if self._frozen_at is not None:
            return self._frozen_at
        return self._offset + self._rate * self.scheduler.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self.face, context or copy_context())
        if not self.dead:
            self.scheduler.push_now(handle, self)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self.face, context or copy_context())
        if not self.dead:
            self.scheduler.push(self._true(when), handle, self)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.face)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self.face, name=name or "task", context=context)
        if self.dead:
            # What is dropped by `kill` may begin work that nobody will do.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch, untyped
            coro.close()
            return task
        self._tasks.append(task)
        if len(self._tasks) >= self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = 2 * len(self._tasks) + 256
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self._failed(context.get("exception") or RuntimeError(context["message"]))

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Asyncio tells when a timer is cancelled; the scheduler skips it when it is due."""

    # The world's side.

    def execute(self, handle: asyncio.Handle) -> None:
        if self.dead:
            return
        if self._paused:
            self._withheld.append(handle)
            return
        if isinstance(handle, asyncio.TimerHandle) and handle.when() > self.time() + _EARLY:
            # The clock stood still for a while.
            self.scheduler.push(self._true(handle.when()), handle, self)
            return
        events._set_running_loop(self.face)
        handle._run()
        if self._after is not None:
            self._after()

    def pause(self, *, freeze: bool) -> None:
        """Do nothing until `resume`, as after SIGSTOP; with `freeze` the clock stands still too, as a paused VM's."""
        if not self._paused:
            self._paused = True
            self._frozen_at = self.time() if freeze else None
            self.was_frozen = self.was_frozen or freeze

    @property
    def paused(self) -> bool:
        return self._paused

    def resume(self) -> None:
        if not self._paused:
            return
        if self._frozen_at is not None:
            self._offset = self._frozen_at - self._rate * self.scheduler.now
        self._paused, self._frozen_at = False, None
        withheld, self._withheld = self._withheld, []
        for handle in withheld:
            self.scheduler.push_now(handle, self)

    def kill(self) -> None:
        """End the process: none of its code runs any more but what Python runs when a coroutine is dropped, which
        finds the loop, the disk and the network of this process dead."""
        self.dead = True
        self._withheld.clear()
        tasks, self._tasks = self._tasks, []
        running = events._get_running_loop()
        events._set_running_loop(self.face)
        for task in tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch, untyped
            coroutine = cast("Coroutine[Any, Any, Any]", task.get_coro())
            # One that awaits while it is dropped, or fails on the dead disk, isn't heard any more.
            with contextlib.suppress(Exception):
                coroutine.close()
        events._set_running_loop(running)

    def true_time(self, local: float) -> float:
        """What true time it was, or will be, when this loop's clock shows `local`, if it isn't frozen meanwhile."""
        return (local - self._offset) / self._rate

    def _true(self, when: float) -> float:
        return max(self.scheduler.now, self.true_time(when))
