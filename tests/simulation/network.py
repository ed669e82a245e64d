"""A simulated TCP: bytes arrive late, slowly, in order, or the connection breaks; links fail in one direction alone.

What is lost on the way is sent again by TCP, so that loss shows as delay, and a cut link as silence: what was written
arrives when the link is whole again, unless one of the two gave the connection up meanwhile. A process that dies
has its connections reset by its kernel; a machine that loses its power says nothing, until it is up again and is
spoken to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from cluster.ports import Listener, Stream
from tests.simulation.connection import Connection
from tests.simulation.loop import NodeLoop

_SYN_AGAIN = 1.0


@dataclass(slots=True, eq=False)
class Link:
    """One direction between two hosts. `delay` and `jitter` in seconds, `loss` per write, `bandwidth` in bytes/s.

    `far` are seconds that everything takes besides, whatever it is. `blocked` counts the faults that cut it. Each
    direction has randomness of its own, so that the order in which a host speaks to others at one instant changes
    nothing.
    """

    random: Random
    delay: float = 0.0003
    jitter: float = 0.0005
    loss: float = 0.0
    slow: float = 1.0
    bandwidth: float = 1e8
    blocked: int = 0
    far: float = 0.0

    def latency(self) -> float:
        random = self.random.random
        seconds = (self.delay + self.jitter * random()) * self.slow + self.far
        while self.loss and random() < self.loss:
            seconds += 0.2
        return seconds


class Wire:
    """All hosts, their listeners and connections. Runs on the world's own loop: it is the kernel and the cable."""

    def __init__(self, root: NodeLoop, random: Random) -> None:
        self.root = root
        self.hosts: dict[str, Host] = {}
        self.connections: dict[Connection, None] = {}
        self._random = random
        self._seed = random.getrandbits(64)
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = Link(Random(f"{self._seed} {source} {target}"))
            self._links[source, target] = found
        return found

    def block(self, source: str, target: str) -> None:
        self.link(source, target).blocked += 1

    def unblock(self, source: str, target: str) -> None:
        link = self.link(source, target)
        link.blocked -= 1
        if not link.blocked:
            for connection in list(self.connections):
                for pipe in connection.pipes:
                    if pipe.link is link:
                        pipe.pump()

    def break_connections(self, one: str, other: str) -> None:
        """A middlebox forgets: every connection of the two is reset, with a part of what was on the way."""
        for connection in list(self.connections):
            if {pipe.link for pipe in connection.pipes} == {self.link(one, other), self.link(other, one)}:
                connection.reset_both()


class Host:
    """One machine's place in the network, for one run of its process."""

    def __init__(self, wire: Wire, name: str, loop: NodeLoop) -> None:
        self.wire = wire
        self.name = name
        self.loop = loop
        self.down = False
        self.powerless = False
        self.serves: Callable[[Stream], Awaitable[None]] | None = None
        wire.hosts[name] = self

    def die(self, *, silently: bool) -> None:
        """The process ends: its kernel resets its connections, unless the machine went down with it."""
        self.down = True
        self.powerless = silently
        self.serves = None
        if silently:
            return
        for connection in list(self.wire.connections):
            for endpoint in connection.ends:
                if endpoint.host is self:
                    endpoint.hang_up()

    # cluster.ports.Network

    async def listen(self, address: str, serve: Callable[[Stream], Awaitable[None]]) -> Listener:
        self.serves = serve
        return _Listener(self, address)

    async def connect(self, address: str) -> Stream:
        target = address.rpartition(":")[0]
        future: asyncio.Future[Stream] = self.loop.create_future()
        self._knock(target, future)
        return await future

    def _knock(self, target: str, future: asyncio.Future[Stream]) -> None:
        if future.done() or self.down:
            return
        root, there, back = self.wire.root, self.wire.link(self.name, target), self.wire.link(target, self.name)
        if there.blocked or target not in self.wire.hosts or self.wire.hosts[target].powerless:
            # Silence: the kernel tries again for as long as the caller waits. (A machine that is up refuses, below.)
            root.call_later(_SYN_AGAIN, self._knock, target, future)
            return
        root.call_later(there.latency(), self._arrive, target, future, back)

    def _arrive(self, target: str, future: asyncio.Future[Stream], back: Link) -> None:
        root, host = self.wire.root, self.wire.hosts[target]
        if host.powerless or back.blocked:
            root.call_later(_SYN_AGAIN, self._knock, target, future)
        elif host.serves is None:
            root.call_later(back.latency(), _refuse, future, target)
        else:
            connection = Connection(self.wire, self, host)
            host.loop.create_task(_serve(host.serves, connection.ends[1]))
            root.call_later(back.latency(), _accepted, future, connection)


async def _serve(serve: Callable[[Stream], Awaitable[None]], stream: Stream) -> None:
    await serve(stream)


def _refuse(future: asyncio.Future[Stream], target: str) -> None:
    if not future.done():
        future.set_exception(ConnectionRefusedError(f"{target} refused the connection"))


def _accepted(future: asyncio.Future[Stream], connection: Connection) -> None:
    if future.done() or connection.ends[0].host.down:
        connection.ends[0].hang_up()
    else:
        future.set_result(connection.ends[0])


class _Listener:
    def __init__(self, host: Host, address: str) -> None:
        self._host = host
        self._address = address

    async def close(self) -> None:
        self._host.serves = None

    def address(self) -> str:
        return self._address
