"""One run of one seed: draws what it will be, lets it happen, then has faults stop and sees whether all recover."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random

import pytest

from cluster.node import applier
from cluster.raft import leadership, rounds
from tests.simulation import operator
from tests.simulation.faults import CLOCKS, KINDS, STAGED, Fault, draw_kinds, draw_schedule
from tests.simulation.slow import Laggards
from tests.simulation.workload import Workload
from tests.simulation.world import Settings, World
from volstore.agent import timekeeping
from volstore.core import fsm, idempotency, logtime, state


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run depends on. `seconds` of faults, then as long as recovery takes."""

    settings: Settings
    faults: tuple[Fault, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    plan: Plan
    violation: tuple[str, str] | None
    seconds: float
    answered: int
    entries: int
    trace: list[str]
    counts: dict[str, int]
    woken: int
    """Blocking queries that ended because something changed."""
    hung_up: int


Choice = Callable[[Random], dict[str, float]]


def draw_plan(
    seed: int, *, seconds: float = 15.0, kinds: Choice = draw_kinds, changes: Mapping[str, object] | None = None
) -> Plan:
    """A run as the seed has it, but for `changes` of its settings."""
    random = Random(seed)
    settings = Settings(
        seed=seed,
        nodes=random.choice((3, 3, 3, 5)),
        registry=random.random() < 0.4,
        clients=random.choice((2, 4, 8)),
        snapshot_entries=random.choice((20, 60, 200)),
        trailing_entries=random.choice((0, 5, 40)),
        segment_bytes=random.choice((2 << 10, 8 << 10, 64 << 10)),
        message_bytes=random.choice((300, 4 << 10, 64 << 10)),
        drift=random.choice((0.0, 0.001, 0.03)),
        think=random.choice((0.05, 0.15, 0.4)),
    )
    settings = replace(settings, **(changes or {}))  # type: ignore[arg-type]  # fields of any type, by name
    names = [f"n{number + 1}" for number in range(settings.nodes)]
    faults = draw_schedule(random, names, seconds, kinds(random))
    if settings.registry and kinds is draw_kinds:
        faults += draw_schedule(Random(f"clocks {seed}"), names, seconds, dict.fromkeys(CLOCKS, 2.0))
        faults.sort(key=lambda fault: fault.at)
    return Plan(settings, tuple(faults), seconds)


@contextmanager
def _small_sizes(settings: Settings) -> Iterator[None]:
    """Constants that are made for real networks and real days are made small, so that their edges are met."""
    small = (
        (leadership, "MAX_MESSAGE_BYTES", settings.message_bytes),
        (applier, "MARK_EVERY", settings.mark_every),
        (rounds, "MOST", settings.rounds_kept),
        # Longer than any client repeats a write.
        (idempotency, "KEPT_FOR", 20 * 10**9),
        (timekeeping, "TICK_EVERY", 10**9),
        (timekeeping, "LOOK_EVERY", 0.2),
        *((module, "MAX_STEP", 2 * 10**9) for module in (logtime, fsm, state, timekeeping)),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in small]
    for module, name, value in small:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def run(plan: Plan, *, trace: bool = False) -> Result:
    """Let the plan happen. The same plan gives the same result, to the byte of its trace."""
    collecting = gc.isenabled()
    gc.disable()  # When garbage is collected mustn't depend on what ran before.
    try:
        with _small_sizes(plan.settings), pytest.MonkeyPatch.context() as patch:
            if plan.settings.hole is not None:
                plan.settings.hole(patch)
            return _run(plan, trace=trace)
    except Exception as error:
        error.add_note(f"a defect of the simulator, in the run of seed {plan.settings.seed}")
        raise
    finally:
        if collecting:
            gc.enable()


def _run(plan: Plan, *, trace: bool) -> Result:
    world = World(plan.settings, trace=trace)
    try:
        return _lived(world, plan)
    finally:
        for server in world.servers.values():
            if server.loop is not None:
                server.loop.kill()
        for guest in world.guests:
            guest.kill()
        world.root.kill()


def _lived(world: World, plan: Plan) -> Result:
    workload = Workload(world, Random(plan.settings.seed + 1))
    for server in world.servers.values():
        server.start()
    workload.start()
    world.spawn(Laggards(world).watch)
    for fault in plan.faults:
        world.root.call_at(fault.at, _begin, world, fault)
    world.scheduler.run(plan.seconds)
    if world.violation is None:
        world.spawn(lambda: _recover(world, workload))
        world.scheduler.run(plan.seconds + 120.0)
    if world.violation is None:
        workload.judge()
    return Result(
        plan,
        world.violation,
        world.scheduler.now,
        workload.answered + workload.watchers.answered,
        len(world.observer.committed),
        world.trace.lines,
        world.trace.counts,
        workload.watchers.woken,
        workload.watchers.hung_up,
    )


def _begin(world: World, fault: Fault) -> None:
    world.trace.note("FAULT", str(fault))

    async def happen() -> None:
        await (KINDS | STAGED | CLOCKS)[fault.kind](world, fault)
        world.trace.note("FAULT", f"over: {fault}")

    world.spawn(happen)


async def _recover(world: World, workload: Workload) -> None:
    """Faults stop: a leader and progress return within ten election time-outs, and all converge (liveness)."""
    await _calm(world)
    limit = 10 * world.timing.election_max
    began = world.scheduler.now
    await _within(world, limit, "a leader", lambda: world.leader() is not None)
    await _within(world, limit, "progress", lambda: world.last_applied_at > began)
    async with world.operating:  # the operator ends what he has begun
        await _replace_lost(world)
    if world.settings.registry:
        await world.clocks.judge_at_peace(world.members())
    workload.stopping = True
    await _within(world, 10.0, "end of all waits", lambda: not _waiting(world))
    await _within(world, 20.0, "one state on all", lambda: _converged(world))
    _check_bounds(world)
    world.scheduler.stopped = True


async def _calm(world: World) -> None:
    """End all faults, and switch on whatever is off."""
    world.trace.note("WORLD", "faults stop")
    world.calm = True
    wire = world.wire
    for one in world.servers:
        for other in world.servers:
            link = wire.link(one, other)
            while link.blocked:
                wire.unblock(one, other)
            link.slow, link.loss, link.bandwidth, link.far = 1.0, 0.0, 1e8, 0.0
    for server in list(world.servers.values()):
        server.speed.slow, server.speed.stalled_until = 1.0, 0.0
        server.storage.capacity, server.storage.power = 1 << 40, None
        server.storage.failures.clear()
        server.resume()
        server.start()
    if not world.observer.committed:
        # A cluster that never formed waits for each of its first disks; it has nothing to lose by a new beginning.
        for server in world.servers.values():
            server.kill()
            server.state, server.wiped, server.damaged = "down", False, False
            server.start()
    # A supervisor may still wait before it starts one again, and the disk's owner before it tries again.
    until = world.scheduler.now + 4.0
    while world.scheduler.now < until:
        await asyncio.sleep(0.5)
        for server in list(world.servers.values()):
            server.start()


async def _within(world: World, limit: float, what: str, condition: Callable[[], bool]) -> None:
    until = world.scheduler.now + limit
    while not condition():
        if world.scheduler.now >= until:
            states = {s.name: (s.state, s.ready, s.leads, _position(s)) for s in world.servers.values()}
            world.violated("liveness", f"no {what} within {limit:g} s of calm: {states}")
            return
        await asyncio.sleep(0.05)


def _position(server: object) -> object:
    node = getattr(server, "node", None)
    engine = node.__dict__.get("engine") if node is not None else None
    if node is None or engine is None:
        return None
    return engine.term, engine.commit_index, node.applier.index, node.journal.last_index, node.persistence.fault


async def _replace_lost(world: World) -> None:
    """Members whose disks are lost make place for new ones."""
    for server in list(world.servers.values()):
        if server.wiped and server.up:
            server.retire("wiped")  # A disk that its members never saw waits to be added; its operator knows better.
        if server.state in ("wiped", "broken"):
            if not await operator.remove_named(world, server.name, 15.0):
                world.violated("liveness", f"{server.name}, whose disk is lost, can't be removed")
            elif not await operator.add_new(world, 15.0):
                world.violated("liveness", f"no member could be added in the place of {server.name}")


def _waiting(world: World) -> bool:
    return any(server.front is not None and server.ready and server.front.waiting for server in world.servers.values())


def _converged(world: World) -> bool:
    leader = world.leader()
    if leader is None or leader.node is None:
        return False
    members = [world.servers[m.name] for m in leader.node.engine.configuration.members]
    states = set()
    for server in members:
        if not server.ready or server.node is None:
            return False
        states.add((server.node.applier.index, server.node.state.digest(), server.node.journal.last_index))
    return len(states) == 1


def _check_bounds(world: World) -> None:
    """No log, queue or table has grown beyond what the options say, and the state is one that may be."""
    settings = world.settings
    for server in world.servers.values():
        node = server.node
        if not server.ready or node is None:
            continue
        if server.front is not None and (left := server.front.left_over()):
            world.violated("bounded", f"{server.name} keeps {left} entries of waiters that are gone")
        length = node.journal.last_index - node.journal.base_index
        if length > 2 * settings.snapshot_entries + settings.trailing_entries + 50:
            world.violated("bounded", f"{server.name} keeps {length} log entries")
        if (flaw := world.flavour.flaw(server.machine)) is not None:
            world.violated("claims", f"on {server.name}: {flaw}")
        outcomes = sum(len(session.outcomes) for session in node.state._by_member.values())
        if outcomes > 200 + 20 * len(world.servers):
            world.violated("bounded", f"{server.name} remembers {outcomes} outcomes of its own nodes")
        waiting = (len(node.persistence._held), len(node.intake.proposals))
        if max(waiting) > 20:
            world.violated("bounded", f"{server.name} still holds (messages, proposals) {waiting} in calm")
