"""Runs a drill: start, load, break, heal, read the final state, check. Whatever happens, it heals and stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from random import Random
from typing import Any, Protocol, TypeVar

from volstore.drill.conclusion import Recovery, conclude
from volstore.drill.exchange import Exchange
from volstore.drill.final_state import Final, read_finals
from volstore.drill.health import wait_until_healthy
from volstore.drill.load import Load
from volstore.drill.record import Check, Event, Moment, Request, Result
from volstore.drill.scenario import Gauntlet, Scenario, Step
from volstore.drill.selection import chosen, draw, fault_of
from volstore.drill.target import Fault, FaultKind, Target, TargetError

LEADER_WITHIN = 30.0
"""Seconds to wait for a leader before the next fault."""
WHOLE_WITHIN = 60.0
"""Seconds in which the cluster must be healthy after a fault is healed."""
_TICK = 0.25

T = TypeVar("T")


class Watcher(Protocol):
    """The display of a running drill."""

    def phase(self, text: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def tick(self, moment: Moment) -> None: ...


async def rehearse(
    scenario: Scenario,
    target: Target,
    seed: int,
    progress: Watcher,
    *,
    minutes: float | None = None,
    note: Callable[[Request | Event], None] = lambda _: None,
) -> Result:
    """Run `scenario` on `target`. `minutes` overrides a gauntlet's. `note` is called with each request and event.

    Raises TargetError and LoadFailed if the drill can't begin; later failures are in the result. In each case, and when
    it is cancelled, it heals and stops everything.
    """
    drill = _Drill(scenario, target, seed, progress, note)
    try:
        result = await drill.run(minutes)
    except BaseException as error:
        if failures := await _finish(drill.end()):
            raise TargetError("; ".join([str(error) or "interrupted", *failures])) from error
        raise
    failures = await _finish(drill.end())
    left = [Check("Everything was healed", False, "; ".join(failures))] if failures else []
    return replace(result, checks=[*result.checks, *left])


def possible(gauntlet: Gauntlet, target: Target) -> list[FaultKind]:
    """The kinds of faults of a gauntlet that are possible on `target`, for every node."""
    return [
        kind
        for kind in gauntlet.kinds
        if all(target.cannot(Fault(kind, (node.name,))) is None for node in target.nodes)
    ]


async def _finish(ending: Coroutine[Any, Any, T]) -> T:
    """Finish despite cancellation: a second Ctrl-C must not leave anything broken."""
    task = asyncio.create_task(ending, name="ending")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.result()
        raise cancelled
    return task.result()


class _Drill:
    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        seed: int,
        progress: Watcher,
        note: Callable[[Request | Event], None],
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.seed = seed
        self.progress = progress
        self._note = note
        self._random = Random(seed)
        self._began = time.monotonic()
        self._started = time.time()
        self._events: list[Event] = []
        self._standing: list[tuple[Fault, tuple[str, ...]]] = []
        self._recoveries: list[Recovery] = []
        self._ended_early = ""
        self._load: Load | None = None
        self._exchange: Exchange | None = None
        self._ticking: asyncio.Task[None] | None = None

    def now(self) -> float:
        return time.monotonic() - self._began

    # Phases.

    async def run(self, minutes: float | None) -> Result:
        self._phase("starting the cluster")
        await self.target.start()
        self._exchange = Exchange(self.target.access)
        self._load = load = Load(
            self.target.nodes,
            self.scenario.load,
            self.seed,
            self.now,
            access=self.target.access,
            note=self._happened,
        )
        self._phase("waiting for a steady load")
        await load.start()
        self._ticking = asyncio.create_task(self._tick(load), name="progress")
        await load.steady()
        try:
            for step in self._steps(minutes):
                await self._step(load, step)
                load.raise_defects()
            await self._heal_standing(load)
        except TargetError as error:
            # The record so far is still worth checking.
            self._ended_early = str(error)
            self._happened(Event(self.now(), "note", f"the drill ends early: {error}"))
            await self._heal_standing(load, at_last=True)
        self._phase("waiting for the last requests")
        await load.stop()
        self._phase("reading the final state of every node")
        finals = await read_finals(self.target.nodes, self.target.access, load.prefix)
        seconds = self.now()
        self._phase("checking the promises")
        result = await asyncio.to_thread(self._result, load, finals, seconds)
        if not result.passed:
            self._happened(Event(self.now(), "note", await self.target.keep()))
        return result

    async def end(self) -> list[str]:
        """Heal and stop, each even if the other fails. Returns what could not be healed."""
        if self._ticking is not None:
            self._ticking.cancel()
        failures: list[str] = []
        try:
            failures = await self.target.heal_all()
        finally:
            try:
                if self._load is not None:
                    await self._load.stop(at_once=True)
                if self._exchange is not None:
                    await self._exchange.close()
            finally:
                self.progress.phase("stopping the cluster")
                await self.target.stop()
        return failures

    # Steps.

    def _steps(self, minutes: float | None) -> Iterator[Step]:
        """The steps of the file, then drawn steps until the time is over."""
        yield from self.scenario.steps
        gauntlet = self.scenario.gauntlet
        if gauntlet is not None:
            end = self.now() + 60 * (gauntlet.minutes if minutes is None else minutes)
            kinds = possible(gauntlet, self.target)
            for kind in gauntlet.kinds:
                if kind not in kinds:
                    self._happened(Event(self.now(), "note", f"without {kind}, which is impossible here"))
            while self.now() < end:
                yield draw(gauntlet, kinds, len(self.target.nodes), self._random)

    async def _step(self, load: Load, step: Step) -> None:
        if step.kind is None:
            assert step.lasts is not None
            self._phase(f"load alone for {step.lasts:g} s")
            await asyncio.sleep(step.lasts)
            return
        if step.heals:
            for fault, names in [one for one in self._standing if one[0].kind is step.kind]:
                await self._heal(load, fault, names)
            return
        groups = chosen(step.target, [node.name for node in self.target.nodes], await self._leader(load), self._random)
        for names in groups:
            fault = fault_of(step, names)
            self._phase(f"{fault}")
            await self._break(load, fault)
            if step.lasts is not None:
                await asyncio.sleep(step.lasts)
                await self._heal(load, fault, names)

    async def _leader(self, load: Load) -> str:
        end = self.now() + LEADER_WITHIN
        while load.leader is None:
            if self.now() > end:
                raise TargetError(f"there was no leader within {LEADER_WITHIN:g} s, so the next fault was impossible")
            await asyncio.sleep(0.02)
        return load.leader

    async def _break(self, load: Load, fault: Fault) -> None:
        if why := self.target.cannot(fault):
            raise TargetError(f"{fault} is impossible: {why}")
        self._standing.append((fault, fault.nodes))
        leads = [name for name in fault.nodes if name == load.leader]
        text = f"{fault}, which leads" if leads == list(fault.nodes) else str(fault)
        if fault.kind.silences:
            for name in fault.nodes:
                load.expect_down(name, restarts=fault.kind.ends_process, pauses=fault.kind is FaultKind.PAUSE)
        alone = fault.nodes[0] if len(fault.nodes) == 1 else None
        self._happened(Event(self.now(), "fault", text, alone, fault.nodes))
        await self.target.do(fault)

    async def _heal(self, load: Load, fault: Fault, names: tuple[str, ...]) -> None:
        """Heal a fault and wait until the cluster is healthy. From then on the nodes should answer again."""
        await self.target.heal(fault)
        self._standing.remove((fault, names))
        healed = self.now()
        alone = names[0] if len(names) == 1 else None
        self._happened(Event(healed, "heal", str(fault), alone, names))
        self._phase("waiting until the cluster is healthy")
        broken = {name for _, others in self._standing for name in others}
        assert self._exchange is not None
        left = [node for node in self.target.nodes if node.name not in broken]
        wrong = await wait_until_healthy(self._exchange, left, WHOLE_WITHIN)
        took = self.now() - healed
        self._recoveries.append(Recovery(str(fault), took, wrong))
        self._happened(Event(self.now(), "note", wrong or f"the cluster is healthy again after {took:.1f} s"))
        for name in names:
            if name not in broken:
                load.expect_up(name)

    async def _heal_standing(self, load: Load, *, at_last: bool = False) -> None:
        """Heal what the steps left broken. `at_last`: leave failures to `end`, which tries once more."""
        for fault, names in list(self._standing):
            try:
                await self._heal(load, fault, names)
            except TargetError as error:
                if not at_last:
                    raise
                self._happened(Event(self.now(), "note", f"{fault} could not be healed: {error}"))

    # Events.

    def _phase(self, text: str) -> None:
        self._happened(Event(self.now(), "phase", text))

    def _happened(self, one: Request | Event) -> None:
        self._note(one)
        if isinstance(one, Event):
            self._events.append(one)
            self.progress.event(one)

    async def _tick(self, load: Load) -> None:
        while True:
            self.progress.tick(load.rates())
            await asyncio.sleep(_TICK)

    def _result(self, load: Load, finals: list[Final], seconds: float) -> Result:
        return conclude(
            self.scenario,
            self.target.describe(),
            [node.name for node in self.target.nodes],
            self.seed,
            self._started,
            seconds,
            load,
            finals,
            self._events,
            self._recoveries,
            self._ended_early,
        )
