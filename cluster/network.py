"""The real network: TCP on the asyncio loop, with mutual TLS where contexts are given."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from cluster.ports import Listener, Stream
from cluster.ratelimit import Logger, RateLimitedLog

_READ_AHEAD = 256 << 10
"""Bytes that may wait for `read` before the kernel is asked to hold back the other side."""

_SEND_BUFFER = 256 << 10
"""Bytes that the kernel may hold unsent (Linux doubles it). Left alone it grows to megabytes on a slow line, and a
heartbeat would wait behind all of them, unseen by whoever counts what is queued."""


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both must verify the other side (`verify_mode` CERT_REQUIRED) and show this member's certificate.

    A certificate's SAN DNS names are the names of the member that it proves; they are compared in the handshake, so
    `check_hostname` of the client's context is usually off (on, it checks the host of the address besides).
    """

    server: ssl.SSLContext
    client: ssl.SSLContext


class TcpNetwork:
    """Implements `Network`. Plain TCP without `tls`: for loopback, or where the operator insists."""

    def __init__(
        self, log: Logger, tls: TlsContexts | None = None, *, handshake_timeout: float = 2.0, handshakes: int = 64
    ) -> None:
        """At most `handshakes` TLS handshakes of strangers at a time (the oldest goes first), each at most
        `handshake_timeout` seconds. ValueError when a context doesn't verify the other side."""
        for context in (tls.server, tls.client) if tls else ():
            if context.verify_mode is not ssl.CERT_REQUIRED:
                raise ValueError("TLS between members must be mutual: both contexts need verify_mode CERT_REQUIRED")
        self._log = RateLimitedLog(log)
        self._tls = tls
        self._handshake_timeout = handshake_timeout
        self._handshakes = handshakes

    async def listen(self, address: str, serve: Callable[[Stream], Awaitable[None]]) -> Listener:
        """Serve each connection, once its certificate is verified, in a task of its own. OSError names the address."""
        host, port = split_address(address)
        listener = _TcpListener()

        async def welcome(stream: _TcpStream) -> None:
            if self._tls is None or await self._secure_accepted(listener, stream, self._tls.server):
                await serve(stream)

        def accepted(stream: _TcpStream) -> None:
            if listener.closed:
                stream.close()
                return
            task = loop.create_task(welcome(stream))
            listener.tasks.add(task)
            task.add_done_callback(served)

        def served(task: asyncio.Task[None]) -> None:
            listener.tasks.discard(task)
            if not task.cancelled() and (failure := task.exception()) is not None:
                # A defect: strangers raise OSError only. Now, not whenever the task is collected.
                loop.call_exception_handler({"message": "serving a connection failed", "exception": failure})

        loop = asyncio.get_running_loop()
        held = self._tls is not None
        try:
            listener.server = await loop.create_server(lambda: _TcpStream(loop, accepted, hold=held), host, port)
        except OSError as error:
            raise OSError(error.errno, f"can't listen on {address}: {error.strerror or error}") from error
        return listener

    async def connect(self, address: str) -> Stream:
        """Connect, and with TLS verify the other side. OSError names the address."""
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(lambda: _TcpStream(loop, hold=self._tls is not None), host, port)
            if self._tls is not None:
                await stream.secure(self._tls.client, self._handshake_timeout, host)
        except OSError as error:
            raise ConnectionError(f"can't connect to {address}: {error}") from error
        return stream

    async def _secure_accepted(self, listener: _TcpListener, stream: _TcpStream, context: ssl.SSLContext) -> bool:
        now, host = asyncio.get_running_loop().time(), _host(stream.peer())
        if len(listener.handshakes) >= self._handshakes:
            oldest = next(iter(listener.handshakes))
            del listener.handshakes[oldest]
            oldest.close()
            self._log.warning(now, host, "stranger_dropped", peer_address=oldest.peer(), reason="too many handshakes")
        listener.handshakes[stream] = None
        try:
            await stream.secure(context, self._handshake_timeout, None)
        except OSError as error:
            cause = getattr(error, "reason", None) or type(error).__name__
            self._log.warning(
                now, (cause, host), "stranger_refused", cause="tls", reason=str(error), peer_address=stream.peer()
            )
            return False
        finally:
            listener.handshakes.pop(stream, None)
        return True


