"""One simulated machine with its disk, and the process on it: boots, crashes, pauses, comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.api import LogError, Member, NoLeader
from cluster.log import ReplicatedLog
from cluster.node.node import Node
from tests.cluster.storage.memory_disk import MemoryDisk, PowerCut
from tests.simulation.disk import SimulatedDisk, Speed
from tests.simulation.duties import Duties, clock_of
from tests.simulation.front import Front
from tests.simulation.loop import NodeLoop
from tests.simulation.machine import EPOCH
from tests.simulation.network import Host
from tests.simulation.verdicts import verdict_on_end
from volstore.agent.state_machine import WatchedFsm
from volstore.core.errors import ApiError

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

_SUPERVISOR_WAITS = 1.0
"""Seconds after which a process that ended by itself is started again."""


class Lost(Exception):
    """The connection to the server went while a request was on its way: nobody knows what became of it."""


class Server:
    """`state`: "down", "up", or for good: "removed" from the cluster, "wiped" and told so, "broken" (its disk).

    `damaged` says that its disk lost or changed what was synced, so that it may refuse to start.
    """

    def __init__(self, world: World, name: str, members: tuple[Member, ...], random: Random) -> None:
        self.world = world
        self.name = name
        self.address = f"{name}:1"
        self.members = members
        self.random = random
        self.storage = MemoryDisk(random)
        self.speed = Speed()
        self.rate = 1.0
        self.state = "down"
        self.damaged = self.wiped = False
        self.boots = 0
        self.ready = False
        self.loop: NodeLoop | None = None
        self.log: ReplicatedLog | None = None
        self.node: Node | None = None
        self.machine: Any = None
        self.front: Front | None = None
        self.duties: Duties | None = None
        self.wall_ahead = 0
        """Nanoseconds by which its wall clock is ahead of the truth; it survives a restart."""
        self.host: Host | None = None
        self.stale_index = 0
        self.pauses = 0
        self._disks: tuple[SimulatedDisk, ...] = ()
        self._replies: dict[asyncio.Future[Any], None] = {}
        self._wanted = False

    @property
    def up(self) -> bool:
        return self.state == "up"

    def wall(self) -> int:
        """Its wall clock, in nanoseconds since 1970."""
        return EPOCH + int(self.world.scheduler.now * 1e9) + self.wall_ahead

    @property
    def paused(self) -> bool:
        return self.loop is not None and self.loop.paused

    @property
    def leads(self) -> bool:
        return self.ready and self.up and self.node is not None and self.node.engine.leads

    def start(self) -> None:
        if self.state != "down":
            return
        world = self.world
        self.state, self._wanted, self.ready = "up", True, False
        self.boots += 1
        self.stale_index = 0
        self.pauses = 0
        offset = self.random.random() * 1e5
        loop = NodeLoop(
            world.scheduler,
            offset=offset,
            rate=self.rate,
            failed=lambda error: world.violated("fail-stop", f"{self.name}: unhandled {error!r}"),
            after=self._look,
        )
        self.loop = loop
        self.host = Host(world.wire, self.name, loop)
        self.storage.locked = False  # The kernel frees it with the process.
        self._disks = tuple(
            SimulatedDisk(self.storage, loop, self.speed, self.random, self.power_cut) for _ in range(2)
        )
        self.machine = world.flavour.machine(clock_of(self))
        self.log = ReplicatedLog(
            world.options(self),
            self.machine,
            disk=self._disks[0],
            snapshot_disk=self._disks[1],
            network=self.host,
            random=Random(self.random.getrandbits(64)),
            log=world.trace.logger(self.name),
        )
        self.node = self.log._node
        watched = isinstance(self.machine, WatchedFsm)
        self.front = Front(self, self.log, self.machine, Random(self.random.getrandbits(64))) if watched else None
        self.duties = Duties(self, self.log, self.machine) if watched else None
        world.observer.attach(self)
        world.trace.note(self.name, "start", boot=self.boots)
        loop.create_task(self._live(self.log, loop))

    def _look(self) -> None:
        self.world.observer.look(self)
        if self.duties is not None and self.up:
            self.world.clocks.look(self)
        if self.front is not None and self.loop is not None and not self.loop.dead:
            self.front.look()

    async def _live(self, log: ReplicatedLog, loop: NodeLoop) -> None:
        try:
            await log.start()
            self.ready = True
            if self.duties is not None:
                loop.create_task(self.duties.sweep())
            await asyncio.shield(log.failed)
        except PowerCut:
            return
        except Exception as error:
            self.world.root.call_soon(self._ended, loop, error)

    def _ended(self, loop: NodeLoop, error: Exception) -> None:
        """The process ended by itself."""
        if loop is not self.loop or loop.dead:
            return
        self.world.trace.note(self.name, "ended", why=repr(error))
        self._vanish(silently=False)
        self.state = verdict_on_end(self, error)
        if self.state == "down":
            self.world.root.call_later(_SUPERVISOR_WAITS, self._supervised)

    def _supervised(self) -> None:
        if self._wanted:
            self.start()

    def kill(self) -> None:
        """kill -9: the page cache stays, and the kernel resets the connections."""
        if self.up:
            self.world.trace.note(self.name, "kill")
            self._wanted = False
            if self.random.random() < 0.5:
                self._disks[0].half_done(self.random.randrange(6))
            self._vanish(silently=False)
            self.state = "down"

    def crash(self) -> None:
        """The power goes: what wasn't synced may be lost, in any part."""
        if self.up:
            self.world.trace.note(self.name, "crash")
            self._wanted = False
            if self.random.random() < 0.7:
                self._disks[0].half_done(self.random.randrange(6))
            self._vanish(silently=True)
        if self.state in ("up", "down"):
            self.storage = self.storage.crash()
            self.state = "down"

    def power_cut(self) -> None:
        """The power goes in the middle of a disk operation; called from within it."""
        assert self.loop is not None
        self.loop.dead = True
        self.world.root.call_soon(self._finish_power_cut, self.loop)

    def _finish_power_cut(self, loop: NodeLoop) -> None:
        if loop is self.loop and self.up:
            self.storage.power = None
            self.world.trace.note(self.name, "power cut within a write")
            self._vanish(silently=True)
            self.storage = self.storage.crash()
            self.state = "down"
            self.world.root.call_later(_SUPERVISOR_WAITS, self.start)

    async def stop(self) -> None:
        """A clean stop, as for an upgrade. Runs on the world's loop."""
        if not self.up or not self.ready:
            return
        assert self.loop is not None
        assert self.log is not None
        loop, log, front = self.loop, self.log, self.front
        done = self.world.root.create_future()

        async def stopping() -> None:
            try:
                if front is not None:
                    await front.stop(2.0)
                await log.stop()
            except Exception as error:
                if loop.dead:
                    return
                self.world.violated("fail-stop", f"{self.name} can't be stopped: {error!r}")
            if not done.done():
                done.set_result(None)

        self._wanted = False
        began = self.world.scheduler.now
        loop.create_task(stopping())
        try:
            async with asyncio.timeout(10):
                await done
        except TimeoutError:
            if loop is self.loop and not loop.dead and not loop.paused and not self.world.stalled(self, began):
                self.world.violated("deadline", f"{self.name} didn't stop within 10 s")
        if loop is self.loop and self.up:
            self.world.trace.note(self.name, "stopped")
            self._vanish(silently=False)
            self.state = "down"

    def wipe(self) -> None:
        """The disk is replaced by an empty one."""
        self.storage = MemoryDisk(self.random)
        self.damaged = self.wiped = True

    def renew(self) -> None:
        """An empty disk takes the place of one whose member was removed: it waits to be added under the same name."""
        self.storage = MemoryDisk(self.random)
        self.members = ()
        self.damaged = self.wiped = False
        self.state = "down"

    def retire(self, state: str) -> None:
        self._wanted = False
        if self.up:
            self._vanish(silently=False)
        self.state = state

    def pause(self, *, freeze: bool) -> None:
        if self.up and self.loop is not None:
            self.pauses += 1
            self.loop.pause(freeze=freeze)
            self.world.observer.ages.paused(self.name)

    def resume(self) -> None:
        if self.loop is not None:
            self.loop.resume()
            self.world.observer.ages.resumed(self.name)

    def _vanish(self, *, silently: bool) -> None:
        assert self.loop is not None
        assert self.host is not None
        self.ready = False
        self.loop.dead = True
        self.host.die(silently=silently)
        self.loop.kill()
        replies, self._replies = self._replies, {}
        for reply in replies:
            if not reply.done():
                reply.set_exception(Lost())

    # Requests of clients, on the world's loop.

    async def ask(self, work: Callable[[ReplicatedLog], Awaitable[T]]) -> T:
        """Have the process do something and bring its answer back. Raises Lost when it ends, or isn't there.

        Whoever doesn't wait for the answer hangs up, which cancels what the process does for it.
        """
        if not self.ready or not self.up:
            raise Lost
        assert self.loop is not None
        assert self.log is not None
        log, root = self.log, self.world.root
        reply: asyncio.Future[T] = root.create_future()
        self._replies[reply] = None

        def deliver(result: T | None, error: Exception | None) -> None:
            if not reply.done():
                if error is not None:
                    reply.set_exception(error)
                else:
                    reply.set_result(result)  # type: ignore[arg-type]  # None only beside an error

        async def serve() -> None:
            try:
                result = await work(log)
            except (LogError, ConnectionError, TimeoutError, NoLeader, ApiError) as error:
                root.call_later(0.0005, deliver, None, error)
            else:
                root.call_later(0.0005, deliver, result, None)

        task = self.loop.create_task(serve())
        try:
            return await reply
        except asyncio.CancelledError:
            # The client hangs up: its request is broken off when the node hears of it.
            root.call_later(0.0005, self.loop.call_soon, task.cancel)
            raise
        finally:
            self._replies.pop(reply, None)
