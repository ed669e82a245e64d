"""Faults that come alone, to a cluster that is well, and the promise that each of them must not break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.api import LogError

if TYPE_CHECKING:
    from cluster.raft.messages import Frame
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World


async def _well(world: World) -> Server | None:
    """Wait until one leader is followed by all for a second; None when that doesn't come about."""
    steady = 0
    for _ in range(200):
        await asyncio.sleep(0.05)
        leader = world.leader()
        followed = leader is not None and all(
            s.ready and s.node is not None and s.node.engine.leader == leader.name for s in world.servers.values()
        )
        steady = steady + 1 if followed else 0
        if steady >= 20:
            return leader
    return None


async def estrange(world: World, fault: Fault) -> None:
    """A follower loses its leader and nobody else: the leader stays, in its term (hole 6)."""
    async with world.stage:
        leader = await _well(world)
        if leader is None or leader.node is None or world.calm:
            return
        term = leader.node.engine.term
        follower = next(name for name in world.servers if name != leader.name)
        pairs = [(leader.name, follower), (follower, leader.name)]
        await _cut_off(world, pairs, 3.0)
        if not leader.leads or leader.node.engine.term != term:
            world.violated("a heard leader stays", f"{follower} deposed {leader.name} of term {term}, heard by others")


async def cut_off_leader(world: World, fault: Fault) -> None:
    """A leader that reaches nobody knows it within an election time-out or two (hole 7)."""
    async with world.stage:
        leader = await _well(world)
        if leader is None or world.calm:
            return
        pairs = [(leader.name, name) for name in world.servers if name != leader.name]
        both = [*pairs, *((b, a) for a, b in pairs)]

        def judge() -> None:
            if leader.leads:
                world.violated("no leader alone", f"{leader.name} still leads, {1.5} s after it was cut off")

        await _cut_off(world, both, 2.5, at=1.5, judge=judge)


async def stall_leader_disk(world: World, fault: Fault) -> None:
    """A leader whose disk hangs is replaced, and writes go on (hole 18)."""
    async with world.stage:
        leader = await _well(world)
        if leader is None or world.calm:
            return
        began = world.scheduler.now
        leader.speed.stalled_until = began + 8.0
        await asyncio.sleep(10 * world.timing.election_max)
        if world.last_applied_at < began + 0.5:
            world.violated("a hanging disk doesn't stop writes", f"the disk of {leader.name} hangs since {began:.2f}")
        await asyncio.sleep(2.5)


async def hand_over(world: World, fault: Fault) -> None:
    """A leader under load hands over to a member that is well: it leads, in the term after, at once (hole 24)."""
    async with world.stage:
        leader = await _well(world)
        if leader is None or leader.node is None or leader.log is None or leader.loop is None or world.calm:
            return
        term, log, began = leader.node.engine.term, leader.log, world.scheduler.now
        deadline = leader.loop.time() + world.timing.election_max
        try:
            to = await leader.ask(lambda _log: log.transfer_leadership(None, deadline))
        except LogError as error:
            world.violated("a hand-over is no outage", f"{leader.name} of term {term}: {error}")
            return
        taken = world.leader()
        if taken is None or taken.name != to or taken.node is None or taken.node.engine.term != term + 1:
            seconds = world.scheduler.now - began
            world.violated("a hand-over is no outage", f"{to} doesn't lead term {term + 1} after {seconds:.3f} s")


async def stutter(world: World, fault: Fault) -> None:
    """A member says each of its votes twice, for as long as its process lives (hole 19)."""
    server = world.find(fault.who)
    if server is None or server.node is None:
        return
    send = server.node.send
    if send.__name__ == "twice":
        return  # Doubled again and again, its votes alone would fill the wire.

    def twice(peer: str, frame: Frame) -> bool:
        if frame[0] == "vote":
            send(peer, frame)
        return send(peer, frame)

    setattr(server.node, "send", twice)  # noqa: B010 (a method is replaced)


async def _cut_off(
    world: World,
    pairs: list[tuple[str, str]],
    seconds: float,
    *,
    at: float = 0.0,
    judge: Callable[[], None] | None = None,
) -> None:
    for pair in pairs:
        world.wire.block(*pair)
    if judge is not None:
        await asyncio.sleep(at)
        judge()
    await asyncio.sleep(seconds - at)
    for pair in pairs if not world.calm else ():
        world.wire.unblock(*pair)
