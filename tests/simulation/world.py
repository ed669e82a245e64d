"""One simulated world: servers, network, clients and operator on one scheduler, from one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import Random

from cluster.api import Member
from cluster.net.transport import TransportLimits
from cluster.options import Options
from cluster.raft.engine import Timing
from tests.simulation.clocks import Clocks
from tests.simulation.holes import Hole
from tests.simulation.loop import NodeLoop, Scheduler
from tests.simulation.machine import Flavour, RegisterFlavour, RegistryFlavour
from tests.simulation.network import Wire
from tests.simulation.observer import Observer
from tests.simulation.server import Server
from tests.simulation.trace import Trace

CLUSTER = "simulated"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is drawn with. Sizes are small, so that what happens rarely in earnest happens often here."""

    seed: int
    nodes: int = 3
    registry: bool = False
    clients: int = 4
    hole: Hole | None = None
    """Open in this run; none for `cluster` as it is."""
    timing: Timing = field(default_factory=Timing)
    snapshot_entries: int = 100
    trailing_entries: int = 20
    segment_bytes: int = 8 << 10
    message_bytes: int = 4 << 10
    mark_every: int = 16
    rounds_kept: int = 32
    drift: float = 0.0
    dead_after: float = 2.0
    think: float = 0.15
    """Seconds, about, between two requests of a client."""


class World:
    """Everything there is. `violation` is the first invariant that didn't hold, with what was seen."""

    def __init__(self, settings: Settings, *, trace: bool = False) -> None:
        self.settings = settings
        self.timing = settings.timing
        self.scheduler = Scheduler()
        self.trace = Trace(lambda: self.scheduler.now, keep=trace)
        self.violation: tuple[str, str] | None = None
        self.scheduler.busy = lambda: self.violated("bounded", "steps without end: time doesn't get on")
        self.root = NodeLoop(self.scheduler, failed=self.broken)
        self.random = Random(settings.seed)
        self.wire = Wire(self.root, self._child())
        self.flavour: Flavour = RegistryFlavour() if settings.registry else RegisterFlavour()
        self.observer = Observer(self)
        self.clocks = Clocks(self)
        self.servers: dict[str, Server] = {}
        self._next_name = 1
        names = [self._name() for _ in range(settings.nodes)]
        members = tuple(Member(name, f"{name}:1") for name in names)
        for name in names:
            self.add_server(name, members)
        self.stage = asyncio.Lock()
        """Held by a fault that must be alone."""
        self.operating = asyncio.Lock()
        """Held by the operator, who changes members one at a time and looks at what there is before."""
        self.strangers: set[bytes] = set()
        """The disks of all who called and were no members."""
        self.guests: list[NodeLoop] = []
        """The loops of their processes."""
        self.cluster = CLUSTER
        self.last_applied_at = 0.0
        self.crowded = 0
        """Commands that came in crowds."""
        self.calm = False
        """Whether faults have stopped, for good: one that is still going on undoes nothing any more."""
        self._background: set[asyncio.Task[None]] = set()

    def _child(self) -> Random:
        return Random(self.random.getrandbits(64))

    def broken(self, error: BaseException) -> None:
        """A defect of the simulator ends the run."""
        raise error

    def _name(self) -> str:
        name = f"n{self._next_name}"
        self._next_name += 1
        return name

    def add_server(self, name: str | None = None, members: tuple[Member, ...] = ()) -> Server:
        server = Server(self, name or self._name(), members, self._child())
        server.rate = 1 + self.settings.drift * (2 * self.random.random() - 1)
        self.servers[server.name] = server
        return server

    def options(self, server: Server) -> Options:
        settings = self.settings
        return Options(
            cluster_id=CLUSTER,
            name=server.name,
            bind=server.address,
            advertise=server.address,
            members=server.members,
            timing=settings.timing,
            limits=replace(TransportLimits(), dead_after=settings.dead_after),
            snapshot_entries=settings.snapshot_entries,
            trailing_entries=settings.trailing_entries,
            segment_bytes=settings.segment_bytes,
            reserve_bytes=4 << 10,
            queue_bytes=1 << 20,
        )

    def violated(self, invariant: str, text: str) -> None:
        """Only the first counts: what follows may be its consequence."""
        if self.violation is None:
            self.violation = (invariant, text)
            self.trace.note("WORLD", "VIOLATED", invariant=invariant, text=text)
        self.scheduler.stopped = True

    def spawn(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Do something on the world's own loop; an exception in it is a defect of the simulator and ends the run."""

        async def watched() -> None:
            try:
                await work()
            except Exception as error:
                self.root.call_soon(self.broken, error)

        task = self.root.create_task(watched())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # What there is to know.

    def members(self) -> list[Server]:
        """Servers that may still take part."""
        return [server for server in self.servers.values() if server.state in ("up", "down")]

    def leader(self) -> Server | None:
        """Who leads in the highest term."""
        leading = [server for server in self.servers.values() if server.leads]
        return max(leading, key=lambda server: server.node.engine.term if server.node else 0, default=None)

    def find(self, who: str) -> Server | None:
        """A server by name, or "leader", or "follower" (the first that doesn't lead)."""
        if who == "leader":
            return self.leader()
        if who == "follower":
            return next((server for server in self.servers.values() if server.ready and not server.leads), None)
        return self.servers.get(who)

    def may_damage(self) -> bool:
        """Whether one more disk may be lost: those of a minority, and one at a time."""
        return not any(server.damaged for server in self.servers.values() if server.state != "removed")

    def stalled(self, server: Server, since: float) -> bool:
        """Whether its disk was slow at some time after `since`."""
        return server.speed.stalled_until > since or server.speed.slow > 1
