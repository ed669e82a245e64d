"""The real network: TCP on the asyncio loop, with mutual TLS where contexts are given."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.net.rate_limit import Logger, RateLimitedLog
from cluster.net.tcp_stream import TcpStream, join_address
from cluster.ports import Listener, Stream

_ACCEPT_PAUSE = 1.0
"""Seconds until the next try to accept after one failed for want of descriptors or memory."""


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both must verify the other side (`verify_mode` CERT_REQUIRED) and show this member's certificate.

    A certificate's SAN DNS names are the names of the member that it proves; they are compared in the handshake, so
    `check_hostname` of the client's context is usually off (on, it checks the host of the address besides). With
    `every_member`, a certificate must have that name too: an authority that also signs for others gives it to
    members only. It is no member's name, nor is any that ends with `roles`, nor `localhost`: many have those.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    every_member: str = ""
    roles: str = ""


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

        return TcpListener(loop, sock, self._secured, serve, self._log, self._handshakes)

    async def connect(self, address: str) -> Stream:
        """Connect, and with TLS verify the other side. OSError names the address."""
        host, port = split_address(address)
        loop, tls = asyncio.get_running_loop(), self._tls
        stream = TcpStream(loop)
        try:
            if tls is None:
                await loop.create_connection(lambda: stream, host, port)
            else:
                await loop.create_connection(
                    lambda: stream,
                    host,
                    port,
                    ssl=tls.client,
                    server_hostname=host,
                    ssl_handshake_timeout=self._handshake_timeout,
                )
                stream.must_name(tls.every_member, tls.roles)
        except OSError as error:
            raise ConnectionError(f"can't connect to {address}: {error}") from error
        return stream

    async def _secured(self, connection: socket.socket) -> TcpStream:
        """The stream of an accepted connection. OSError when the other side isn't a member's.

        TLS from its first byte: with `start_tls`, uvloop reads on between the connection and the handshake, and
        what it reads there is lost to the handshake, or taken for something that came inside TLS.
        """
        loop, tls = asyncio.get_running_loop(), self._tls
        stream = TcpStream(loop)  # kept here, since with TLS uvloop returns a protocol of its own instead
        if tls is None:
            await loop.connect_accepted_socket(lambda: stream, connection)
        else:
            await loop.connect_accepted_socket(
                lambda: stream, connection, ssl=tls.server, ssl_handshake_timeout=self._handshake_timeout
            )
            stream.must_name(tls.every_member, tls.roles)
        return stream


class TcpListener:
    """Accepts connections. Its own accept loop, as asyncio's server (until Python 3.12) leaves a socket open that it
    accepts in the turn in which it is closed: here each belongs to a task, which `close` waits for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        secured: Callable[[socket.socket], Awaitable[TcpStream]],
        serve: Callable[[Stream], Awaitable[None]],
        log: RateLimitedLog,
        handshakes: int,
    ) -> None:
        self.closed = False
        self._loop = loop
        self._sock = sock
        self._address = join_address(sock.getsockname())
        self._secured = secured
        self._serve = serve
        self._log = log
        self._most_handshakes = handshakes
        self._handshakes: dict[asyncio.Task[None], str] = {}
        """Those that go on, the oldest first, with the address that each is with."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._listen()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()
        for task in list(self._handshakes):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def address(self) -> str:
        return self._address

    def _listen(self) -> None:
        if not self.closed:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            connection, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors or memory: the connection stays in the kernel's queue, and would call again at once.
            self._log.warning(self._loop.time(), error.errno, "accept_failed", reason=str(error), address=self._address)
            self._loop.remove_reader(self._sock)
            self._loop.call_later(_ACCEPT_PAUSE, self._listen)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._welcome(connection, join_address(address)))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._served(task, connection))
        if len(self._handshakes) >= self._most_handshakes:
            oldest = next(iter(self._handshakes))
            dropped = self._handshakes.pop(oldest)
            oldest.cancel()
            host = dropped.rpartition(":")[0]
            now = self._loop.time()
            self._log.warning(now, host, "stranger_dropped", peer_address=dropped, reason="too many handshakes")
        self._handshakes[task] = join_address(address)

    async def _welcome(self, connection: socket.socket, address: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            stream = await self._secured(connection)
        except OSError as error:
            cause, host = getattr(error, "reason", None) or type(error).__name__, address.rpartition(":")[0]
            reason = str(error) or f"the handshake broke off ({cause})"
            now = self._loop.time()
            self._log.warning(now, (cause, host), "stranger_refused", cause="tls", reason=reason, peer_address=address)
            return
        finally:
            self._handshakes.pop(task, None)
        if self.closed:
            stream.close()
        else:
            await self._serve(stream)

    def _served(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            connection.close()  # it may have been cancelled before its first step, with nobody to close it
        elif (failure := task.exception()) is not None:
            # A defect: strangers raise OSError only. Now, not whenever the task is collected.
            self._loop.call_exception_handler({"message": "serving a connection failed", "exception": failure})


def split_address(address: str) -> tuple[str, int]:
    """ "HOST:PORT" or "[IPV6]:PORT" as its parts. OSError names what is wrong."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise OSError(f"{address!r} isn't an address: HOST:PORT is expected, as in 10.0.0.1:4647 or [::1]:4647")
    return host.removeprefix("[").removesuffix("]"), int(port)
