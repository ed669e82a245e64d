"""What the operator of the simulated cluster does: hands over, snapshots, upgrades, adds, removes and replaces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cluster.api import LogError, Member
from cluster.log import ReplicatedLog
from cluster.raft.membership import majority
from tests.simulation.server import Lost

if TYPE_CHECKING:
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World

_PATIENCE = 8.0


def _deadline(server: Server, patience: float) -> float:
    assert server.loop is not None
    return server.loop.time() + patience


async def transfer(world: World, fault: Fault) -> None:
    leader = world.leader()
    if leader is not None:
        to = fault.other if fault.amount < 0.5 and fault.other in world.servers else None

        async def work(log: ReplicatedLog) -> str:
            return await log.transfer_leadership(to, _deadline(leader, 3.0))

        await _told(world, leader, work, "transfer")


async def snapshot(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None:

        async def work(log: ReplicatedLog) -> int:
            return await log.snapshot_now()

        await _told(world, server, work, "snapshot")


async def upgrade(world: World, fault: Fault) -> None:
    """A clean stop and a start, as with a new version."""
    server = world.find(fault.who)
    if server is not None:
        await server.stop()
        await asyncio.sleep(fault.duration * 0.2)
        server.start()


async def add(world: World, _fault: Fault) -> None:
    async with world.operating:
        if len(world.members()) < world.settings.nodes + 2:
            await add_new(world, _PATIENCE)


async def add_new(world: World, patience: float) -> bool:
    """Start an empty server and add it; whether it has its vote. Tries again where it is safe to."""
    return await _join(world, world.add_server(), patience)


async def _join(world: World, server: Server, patience: float, *, named: bool = False) -> bool:
    """Whether it has its vote; `named`: the cluster is told its disk with its name, as volstore does."""
    server.start()
    until = world.scheduler.now + patience
    while world.scheduler.now < until and server.state in ("up", "down"):
        leader = world.leader()
        if leader is not None and (server.ready or not named):
            asked = leader
            disk = server.node.incarnation if named and server.node is not None else b""

            async def work(log: ReplicatedLog, asked: Server = asked, disk: bytes = disk) -> None:
                await log.add_member(Member(server.name, server.address, disk), _deadline(asked, patience / 2))

            if await _told(world, leader, work, f"add {server.name}"):
                return True
        await asyncio.sleep(0.3)
    return False


async def replace(world: World, fault: Fault) -> None:
    """A member loses its disk, and an empty one takes its place under the same name. Of five, another may be away
    meanwhile: it comes back with a log in which the old disk is a member still."""
    async with world.operating:
        server, leader = world.find(fault.who), world.leader()
        if world.calm or server is None or not server.up or leader is None or leader.node is None:
            return
        if not world.may_damage():
            return
        voters = leader.node.engine.configuration.voters
        others = [name for name in voters if name != server.name and world.servers[name].up]
        enough = majority(len(voters))
        if server.name not in voters or len(voters) < 3 or len(others) < enough:
            return
        server.crash()
        server.wipe()
        away = world.servers[others[int(fault.amount * len(others))]] if len(others) > enough else None
        if away is not None:
            away.crash()
        await asyncio.sleep(fault.duration * 0.3)
        if await remove_named(world, server.name, _PATIENCE):
            server.renew()
            await _join(world, server, _PATIENCE, named=True)
        else:
            server.retire("wiped")
        if away is not None:
            away.start()


async def remove(world: World, fault: Fault) -> None:
    async with world.operating:
        server = world.find(fault.who)
        leader = world.leader()
        if leader is None or server is None or leader.node is None:
            return
        voters = leader.node.engine.configuration.voters
        running = [name for name in voters if world.servers[name].up and name != server.name]
        # As an operator would: not below three, and not when too few of the others run.
        if server.name in voters and len(voters) > 3 and len(running) > (len(voters) - 1) // 2:
            await remove_named(world, server.name, _PATIENCE)


async def remove_named(world: World, name: str, patience: float) -> bool:
    """Remove a member, asking whoever leads; whether it is out."""
    until = world.scheduler.now + patience
    while world.scheduler.now < until:
        leader = world.leader()
        if leader is not None and leader.node is not None:
            engine = leader.node.engine
            if engine.configuration.member(name) is None and engine.configuration.index <= engine.commit_index:
                break
            asked = leader

            async def work(log: ReplicatedLog, asked: Server = asked) -> None:
                if (heir := await log.remove_member(name, _deadline(asked, 3.0))) is not None:
                    raise LogError(f"{heir!r} leads now: ask it")

            if await _told(world, leader, work, f"remove {name}"):
                break
        await asyncio.sleep(0.3)
    else:
        return False
    # It is told so and stops; one that can't be reached is switched off.
    await asyncio.sleep(2.0)
    server = world.servers[name]
    if server.state in ("up", "down", "wiped", "broken"):
        server.retire("removed")
    return True


async def _told(world: World, server: Server, work: object, what: str) -> bool:
    """Whether the server did it; otherwise the trace says why not."""
    try:
        async with asyncio.timeout(_PATIENCE + 4):
            await server.ask(work)  # type: ignore[arg-type]  # work of any result
    except (Lost, LogError, TimeoutError, OSError) as error:
        world.trace.note("OPERATOR", f"could not {what}", why=repr(error))
        return False
    world.trace.note("OPERATOR", what, by=server.name)
    return True
