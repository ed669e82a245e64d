"""The fast path of a connection: plain requests are parsed and answered here, and anything else goes to aiohttp.

Parsing and answering a request with aiohttp costs as much as a register itself. Most requests are small and arrive in
one piece: these don't need it. Nothing is refused here: an unusual request goes to aiohttp as it came, with the rest
of its connection. Both paths share everything after the parsing (`HttpServer.answer`).
"""

from __future__ import annotations

import asyncio
import math
import re
import select
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from multidict import CIMultiDict, CIMultiDictProxy

from volstore.http.server.admission import Ticket
from volstore.http.server.answers import Answer, encode_head
from volstore.http.server.settings import HttpSettings

_LONGEST_HEAD = 4096
_FIRST_LINE = re.compile(rb"(GET|PUT|POST|DELETE) (/[!\"$-~]*) HTTP/1\.1")
"""A target without a fragment."""
_LINES = re.compile(rb"(?:\r\n[A-Za-z0-9-]+:[ -~]*)+")
"""Header lines without anything that HTTP reads in more than one way."""
_UNUSUAL = (
    "Connection",
    "Content-Encoding",
    "Expect",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)
"""Headers that say how to read the request, or what to do with its connection."""
_LARGE = 64 * 1024
"""Bytes of a body from which on it goes out as it is: to copy a list behind its head takes a third of its answer."""
_MOST_HELD = 64 * 1024
"""Bytes, and one read more, that are taken in behind a request that is being answered: only reading sees a hang-up."""
_LOOK = 1.0
"""Seconds between two looks for a hang-up while nothing is read."""


