"""The real network: TCP by asyncio streams, with mutual TLS where contexts are given."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.ports import Listener, Stream
from cluster.ratelimit import Logger


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both must verify the other side (`verify_mode` CERT_REQUIRED) and present this member's certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext


class TcpNetwork:
    """Implements `Network`. Plain TCP without `tls`: for loopback, or where the operator insists."""

    def __init__(
        self, log: Logger, tls: TlsContexts | None = None, *, handshake_timeout: float = 2.0, handshakes: int = 64
    ) -> None:
        """At most `handshakes` TLS handshakes at a time, each at most `handshake_timeout` seconds."""
        raise NotImplementedError

    async def listen(self, address: str, serve: Callable[[Stream], Awaitable[None]]) -> Listener:
        raise NotImplementedError

    async def connect(self, address: str) -> Stream:
        raise NotImplementedError
