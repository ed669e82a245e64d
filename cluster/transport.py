"""Carries frames between the members of one cluster: dials each peer, knows who is there, drops rather than blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.ports import Network, Random
from cluster.ratelimit import Logger

Frame = list[Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this member is: its name, its data directory's incarnation, its cluster, and what it says of itself."""

    name: str
    incarnation: bytes
    cluster_id: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a connected peer said of itself in its handshake."""

    incarnation: bytes
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of the transport; times in seconds, sizes in bytes."""

    queue_bytes: int = 64 << 20
    frame_bytes: int = 32 << 20
    keep_alive: float = 0.5
    dead_after: float = 2.0
    handshake_timeout: float = 2.0
    handshakes: int = 64
    reconnect_min: float = 0.05
    reconnect_max: float = 1.0


@dataclass(slots=True)
class PeerStats:
    """Counters of one peer since the transport started."""

    frames_out: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    bytes_in: int = 0
    dropped: int = 0
    connects: int = 0
    refused: int = 0


class Transport:
    """One member's connections to all its peers."""

    def __init__(
        self,
        *,
        network: Network,
        random: Random,
        me: Identity,
        bind: str,
        log: Logger,
        admit: Callable[[str, bytes, Mapping[str, str]], str | None],
        on_message: Callable[[str, Frame], None],
        on_peer: Callable[[str, bool], None],
        on_failure: Callable[[BaseException], None],
        on_refused: Callable[[str, str], None] | None = None,
        limits: TransportLimits | None = None,
    ) -> None:
        """`on_message(peer, frame)` in order per peer; `on_peer(peer, connected)`; `on_refused(peer, reason)`: it
        refused our dial; `on_failure(exception)`: a callback raised, which is a defect and must end the node."""
        self.stats: dict[str, PeerStats] = {}
        raise NotImplementedError

    async def start(self) -> str:
        """Listen; the bound "HOST:PORT". OSError, naming the address, when it can't."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Close everything; afterwards no callback is called, and no task or socket is left."""
        raise NotImplementedError

    def set_peers(self, peers: Mapping[str, str]) -> None:
        """The other members, name → "HOST:PORT": new ones are dialled, gone ones dropped, moved ones redialled."""
        raise NotImplementedError

    def send(self, peer: str, frame: Frame) -> bool:
        """Queue `frame` ([type: str or int, …]). False: not connected, or its queue is full; it was dropped."""
        raise NotImplementedError

    def queued_bytes(self, peer: str) -> int:
        """Bytes that the kernel hasn't taken yet; 0 when not connected."""
        raise NotImplementedError

    def connected(self) -> frozenset[str]:
        """Peers with both directions alive."""
        raise NotImplementedError

    def last_heard(self, peer: str) -> float | None:
        """Loop time of the last bytes read from `peer`, None if never. For people: it proves no leadership."""
        raise NotImplementedError

    def peer_info(self, peer: str) -> PeerInfo | None:
        """What `peer` said of itself; None unless connected."""
        raise NotImplementedError

    async def writable(self, peer: str, below_bytes: int) -> None:
        """Wait until at most `below_bytes` are queued. ConnectionError when it isn't, or is no longer, connected."""
        raise NotImplementedError
