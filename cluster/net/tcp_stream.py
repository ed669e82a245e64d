"""One TCP connection, plain or TLS, as a `Stream`: reads when asked, and drains when the kernel has everything."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

_READ_AHEAD = 256 << 10
"""Bytes that may wait for `read` before the kernel is asked to hold back the other side."""

_SEND_BUFFER = 256 << 10
"""Bytes that the kernel may hold unsent (Linux doubles it). Left alone it grows to megabytes on a slow line, and a
heartbeat would wait behind all of them, unseen by whoever counts what is queued."""


LOCALHOST = "localhost"
"""A name that servers' certificates have for those who ask them on their own machine."""


class TcpStream(asyncio.Protocol):
    """One TCP connection: what was received waits here for `read`; `drain` ends when the kernel has everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received: deque[bytes] = deque()
        self._waiting = 0
        self._reader: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._ended = False
        self._lost: BaseException | None = None
        self._closed = False
        self._peer = "unknown"
        self._names: frozenset[str] = frozenset()

    def must_name(self, wanted: str, roles: str = "") -> None:
        """Close a TLS connection whose other side's certificate has no DNS name, or lacks the name `wanted` if that is
        given. Raises ConnectionError. Names that many certificates have identify nobody, so `peer_names` is without
        `localhost`, `wanted`, and those that end with `roles`."""
        if not self._names:
            # Without a name the log's handshake couldn't tell this from a connection without TLS.
            self.close()
            raise ConnectionError("the certificate names no member: it has no DNS name in its subjectAltName")
        if wanted and wanted not in self._names:
            self.close()
            shown = ", ".join(sorted(self._names))[:200]
            raise ConnectionError(f"the certificate isn't a member's: it lacks the name {wanted}, and has {shown}")
        own = [name for name in self._names if name.lower() not in (LOCALHOST, wanted.lower())]
        self._names = frozenset(name for name in own if not roles or not name.lower().endswith(roles.lower()))
        if not self._names:
            self.close()
            raise ConnectionError("the certificate names no member: its names are those that any member's has")

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

    async def read_into(self, take: Callable[[bytes], None]) -> None:
        """What comes is handed over in the turn of the loop in which it comes: nothing has to wake up for it."""
        while self._received:
            take(await self.read(_READ_AHEAD))
        while not self._ended:
            self._reader, self._take = self._loop.create_future(), take
            try:
                await self._reader
            finally:
                self._reader = self._take = None
        if self._lost is not None:
            raise ConnectionError(str(self._lost) or type(self._lost).__name__) from self._lost

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._ended and not self._closed:
            self._transport.write(data)

    def is_drained(self) -> bool:
        return self._drained is None and not self._ended and not self._closed

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
            self._peer = join_address(address)
        certificate = tcp.get_extra_info("peercert") or {}
        self._names = frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        if self._take is not None:
            try:
                self._take(data)
            except Exception as error:
                self._take = None
                if self._reader is not None and not self._reader.done():
                    self._reader.set_exception(error)
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


def join_address(address: tuple[str, int]) -> str:
    """ "HOST:PORT", with brackets around an IPv6 host."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
