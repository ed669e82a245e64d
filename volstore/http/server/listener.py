"""Accepts HTTP connections: lets them in or turns them away, and has TLS done with the contexts of the moment.

Our own accept loop, since asyncio's servers count nothing, and keep the TLS context that they began with.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, cast

import structlog

from volstore.http.server.admission import Admission, Ticket, TurnedAway
from volstore.http.server.connection import FAREWELL, last_words

_ACCEPT_PAUSE = 1.0
"""Seconds until the next try to accept after one failed for want of descriptors or memory."""
_ACCEPTS_AT_ONCE = 64
_MOST_FAREWELLS = 64
"""How many who were turned away are waited for at a time, to have read why."""
_OTHER_DESCRIPTORS = 256
"""Descriptors that a node needs beside its HTTP connections: members, journal, snapshots, logs."""
# A client that is gone without a word (its machine died) is found out by the kernel within a minute or so.
_DEAD_AFTER = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))

_log = structlog.get_logger("volstore.http")


def room_for(most: int) -> int:
    """As many of `most` connections as the process may have descriptors for."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return most
    return min(most, max(descriptors - _OTHER_DESCRIPTORS, descriptors // 2))


class HttpListener:
    """Serves what connects to `sock` by what `make` makes of its ticket."""

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        make: Callable[[Ticket], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        *,
        handshake_timeout: float,
    ) -> None:
        """`sock` listens already; it is closed with the listener. `handshake_timeout` is in seconds."""
        self.tls = tls
        """For connections from now on; whether there is TLS can't change."""
        self._sock = sock
        self._admission = admission
        self._make = make
        self._handshake_timeout = handshake_timeout
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: set[_Farewell] = set()
        self._closed = False
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _DEAD_AFTER:
            if hasattr(socket, name):  # what is accepted inherits it
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._listen()

    async def close(self) -> None:
        """Accept nothing more; who is in is the server's to close."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for farewell in list(self._farewells):
            farewell.end()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of descriptors or memory: what waits stays in the kernel's queue, and would call at once again.
                _log.warning("http_accept_failed", reason=str(error))
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_ACCEPT_PAUSE, self._listen)
                return
            connection.setblocking(False)
            admitted = self._admission.admit(address[0])
            if isinstance(admitted, Ticket):
                self._spawn(self._welcome(connection, admitted), connection, admitted)
            elif self.tls is not None or len(self._farewells) >= _MOST_FAREWELLS:
                connection.close()
            else:
                self._spawn(self._turn_away(connection, admitted), connection)

    def _spawn(self, work: Coroutine[Any, Any, None], connection: socket.socket, ticket: Ticket | None = None) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, connection, ticket))

    async def _welcome(self, connection: socket.socket, ticket: Ticket) -> None:
        try:
            if self.tls is None:
                await self._loop.connect_accepted_socket(lambda: self._make(ticket), connection)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: self._make(ticket),
                    connection,
                    ssl=self.tls,
                    ssl_handshake_timeout=self._handshake_timeout,
                    ssl_shutdown_timeout=FAREWELL,
                )
        except OSError as error:
            # No TLS, no certificate that we trust, or gone: for the client to notice, not for us.
            ticket.give_back()
            _log.debug("http_tls_refused", reason=str(error))

    async def _turn_away(self, connection: socket.socket, why: TurnedAway) -> None:
        answer = last_words(why.status, why.phrase, why.text, "Retry-After: 1\r\n")
        try:
            await self._loop.connect_accepted_socket(lambda: _Farewell(self._farewells, answer), connection)
        except OSError as error:
            _log.debug("http_client_left", reason=str(error))

    def _done(self, task: asyncio.Task[None], connection: socket.socket, ticket: Ticket | None) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if ticket is not None and (task.cancelled() or failure is not None):
            ticket.give_back()
        if task.cancelled():
            connection.close()  # it may have been cancelled before its first step, with nobody to close it
        elif failure is not None:
            self._loop.call_exception_handler({"message": "accepting an HTTP connection failed", "exception": failure})


class _Farewell(asyncio.Protocol):
    """Says why, and waits a moment for the other side to leave: closing at once could destroy what was said."""

    def __init__(self, all_of_them: set[_Farewell], answer: bytes) -> None:
        self._all = all_of_them
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports don't inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._all.add(self)
        self._timer = asyncio.get_running_loop().call_later(FAREWELL, self.end)
        self._transport.write(self._answer)
        self._transport.write_eof()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._timer.cancel()
        self._all.discard(self)

    def end(self) -> None:
        self._transport.abort()
