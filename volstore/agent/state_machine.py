"""The log's state machine: applies each command to the FSM, times it, and wakes the waiters that it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from cluster.api import Captured
from volstore.agent.timekeeping import LogClock
from volstore.core.events import Event
from volstore.core.fsm import Fsm
from volstore.http.server.requests import Histogram
from volstore.http.server.watch import Watch


class WatchedFsm:
    """A `cluster.api.StateMachine`. `applied` is called with the events of each command; `clock` follows log time."""

    def __init__(self, watch: Watch, clock: LogClock) -> None:
        self.fsm = Fsm()
        self.clock = clock
        self.applies = Histogram()
        self.applied: Callable[[Iterable[Event]], None] = lambda events: None
        self._watch = watch

    def apply(self, command: bytes) -> bytes:
        started = time.perf_counter()
        outcome = self.fsm.apply(command)
        self.applies.observe(time.perf_counter() - started)
        state = self.fsm.state
        if state.log_time != self.clock.base or state.timers.measured is not self.clock.measured:
            self.clock.follow(state)
        events = self.fsm.take_events()
        self._watch.notify(events)
        self.applied(events)
        return outcome

    def capture(self) -> Captured:
        return self.fsm.capture()

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        adopt = self.fsm.load(chunks)

        def adopt_and_wake() -> None:
            adopt()
            self.clock.follow(self.fsm.state)
            self._watch.wake_all()

        return adopt_and_wake

    def digest(self) -> bytes:
        return self.fsm.digest()
