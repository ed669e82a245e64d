"""What makes a cluster slow without breaking it: long lines, disks that hang, crowds; and who must keep up then."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgpack

from cluster.api import LogError
from cluster.log import ReplicatedLog
from cluster.raft.engine import BATCH
from cluster.storage.snapshots import SnapshotMeta
from tests.simulation.server import Lost

if TYPE_CHECKING:
    from cluster.node.node import Node
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World

LONGEST_WAY = 1.5
"""Seconds, in one direction: a round trip takes 0.5 to 3 s."""
HANG = 5.0
_CROWD = 2000
_CROWD_PATIENCE = 3.0
_LOOK_EVERY = 0.5
_STANDSTILL = 3.0
"""Seconds without any progress, beside three round trips, after which a reachable follower counts as starved."""
MOST_COPIES = 1
"""Of one command, in entries that are committed: whoever writes it again looks at what the log has."""


# Faults.


async def long_line(world: World, fault: Fault) -> None:
    """All that two say to each other is long on its way, for a long time; nothing is lost."""
    one, other = world.find(fault.who), world.find(fault.other)
    if one is other and one is not None:
        other = next((server for server in world.servers.values() if server is not one), None)
    if one is None or other is None:
        return
    way = LONGEST_WAY * (1 + 5 * fault.amount) / 6
    links = [world.wire.link(one.name, other.name), world.wire.link(other.name, one.name)]
    before = [link.far for link in links]
    for link in links:
        link.far = way
    await asyncio.sleep(4 + 4 * fault.duration)
    for link, far in zip(links, before, strict=True) if not world.calm else ():
        link.far = far


async def hang_disk(world: World, fault: Fault) -> None:
    server = world.find(fault.who)
    if server is not None:
        server.speed.stalled_until = max(server.speed.stalled_until, world.scheduler.now + HANG)


async def crowd(world: World, fault: Fault) -> None:
    """Thousands of commands come to one server at one moment."""
    server = world.find(fault.who)
    if server is None or not server.ready or not server.up:
        return
    count = int(_CROWD * (0.2 + fault.amount)) // (8 if world.settings.registry else 1)
    first = world.crowded + 1_000_000
    world.crowded += count
    commands = [world.flavour.background(n, world.scheduler.now + n * 1e-9) for n in range(first, first + count)]

    async def work(log: ReplicatedLog) -> None:
        assert server.loop is not None
        deadline = server.loop.time() + _CROWD_PATIENCE
        outcomes = await asyncio.gather(*(log.propose(command, deadline) for command in commands))
        for command, outcome in zip(commands, outcomes, strict=True):
            world.observer.answered(command, outcome)

    try:
        async with asyncio.timeout(2 * _CROWD_PATIENCE):
            await server.ask(work)
    except (Lost, TimeoutError, LogError):
        return


async def unreadable(world: World, fault: Fault) -> None:
    """The next pieces of snapshots that a node reads to send them can't be read: it is out of descriptors, say."""
    server = world.find(fault.who)
    if server is None or not server.ready or not server.up or server.node is None:
        return
    store = server.node.store
    read, left = store.read_at, 1 + int(4 * fault.amount)
    if read.__name__ == "failing":
        return

    async def failing(meta: SnapshotMeta, offset: int, size: int) -> bytes:
        nonlocal left
        left -= 1
        if left <= 0:
            setattr(store, "read_at", read)  # noqa: B010 (a method is replaced)
        raise OSError(errno.EMFILE if left % 2 else errno.EIO, "it can't be read now")

    setattr(store, "read_at", failing)  # noqa: B010 (as above)


# What must hold.


class Copies:
    """How often each command was written, by what was committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._written: dict[tuple[bytes, int], list[int]] = {}

    def committed(self, index: int, data: bytes) -> None:
        if data[0] != BATCH:
            return
        for item in msgpack.unpackb(data[1:])[1]:
            if item[0] != "p":
                continue
            entries = self._written.setdefault((item[1], item[2]), [])
            entries.append(index)
            if len(entries) > MOST_COPIES:
                self._world.violated("written once", f"entries {entries} hold the same command")


@dataclass(slots=True)
class _Stand:
    since: float
    progress: tuple[int, float | None]


class Laggards:
    """A follower that its leader reaches catches up: while it lacks something, what it has grows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stands: dict[tuple[str, int, str], _Stand] = {}

    async def watch(self) -> None:
        world = self._world
        while not world.scheduler.stopped:
            await asyncio.sleep(_LOOK_EVERY)
            standing = {}
            for server in world.servers.values():
                if server.leads and server.node is not None and self._well(server):
                    for peer in server.node.engine.progress:
                        key = (server.name, server.node.engine.term, peer)
                        if (stand := self._look(server, server.node, peer, self._stands.get(key))) is not None:
                            standing[key] = stand
            self._stands = standing

    def _look(self, server: Server, node: Node, peer: str, before: _Stand | None) -> _Stand | None:
        """Since when the follower stands where it stands; None where it needn't move, or something keeps it."""
        world, match = self._world, node.engine.match_index(peer)
        follower = world.servers.get(peer)
        if match >= node.journal.last_index or follower is None or not self._reaches(node, server, follower):
            return None
        stand = _Stand(world.scheduler.now, (match, node.snapshotting.progress_of(peer)))
        if before is None or before.progress != stand.progress:
            return stand
        patience = _STANDSTILL + 3 * self._round_trip(server, follower)
        if world.scheduler.now - before.since > patience:
            world.violated(
                "a reachable follower catches up",
                f"{server.name} reaches {peer}, which stands at entry {match} of {node.journal.last_index} since "
                f"{before.since:.2f}",
            )
        return before

    def _reaches(self, node: Node, server: Server, follower: Server) -> bool:
        links = self._world.wire.link(server.name, follower.name), self._world.wire.link(follower.name, server.name)
        return (
            follower.name in node.engine.connected
            and self._well(follower)
            and follower.node is not None
            and follower.node.engine.leader == server.name
            and not any(link.blocked or link.loss or link.slow > 1 for link in links)
        )

    def _well(self, server: Server) -> bool:
        node = server.node
        return (
            server.ready
            and server.up
            and not server.paused
            and node is not None
            and node.persistence.fault is None
            and not self._world.stalled(server, self._world.scheduler.now - 2 * HANG)
            and not server.storage.failures
            and server.storage.capacity >= 1 << 40
        )

    def _round_trip(self, server: Server, follower: Server) -> float:
        wire = self._world.wire
        return wire.link(server.name, follower.name).far + wire.link(follower.name, server.name).far
