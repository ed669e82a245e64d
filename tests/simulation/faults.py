"""What goes wrong, and what an operator does: drawn from the seed before the run, as a list that can shrink."""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.simulation import clocks, defects, operator, slow, staged, strangers

if TYPE_CHECKING:
    from tests.simulation.server import Server
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `duration` in true seconds; `who` and `other` are servers' names, "leader" or "follower".

    `amount` from 0 to 1 says how bad it is, in whatever way the kind has.
    """

    at: float
    kind: str
    who: str
    other: str
    duration: float
    amount: float

    def __str__(self) -> str:
        return f"{self.at:7.3f} {self.kind} who={self.who} other={self.other} {self.duration:.2f}s x{self.amount:.2f}"


Act = Callable[["World", Fault], Awaitable[None]]


async def _crash(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None and server.up:
        server.crash()
        await asyncio.sleep(fault.duration)
        server.start()


async def _kill(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None and server.up:
        server.kill()
        await asyncio.sleep(fault.duration * 0.3)
        server.start()


async def _cold(world: World, fault: Fault) -> None:
    """All machines go down at once, and come back in any order."""
    for server in world.members():
        server.crash()
    order = world.members()
    Random(fault.amount).shuffle(order)
    for server in order:
        await asyncio.sleep(fault.duration * 0.3)
        server.start()


async def _power(world: World, fault: Fault) -> None:
    """The power goes after so many more disk operations, wherever that is."""
    server = world.find(fault.who)
    if server is not None and server.up:
        server.storage.power = int(fault.amount * 12)


async def _pause(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is None or not server.up:
        return
    loop = server.loop
    server.pause(freeze=fault.kind == "freeze")
    await asyncio.sleep(fault.duration)
    if loop is server.loop:
        server.resume()


async def _partition(world: World, fault: Fault) -> None:
    """Two sides that don't hear each other."""
    names = list(world.servers)
    leader = world.find(fault.who)
    draw = Random(fault.amount)
    side = {leader.name if leader is not None else names[0]}
    side |= {name for name in names if draw.random() < 0.35}
    pairs = [(a, b) for a in names for b in names if a in side and b not in side]
    await _cut(world, [*pairs, *((b, a) for a, b in pairs)], fault.duration)


async def _one_way(world: World, fault: Fault) -> None:
    one, other = _two(world, fault)
    if one is not None and other is not None:
        await _cut(world, [(one.name, other.name)], fault.duration)


async def _between_two(world: World, fault: Fault) -> None:
    one, other = _two(world, fault)
    if one is not None and other is not None:
        await _cut(world, [(one.name, other.name), (other.name, one.name)], fault.duration)


async def _deaf(world: World, fault: Fault) -> None:
    """One hears nobody, or nobody hears it."""
    server = world.find(fault.who)
    if server is not None:
        pairs = [(name, server.name) for name in world.servers if name != server.name]
        await _cut(world, pairs if fault.amount < 0.5 else [(b, a) for a, b in pairs], fault.duration)


async def _cut(world: World, pairs: list[tuple[str, str]], duration: float) -> None:
    for pair in pairs:
        world.wire.block(*pair)
    await asyncio.sleep(duration)
    for pair in pairs if not world.calm else ():
        world.wire.unblock(*pair)


async def _reset(world: World, fault: Fault) -> None:
    one, other = _two(world, fault)
    if one is not None and other is not None:
        world.wire.break_connections(one.name, other.name)


async def _slow_link(world: World, fault: Fault) -> None:
    one, other = _two(world, fault)
    if one is None or other is None:
        return
    link = world.wire.link(one.name, other.name)
    before = (link.slow, link.bandwidth)
    link.slow, link.bandwidth = 1 + 400 * fault.amount, 1e5
    await asyncio.sleep(fault.duration)
    if not world.calm:
        link.slow, link.bandwidth = before


async def _lossy(world: World, fault: Fault) -> None:
    one, other = _two(world, fault)
    if one is None or other is None:
        return
    links = [world.wire.link(one.name, other.name), world.wire.link(other.name, one.name)]
    for link in links:
        link.loss += 0.3 * fault.amount
    await asyncio.sleep(fault.duration)
    for link in links if not world.calm else ():
        link.loss = max(0.0, link.loss - 0.3 * fault.amount)