class PlainRequest:
    """A whole request, with the names of aiohttp's. Each header is there once; `raw_path` has the query too."""

    __slots__ = ("body", "headers", "method", "raw_path", "remote")

    def __init__(self, method: str, raw_path: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.method = method
        self.raw_path = raw_path
        self.headers = headers
        self.body = body
        self.remote: str | None = None


class _Head(NamedTuple):
    """A request's header lines, read; `length` is that of the body."""

    lines: bytes
    headers: CIMultiDictProxy[str]
    length: int


class PlainReader:
    """Reads the requests of one connection. A client sends much the same header lines each time: read once."""

    __slots__ = ("_head", "_longest_head")

    def __init__(self, longest_head: int) -> None:
        self._longest_head = longest_head
        self._head: _Head | None = None

    def read(self, data: bytes) -> PlainRequest | None:
        """The one request that `data` is, from its first byte to its last; None where it is anything else."""
        end = data.find(b"\r\n\r\n", 0, self._longest_head)
        found = _FIRST_LINE.match(data, 0, end)
        if end < 0 or found is None:
            return None
        head, lines = self._head, data[found.end() : end]
        if head is None or head.lines != lines:
            self._head = head = _head(lines)
            if head is None:
                return None
        start = end + 4
        if len(data) - start != head.length:
            return None
        method, target = found.groups()
        return PlainRequest(method.decode(), target.decode(), head.headers, data[start:])


def _head(lines: bytes) -> _Head | None:
    if _LINES.fullmatch(lines) is None:
        return None
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines.decode().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name in headers:
            return None
        headers[name] = value.strip(" ")
    if "Host" not in headers or any(name in headers for name in _UNUSUAL):
        return None
    length = headers.get("Content-Length", "0")
    if not length.isdigit() or len(length) > 9:
        return None
    return _Head(lines, CIMultiDictProxy(headers), int(length))


Serve = Callable[[PlainRequest], Awaitable[Answer]]
"""Raises CancelledError alone: everything else is an answer."""
Other = Callable[[Ticket], asyncio.Protocol]
"""Makes the protocol that goes on with a connection: aiohttp's."""


class PlainConnections:
    """The connections that are still read here. All methods belong to one event loop."""

    def __init__(self, serve: Serve, other: Other) -> None:
        self.serve = serve
        self.open: set[PlainConnection] = set()
        self._other = other

    def hand_over(self, transport: asyncio.Transport, data: bytes, ticket: Ticket) -> None:
        """Let aiohttp go on with a connection, on which `data` came just now."""
        protocol = self._other(ticket)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    async def stop(self, within: float) -> None:
        """Let running requests end within so many seconds, and close all connections."""
        tasks = [task for connection in list(self.open) if (task := connection.finish()) is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.open):
            connection.abort()


class PlainConnection(asyncio.Protocol):
    """Answers one request at a time; the next ones are held meanwhile, or left unread beyond `_MOST_HELD`.

    It has the limits of `connection.Connection`: the first request within `head_deadline`, the next ones within
    `idle_timeout`, and an answer must be on its way out of this process within `send_deadline`.
    """

    def __init__(self, connections: PlainConnections, ticket: Ticket, limits: HttpSettings) -> None:
        self._connections = connections
        self._ticket = ticket
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._reader = PlainReader(min(_LONGEST_HEAD, limits.max_url_bytes, limits.max_header_bytes))
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._answering: asyncio.Task[None] | None = None
        self._held = b""
        self._look_timer: asyncio.TimerHandle | None = None
        self._finishing = False
        self._idle_since = -math.inf
        self._idle_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports don't inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self._remote = str(address[0]) if address else ""
        self._connections.open.add(self)
        self._idle_timer = self._loop.call_later(self._limits.head_deadline, self._check_idle)

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._ticket.give_back()
        if self._answering is not None:
            self._answering.cancel()  # A client that hangs up frees its waiter.

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or self._finishing:
            return
        if self._answering is not None or self._send_timer is not None:
            self._held += data
            if len(self._held) > _MOST_HELD and self._look_timer is None:
                transport.pause_reading()
                self._look_timer = self._loop.call_later(_LOOK, self._look)
            return
        request = self._reader.read(data)
        if request is not None:
            request.remote = self._remote
            self._answering = self._loop.create_task(self._answer(request))
        else:
            self._leave()
            self._connections.hand_over(transport, data, self._ticket)

    def pause_writing(self) -> None:
        """The client isn't reading: stop reading from it, and abort after `send_deadline`."""
        self._send_timer = self._loop.call_later(self._limits.send_deadline, self.abort)

    def resume_writing(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        if self._answering is None:
            self._go_on()

    # Requests.

    async def _answer(self, request: PlainRequest) -> None:
        try:
            answer = await self._connections.serve(request)
            head = encode_head(answer)
        except Exception as fault:
            # Part of the answer may be sent, so only the log can say it.
            self._loop.call_exception_handler({"message": "answering a request failed", "exception": fault})
            self.abort()
            return
        finally:
            self._answering = None
            self._idle_since = self._loop.time()
        if self._transport is None:
            return
        if len(answer.body) < _LARGE:
            self._transport.write(head + answer.body)
        else:
            self._transport.writelines((head, answer.body))
        if self._finishing:
            self._transport.close()
        elif self._send_timer is None:
            self._go_on()

    def _go_on(self) -> None:
        if self._held and self._transport is not None:
            held, self._held = self._held, b""
            if self._look_timer is not None:
                self._look_timer.cancel()
                self._look_timer = None
                self._transport.resume_reading()
            self.data_received(held)

    def _look(self) -> None:
        """Reading is paused, so the loop tells of no hang-up: ask the kernel."""
        if self._transport is None:
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if poll.poll(0):
            self.abort()
        else:
            self._look_timer = self._loop.call_later(_LOOK, self._look)

    # Its end.

    def finish(self) -> asyncio.Task[None] | None:
        """Take no more requests. Closes at once, or after the answer whose task is returned."""
        self._finishing = True
        if self._answering is None and self._transport is not None:
            self._transport.close()
        return self._answering

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _check_idle(self) -> None:
        """One timer for the connection, not one for each request."""
        now, wait = self._loop.time(), self._limits.idle_timeout
        if self._answering is None and now >= self._idle_since + wait:
            self.abort()
            return
        due = now + wait if self._answering is not None else self._idle_since + wait
        self._idle_timer = self._loop.call_at(due, self._check_idle)

    def _leave(self) -> None:
        """Forget the connection: it is closed, or aiohttp's."""
        self._transport = None
        self._connections.open.discard(self)
        for timer in (self._idle_timer, self._send_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
