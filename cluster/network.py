"""The real network: TCP on the asyncio loop, with mutual TLS where contexts are given."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.ports import Listener, Stream
from cluster.ratelimit import Logger, RateLimitedLog
from cluster.tcp_stream import TcpStream, join_address

_ACCEPT_PAUSE = 1.0
"""Seconds until the next try to accept after one failed for want of descriptors or memory."""


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both must verify the other side (`verify_mode` CERT_REQUIRED) and show this member's certificate.

    A certificate's SAN DNS names are the names of the member that it proves; they are compared in the handshake, so
    `check_hostname` of the client's context is usually off (on, it checks the host of the address besides). With
    `every_member`, a certificate must have that name too: an authority that also signs for others gives it to
    members only.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    every_member: str = ""


class TcpNetwork:
    """Implements `Network`. Plain TCP without `tls`: for loopback, or where the operator insists."""

    def __init__(
        self, log: Logger, tls: TlsContexts | None = None, *, handshake_timeout: float = 2.0, handshakes: int = 64
    ) -> None:
        """At most `handshakes` TLS handshakes of strangers at a time (the oldest goes first), each at most
        `handshake_timeout` seconds. ValueError when a context doesn't verify the other side."""
        self._log = RateLimitedLog(log)
        self._tls = tls
        if tls is not None:
            self.use(tls)
        self._handshake_timeout = handshake_timeout
        self._handshakes = handshakes

    def use(self, tls: TlsContexts) -> None:
        """For new connections, in both directions; those that are open go on. ValueError as above, or without TLS."""
        if self._tls is None:
            raise ValueError("a network that began without TLS can't go on with it")
        for context in (tls.server, tls.client):
            if context.verify_mode is not ssl.CERT_REQUIRED:
                raise ValueError("TLS between members must be mutual: both contexts need verify_mode CERT_REQUIRED")
        self._tls = tls

    async def listen(self, address: str, serve: Callable[[Stream], Awaitable[None]]) -> Listener:
        """Serve each connection, once its certificate is verified, in a task of its own. OSError names the address."""
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        try:
            family, _, _, _, resolved = (
                await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            )[0]
            sock = socket.create_server((resolved[0], resolved[1]), family=family, backlog=128)
        except OSError as error:
            raise OSError(error.errno, f"can't listen on {address}: {error.strerror or error}") from error
        sock.setblocking(False)

        async def welcome(listener: TcpListener, stream: TcpStream) -> None:
            if self._tls is None or await self._secure_accepted(listener, stream, self._tls):
                await serve(stream)

        return TcpListener(loop, sock, welcome, self._log, hold=self._tls is not None)

    async def connect(self, address: str) -> Stream:
        """Connect, and with TLS verify the other side. OSError names the address."""
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(lambda: TcpStream(loop, hold=self._tls is not None), host, port)
            if self._tls is not None:
                tls = self._tls
                await stream.secure(tls.client, self._handshake_timeout, host, tls.every_member)
        except OSError as error:
            raise ConnectionError(f"can't connect to {address}: {error}") from error
        return stream

    async def _secure_accepted(self, listener: TcpListener, stream: TcpStream, tls: TlsContexts) -> bool:
        now, host = asyncio.get_running_loop().time(), stream.peer().rpartition(":")[0]
        if len(listener.handshakes) >= self._handshakes:
            oldest = next(iter(listener.handshakes))
            del listener.handshakes[oldest]
            oldest.close()
            self._log.warning(now, host, "stranger_dropped", peer_address=oldest.peer(), reason="too many handshakes")
        listener.handshakes[stream] = None
        try:
            await stream.secure(tls.server, self._handshake_timeout, None, tls.every_member)
        except OSError as error:
            cause = getattr(error, "reason", None) or type(error).__name__
            self._log.warning(
                now, (cause, host), "stranger_refused", cause="tls", reason=str(error), peer_address=stream.peer()
            )
            return False
        finally:
            listener.handshakes.pop(stream, None)
        return True


class TcpListener:
    """Accepts connections. Its own accept loop, as asyncio's server (until Python 3.12) leaves a socket open that it
    accepts in the turn in which it is closed: here each belongs to a task, which `close` waits for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        welcome: Callable[[TcpListener, TcpStream], Awaitable[None]],
        log: RateLimitedLog,
        *,
        hold: bool,
    ) -> None:
        self.handshakes: dict[TcpStream, None] = {}
        """TLS handshakes that are going on, the oldest first."""
        self.closed = False
        self._loop = loop
        self._sock = sock
        self._address = join_address(sock.getsockname())
        self._welcome = welcome
        self._log = log
        self._hold = hold
        self._tasks: set[asyncio.Task[None]] = set()
        self._listen()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()
        for stream in list(self.handshakes):
            stream.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def address(self) -> str:
        return self._address

    def _listen(self) -> None:
        if not self.closed:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors or memory: the connection stays in the kernel's queue, and would call again at once.
            self._log.warning(self._loop.time(), error.errno, "accept_failed", reason=str(error), address=self._address)
            self._loop.remove_reader(self._sock)
            self._loop.call_later(_ACCEPT_PAUSE, self._listen)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    async def _serve(self, connection: socket.socket) -> None:
        _, stream = await self._loop.connect_accepted_socket(lambda: TcpStream(self._loop, hold=self._hold), connection)
        if self.closed:
            stream.close()
        else:
            await self._welcome(self, stream)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            # A defect: strangers raise OSError only. Now, not whenever the task is collected.
            self._loop.call_exception_handler({"message": "serving a connection failed", "exception": failure})


def split_address(address: str) -> tuple[str, int]:
    """ "HOST:PORT" or "[IPV6]:PORT" as its parts. OSError names what is wrong."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise OSError(f"{address!r} isn't an address: HOST:PORT is expected, as in 10.0.0.1:4647 or [::1]:4647")
    return host.removeprefix("[").removesuffix("]"), int(port)