async def _slow_disk(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None:
        server.speed.slow = max(server.speed.slow, 1 + 100 * fault.amount)
        await asyncio.sleep(fault.duration)
        server.speed.slow = 1.0


async def _stall_disk(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None:
        server.speed.stalled_until = max(server.speed.stalled_until, world.scheduler.now + fault.duration)


async def _failing_disk(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None:
        operations = ("sync", "append", "sync_folder", "rename")
        operation = operations[int(fault.amount * 3.99)] if fault.amount > 0.4 else "sync"
        server.storage.failures.setdefault(operation, []).extend([errno.EIO] * (1 + int(fault.amount * 3)))


async def _full_disk(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is None:
        return
    storage = server.storage
    before = storage.capacity
    storage.capacity = (1 << 40) - storage.free_bytes() + int(fault.amount * 4000)
    await asyncio.sleep(fault.duration)
    server.storage.capacity = storage.capacity = max(before, 1 << 40)


async def _flip(world: World, fault: Fault) -> None:
    """A bit of what was synced changes while the machine is down: the disk of a minority at most."""
    server = world.find(fault.who)
    if server is None or not server.up or not world.may_damage():
        return
    server.crash()
    server.damaged = True
    files = sorted(name for name, inode in server.storage.files.items() if len(inode.stored) > 200)
    if files:
        draw = Random(fault.amount)
        inode = server.storage.files[draw.choice(files)]
        # Not in the last bytes: there a changed bit and a torn write look alike.
        at = draw.randrange(len(inode.stored) // 2)
        inode.stored[at] ^= 1 << draw.randrange(8)
        inode.cached[at] = inode.stored[at]
    await asyncio.sleep(fault.duration * 0.3)
    server.start()


async def _wipe(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is None or not server.up or not world.may_damage():
        return
    server.crash()
    server.wipe()
    await asyncio.sleep(fault.duration * 0.3)
    server.start()


def _two(world: World, fault: Fault) -> tuple[Server | None, Server | None]:
    one, other = world.find(fault.who), world.find(fault.other)
    if one is other and one is not None:
        other = next((server for server in world.servers.values() if server is not one), None)
    return one, other


KINDS: dict[str, Act] = {
    "crash": _crash,
    "kill": _kill,
    "cold": _cold,
    "power": _power,
    "pause": _pause,
    "freeze": _pause,
    "partition": _partition,
    "one-way": _one_way,
    "between-two": _between_two,
    "deaf": _deaf,
    "reset": _reset,
    "slow-link": _slow_link,
    "lossy": _lossy,
    "long-line": slow.long_line,
    "slow-disk": _slow_disk,
    "stall-disk": _stall_disk,
    "hang-disk": slow.hang_disk,
    "failing-disk": _failing_disk,
    "full-disk": _full_disk,
    "flip": _flip,
    "wipe": _wipe,
    "transfer": operator.transfer,
    "snapshot": operator.snapshot,
    "upgrade": operator.upgrade,
    "add": operator.add,
    "remove": operator.remove,
    "replace": operator.replace,
    "stranger": strangers.stranger,
    "poison": defects.poison,
    "stumble": defects.stumble,
    "reenter": defects.reenter,
    "spoil": defects.spoil,
    "crowd": slow.crowd,
    "unreadable": slow.unreadable,
}

STAGED: dict[str, Act] = {
    "estrange": staged.estrange,
    "cut-off-leader": staged.cut_off_leader,
    "stall-leader-disk": staged.stall_leader_disk,
    "hand-over": staged.hand_over,
    "stutter": staged.stutter,
}
"""Not drawn by chance: all but the last need a cluster to which nothing else happens."""

CLOCKS: dict[str, Act] = {"clock": clocks.jump}
"""Drawn for every run of the registry, by a draw of their own: other faults don't depend on it."""

_RARE = {
    "crowd": 0.3,
    "cold": 0.2,
    "flip": 0.15,
    "wipe": 0.2,
    "add": 0.3,
    "remove": 0.3,
    "replace": 0.5,
    "poison": 0.3,
    "stumble": 0.3,
}


def draw_schedule(random: Random, names: list[str], seconds: float, kinds: dict[str, float]) -> list[Fault]:
    """Faults from `kinds` (with how often each comes, in relation) within `seconds`, in order of time."""
    faults: list[Fault] = []
    for kind, weight in sorted(kinds.items()):
        rate = weight * _RARE.get(kind, 1.0) * math.exp(random.uniform(math.log(0.03), math.log(0.5)))
        at = random.expovariate(rate) if rate > 0 else seconds
        while at < seconds:
            who = random.choice((*names, "leader", "leader", "follower"))
            other = random.choice((*names, "leader"))
            duration = min(random.expovariate(1 / 1.5) + 0.02, 12.0)
            faults.append(Fault(at, kind, who, other, duration, random.random()))
            at += random.expovariate(rate)
    return sorted(faults, key=lambda fault: fault.at)


def draw_kinds(random: Random) -> dict[str, float]:
    """Swarm testing: about half of all kinds, so that some runs go deep where others go wide."""
    return {kind: 1.0 for kind in KINDS if random.random() < 0.45}
