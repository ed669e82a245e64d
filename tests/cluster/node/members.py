"""Members with real sockets for the transport's tests, and a way to wait for what they see."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trustme

from cluster.net.tcp import TcpNetwork, TlsContexts
from cluster.net.transport import Frame, Identity, Transport, TransportLimits
from cluster.ports import Network

QUICK = TransportLimits(keep_alive=0.05, dead_after=0.2, handshake_timeout=1.0, reconnect_min=0.01, reconnect_max=0.1)


class Witness:
    """Wakes whoever waits for a condition whenever something was recorded."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def tell(self) -> None:
        self._news.set()
        self._news.clear()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await self._news.wait()


class RecordedLog:
    """A logger that keeps its events, as (name, fields)."""

    def __init__(self, witness: Witness) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._witness = witness

    def info(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))
        self._witness.tell()

    warning = error = info

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]


class Member:
    """One transport with everything that it told recorded; `admits` (name → why not) and
    `raises` (callback → exception) make it misbehave."""

    def __init__(
        self,
        name: str,
        witness: Witness,
        *,
        tls: TlsContexts | None = None,
        limits: TransportLimits = QUICK,
        cluster_id: str = "c1",
        bind: str = "127.0.0.1:0",
        network: Network | None = None,
    ) -> None:
        self.name = name
        self.witness = witness
        self.log = RecordedLog(witness)
        self.messages: list[tuple[str, Frame]] = []
        self.changes: list[tuple[str, bool]] = []
        self.failures: list[BaseException] = []
        self.refusals: list[tuple[str, str]] = []
        self.admits: dict[str, str] = {}
        self.raises: dict[str, Exception] = {}
        self.address = ""
        self.transport = Transport(
            network=network or TcpNetwork(self.log, tls, handshake_timeout=1.0, handshakes=4),
            random=random.SystemRandom(),
            me=Identity(name, b"disk-of-" + name.encode(), cluster_id, {"version": "1"}),
            bind=bind,
            log=self.log,
            admit=self._admit,
            on_message=self._on_message,
            on_peer=self._on_peer,
            on_failure=self._on_failure,
            on_refused=self._on_refused,
            limits=limits,
        )

    async def start(self) -> Member:
        self.address = await self.transport.start()
        return self

    def queued(self, peer: str) -> int:
        """Bytes for `peer` that the kernel hasn't taken yet; 0 when it isn't connected."""
        link = self.transport._pairs.outgoing(peer)
        return link.queued if link is not None else 0

    def _admit(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        self._fail_in("admit")
        assert incarnation
        assert meta is not None
        return self.admits.get(name)

    def _on_message(self, peer: str, frame: Frame) -> None:
        self._fail_in("on_message")
        self.messages.append((peer, frame))
        self.witness.tell()

    def _on_peer(self, peer: str, connected: bool) -> None:
        self._fail_in("on_peer")
        self.changes.append((peer, connected))
        self.witness.tell()

    def _on_refused(self, peer: str, reason: str, who: Identity | None) -> None:
        assert who is not None
        assert who.name == peer
        self.refusals.append((peer, reason))
        self.witness.tell()

    def _fail_in(self, callback: str) -> None:
        if callback in self.raises:
            raise self.raises[callback]

    def _on_failure(self, failure: BaseException) -> None:
        self.failures.append(failure)
        self.witness.tell()


Start = Callable[..., Awaitable[Member]]
"""Starts a member by its name; the fixture `start` stops them all."""


def introduce_all(*members: Member) -> None:
    """Tell each the addresses of the others."""
    for one in members:
        one.transport.set_peers({other.name: other.address for other in members if other is not one})


async def until_connected(*members: Member) -> None:
    names = {member.name for member in members}
    for member in members:
        # Bound by a default, which mypy gives no type.
        await member.witness.until(lambda m=member: m.transport.connected() == names - {m.name})  # type: ignore[misc]


def contexts(authority: trustme.CA, *names: str, trusts: trustme.CA | None = None) -> TlsContexts:
    """Contexts with a certificate of `authority` for `names`, trusting `trusts` (default: the same)."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    certificate = authority.issue_cert(*names)
    for context in (server, client):
        context.verify_mode = ssl.CERT_REQUIRED
        (trusts or authority).configure_trust(context)
        certificate.configure_cert(context)
    return TlsContexts(server, client)
