"""One simulated TCP connection: two ends, and a pipe in each direction in which bytes are late, held up or cut."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.loop import NodeLoop
    from tests.simulation.network import Host, Link, Wire

_SEND_BUFFER = 64 << 10
_RECEIVE_BUFFER = 128 << 10


class Connection:
    """Two ends and a pipe in each direction."""

    def __init__(self, wire: Wire, dialler: Host, acceptor: Host) -> None:
        self.wire = wire
        self.ends = (Endpoint(dialler, acceptor.name), Endpoint(acceptor, dialler.name))
        one = Pipe(self, wire.link(dialler.name, acceptor.name), self.ends[1])
        two = Pipe(self, wire.link(acceptor.name, dialler.name), self.ends[0])
        self.pipes = (one, two)
        self.ends[0].out, self.ends[1].out = one, two
        self.ends[0].incoming, self.ends[1].incoming = two, one
        wire.connections[self] = None

    def reset_both(self) -> None:
        for pipe in self.pipes:
            pipe.cut()
        for end in self.ends:
            end.broken()

    def forget_if_over(self) -> None:
        if all(pipe.over for pipe in self.pipes):
            self.wire.connections.pop(self, None)


class Pipe:
    """One direction of a connection: what is under way, each piece with its time of arrival."""

    def __init__(self, connection: Connection, link: Link, target: Endpoint) -> None:
        self.connection = connection
        self.link = link
        self.target = target
        self.under_way = 0
        self.over = False
        self._queue: deque[tuple[float, bytes]] = deque()
        self._last = 0.0
        self._ending: float | None = None
        self._planned = False
        self._drained: list[asyncio.Future[None]] = []

    def send(self, data: bytes) -> None:
        if self.over or self._ending is not None:
            return
        now, link = self._root.time(), self.link
        self._last = max(now + link.latency(), self._last) + len(data) / link.bandwidth
        self._queue.append((self._last, data))
        self.under_way += len(data)
        self._plan(self._last)

    def pump(self) -> None:
        """Deliver what has arrived, as far as the link and the receiver's buffer let it."""
        if self.over or self.link.blocked:
            return
        now, target = self._root.time(), self.target
        while self._queue and self._queue[0][0] <= now:
            if target.host.down:
                self._undeliverable()
                return
            if target.buffered >= _RECEIVE_BUFFER and not target.closed:
                return  # Its `read` pumps again.
            _when, data = self._queue.popleft()
            self.under_way -= len(data)
            target.receive(data)
        if self.under_way <= _SEND_BUFFER:
            self._wake(None)
        if self._queue:
            self._plan(self._queue[0][0])
        elif self._ending is not None:
            if self._ending <= now:
                self.over = True
                target.broken(cleanly=self.link.random.random() < 0.5)
                self.connection.forget_if_over()
            else:
                self._plan(self._ending)

    def finish(self, *, rudely: bool) -> None:
        """The sender hangs up, and the other side hears of it by and by. What its kernel holds still arrives; not
        all of it if it was `rude`: it died, or hadn't read everything that it got."""
        if self.over or self._ending is not None:
            return
        if rudely or self.under_way > _SEND_BUFFER:
            self.cut()
        self._ending = max(self._last, self._root.time() + self.link.latency())
        self._wake(ConnectionResetError("the connection was closed"))
        self._plan(self._ending)

    def cut(self) -> None:
        """Only a part of what is under way arrives, and it may end in the middle of a frame."""
        keep = self.link.random.randint(0, self.under_way)
        kept: deque[tuple[float, bytes]] = deque()
        for when, data in self._queue:
            if keep <= 0:
                break
            kept.append((when, data[:keep]))
            keep -= len(data)
        self._queue = kept
        self.under_way = sum(len(data) for _, data in kept)

    def drop(self) -> None:
        self.over = True
        self._queue.clear()
        self.under_way = 0
        self._wake(ConnectionResetError("the connection was reset"))
        self.connection.forget_if_over()

    async def drained(self) -> None:
        if self.under_way > _SEND_BUFFER:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(future)
            await future

    def _undeliverable(self) -> None:
        """The machine that this was for is down, or has forgotten the connection while it was."""
        up = self.connection.wire.hosts[self.target.host.name]
        if up is not self.target.host and not up.down:
            self.connection.reset_both()

    def _wake(self, error: Exception | None) -> None:
        waiting, self._drained = self._drained, []
        for future in waiting:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    @property
    def _root(self) -> NodeLoop:
        return self.connection.wire.root

    def _plan(self, when: float) -> None:
        if not self._planned:
            self._planned = True
            self._root.call_at(when, self._planned_pump)

    def _planned_pump(self) -> None:
        self._planned = False
        self.pump()


class Endpoint:
    """`cluster.ports.Stream`."""

    out: Pipe
    incoming: Pipe

    def __init__(self, host: Host, peer: str) -> None:
        self.host = host
        self.closed = False
        self.buffered = 0
        self._peer = peer
        self._buffer: deque[bytes] = deque()
        self._reset = False
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def receive(self, data: bytes) -> None:
        if not self.closed and data:
            self._buffer.append(data)
            self.buffered += len(data)
            self._wake()

    def broken(self, *, cleanly: bool = False) -> None:
        """The connection was reset; `cleanly`: what was sent before it arrived, and reads end without an error."""
        self._reset = True
        self._ended = cleanly
        self.out.drop()
        self.incoming.drop()
        self._wake()

    def hang_up(self) -> None:
        if not self.closed:
            self.closed = True
            self.out.finish(rudely=self.host.down or self.buffered > 0)
            self._buffer.clear()
            self.buffered = 0
            self.incoming.drop()
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def read(self, limit: int) -> bytes:
        while not self._buffer:
            if self.closed or self._ended:
                return b""
            if self._reset:
                raise ConnectionResetError("the other side closed or reset the connection")
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._buffer.popleft()
        if len(data) > limit:
            self._buffer.appendleft(data[limit:])
            data = data[:limit]
        full = self.buffered >= _RECEIVE_BUFFER
        self.buffered -= len(data)
        if full:
            self.incoming.pump()
        return data

    async def read_into(self, take: Callable[[bytes], None]) -> None:
        while data := await self.read(_RECEIVE_BUFFER):
            take(data)

    def write(self, data: bytes) -> None:
        if not self.closed and not self._reset and not self.host.down:
            self.out.send(bytes(data))

    def is_drained(self) -> bool:
        return not self.closed and not self._reset and self.out.under_way <= _SEND_BUFFER

    async def drain(self) -> None:
        if not self.closed and not self._reset:
            await self.out.drained()
        if self.closed or self._reset:
            raise ConnectionResetError("the connection is closed")

    def close(self) -> None:
        if not self.host.down:
            self.hang_up()

    def peer(self) -> str:
        return f"{self._peer}:0"

    def peer_names(self) -> frozenset[str]:
        return frozenset()