class _TcpListener:
    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.handshakes: dict[_TcpStream, None] = {}
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        if self.server is not None:
            self.server.close()
        for stream in list(self.handshakes):
            stream.close()
        if self.tasks:
            await asyncio.wait(self.tasks)
        # The loop may hold a connection that it accepted just before, which nobody can see yet: it needs one turn to
        # give it a stream, one to present it here (where it is closed), and one to close its socket.
        for _ in range(3):
            await asyncio.sleep(0)

    def address(self) -> str:
        assert self.server is not None
        return _join(self.server.sockets[0].getsockname())


class _TcpStream(asyncio.Protocol):
    """One TCP connection: what was received waits here for `read`; `drain` ends when the kernel has everything."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accepted: Callable[[_TcpStream], None] | None = None,
        *,
        hold: bool = False,
    ) -> None:
        """`hold`: read nothing before `secure`, as bytes from before it would pass for bytes that came inside it."""
        self._loop = loop
        self._accepted = accepted
        self._hold = hold
        self._transport: asyncio.Transport | None = None
        self._received: deque[bytes] = deque()
        self._waiting = 0
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._ended = False
        self._lost: BaseException | None = None
        self._closed = False
        self._peer = "unknown"
        self._names: frozenset[str] = frozenset()

    async def secure(self, context: ssl.SSLContext, within: float, host: str | None) -> None:
        """Turn the connection into a TLS one `within` seconds, as the client when `host` is given. Raises OSError."""
        transport = self._transport
        try:
            if transport is None or self._ended:
                raise ConnectionError("closed before the TLS handshake")
            secured = await self._loop.start_tls(
                transport,
                self,
                context,
                server_side=host is None,
                server_hostname=host,
                ssl_handshake_timeout=within,
            )
            if secured is None:
                raise ConnectionError("closed during the TLS handshake")
            self._transport = secured
            self._limit_writing(secured)
            certificate = secured.get_extra_info("peercert") or {}
            self._names = frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
            if not self._names:
                # Without a name the handshake couldn't tell this from a connection without TLS.
                raise ConnectionError("the certificate names no member: it has no DNS name in its subjectAltName")
        except BaseException:
            self.close()
            if transport is not None:
                transport.abort()
            raise

    async def read(self, limit: int) -> bytes:
        while not self._received:
            if self._lost is not None:
                raise ConnectionError(str(self._lost) or type(self._lost).__name__) from self._lost
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._received.popleft()
        if len(data) > limit:
            self._received.appendleft(data[limit:])
            data = data[:limit]
        before, self._waiting = self._waiting, self._waiting - len(data)
        if before > _READ_AHEAD >= self._waiting and self._transport is not None and not self._ended:
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._ended and not self._closed:
            self._transport.write(data)

    async def drain(self) -> None:
        if self._drained is not None:
            await asyncio.shield(self._drained)
        if self._ended or self._closed:
            raise ConnectionError(str(self._lost) if self._lost else "the connection is closed")

    def close(self) -> None:
        self._closed = True
        self._received.clear()
        self._waiting = 0
        if self._transport is not None:
            # Not close(): that waits, for ever if need be, until the other side has taken what is unsent.
            self._transport.abort()
        self._end()

    def peer(self) -> str:
        return self._peer

    def peer_names(self) -> frozenset[str]:
        return self._names

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports don't inherit from asyncio's.
        self._transport = tcp = cast(asyncio.Transport, transport)
        self._limit_writing(tcp)
        address = transport.get_extra_info("peername")
        if address:
            self._peer = _join(address)
        if self._hold:
            tcp.pause_reading()
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._received.append(data)
        before, self._waiting = self._waiting, self._waiting + len(data)
        if before <= _READ_AHEAD < self._waiting and self._transport is not None:
            self._transport.pause_reading()
        self._wake(self._reader)

    def connection_lost(self, error: BaseException | None) -> None:
        if not self._closed:
            self._lost = error
        self._end()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._wake(self._drained)
        self._drained = None

    def _end(self) -> None:
        self._ended = True
        self._wake(self._reader)
        self.resume_writing()

    @staticmethod
    def _wake(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)

    @staticmethod
    def _limit_writing(transport: asyncio.Transport) -> None:
        # 1, not 0: with 0 asyncio's TLS pauses on an empty buffer, and nothing is left that would resume it.
        transport.set_write_buffer_limits(high=1, low=0)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def split_address(address: str) -> tuple[str, int]:
    """ "HOST:PORT" or "[IPV6]:PORT" as its parts. OSError names what is wrong."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise OSError(f"{address!r} isn't an address: HOST:PORT is expected, as in 10.0.0.1:4647 or [::1]:4647")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _join(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host(address: str) -> str:
    return address.rpartition(":")[0]
