"""A fixed number of requests over plain connections, at a cost to this process that leaves the rest to the node.

wrk sends for a time; what is compared per request needs a count, and other requests than the same one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import cast

_END = b"\r\n\r\n"

Answered = Callable[["Connection"], None]
Failed = Callable[[Exception], None]


class Connection(asyncio.Protocol):
    """One connection with one request at a time; `answered` is told of each whole answer, `failed` why there is none.

    An answer must be a 200.
    """

    def __init__(self, answered: Answered, failed: Failed) -> None:
        self.index = 0
        """X-Nomad-Index of the last answer."""
        self._answered, self._failed = answered, failed
        self._closed = False
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(_END)
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self._failed(RuntimeError(f"a request of the bench failed: {self._head[:500]!r}"))
                return
            self.index = int(_header(head, b"X-Nomad-Index: ") or b"0")
            self._missing = int(_header(head, b"Content-Length: ")) - len(body)
        if self._missing == 0:
            self._head = b""
            self._answered(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed:
            self._failed(error or RuntimeError("the node closed a connection of the bench"))

    def send(self, request: bytes) -> None:
        if self._transport is None:
            raise RuntimeError("not connected")
        self._transport.write(request)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(name)[2].partition(b"\r\n")[0]


def request(method: str, target: str, body: str = "") -> bytes:
    """A whole request, as small clients send it."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: volstore\r\n{length}\r\n{body}".encode()


async def connect(address: str, count: int, answered: Answered, failed: Failed) -> list[Connection]:
    """`address` is HOST:PORT."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(count):
        _transport, connection = await loop.create_connection(lambda: Connection(answered, failed), host, int(port))
        made.append(connection)
    return made


async def send_all(address: str, requests: Iterator[bytes], clients: int = 32) -> float:
    """Send every request, each client one after the other; the seconds that all took."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    busy = clients

    def next_one(connection: Connection) -> None:
        nonlocal busy
        following = next(requests, None)
        if following is not None:
            connection.send(following)
            return
        busy -= 1
        if busy == 0:
            done.set_result(None)

    def failed(why: Exception) -> None:
        if not done.done():
            done.set_exception(why)

    connections = await connect(address, clients, next_one, failed)
    start = time.perf_counter()
    for connection in connections:
        next_one(connection)
    async with asyncio.timeout(600):
        await done
    took = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return took
