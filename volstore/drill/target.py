"""What a drill needs of the cluster that it breaks: its nodes, how they are asked, how faults are done and healed."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class FaultKind(StrEnum):
    """What can be broken; the values are the words of scenario files."""

    KILL = "kill"
    PAUSE = "pause"
    PARTITION = "partition"
    ONE_WAY = "one-way"
    FLAP = "flap"
    SLOW_LINK = "slow-link"
    SLOW_DISK = "slow-disk"
    DISK_FULL = "disk-full"
    RESTART = "restart"
    REPLACE = "replace"
    BACKUP = "backup"
    CLOCK_JUMP = "clock-jump"

    @property
    def ends_process(self) -> bool:
        """Whether its nodes lose what they have in memory only."""
        return self in (FaultKind.KILL, FaultKind.RESTART, FaultKind.REPLACE)

    @property
    def silences(self) -> bool:
        """Whether clients of its nodes can't expect to be answered meanwhile."""
        lonely = (FaultKind.PARTITION, FaultKind.ONE_WAY, FaultKind.FLAP)
        return self.ends_process or self in lonely or self in (FaultKind.PAUSE, FaultKind.DISK_FULL)

    @property
    def costs_a_vote(self) -> bool:
        """Whether its nodes can't take part in a majority meanwhile; who answers nobody can't either."""
        return self.silences


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault on the nodes that were chosen for it. Times are in seconds; only the fields of its kind count.

    PARTITION cuts `nodes` from all others, but not from each other nor from clients. `direction` of ONE_WAY: "in",
    where nothing of the other nodes arrives, or "out", where nothing reaches them.
    """

    kind: FaultKind
    nodes: tuple[str, ...]
    lasts: float = 0.0
    delay: float = 0.0
    """SLOW_LINK: added to each packet that leaves or arrives; SLOW_DISK: added to each sync."""
    jitter: float = 0.0
    loss: float = 0.0
    """SLOW_LINK: the share of packets that get lost, 0 to 1."""
    up: float = 0.0
    down: float = 0.0
    """FLAP: for how long the links work, and don't, in turn."""
    direction: str = "in"
    jump: float = 0.0
    """CLOCK_JUMP: how far the wall clock goes forward, or back if negative."""

    def __str__(self) -> str:
        return f"{self.kind} of {' and '.join(self.nodes)}"


@dataclass(frozen=True, slots=True)
class TargetNode:
    """A member, and where its HTTP API is asked: "http://HOST:PORT", or https."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Access:
    """How clients ask: a token for clusters with access control, a TLS context for https."""

    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Nomad-Token": self.token} if self.token else {}


class TargetError(Exception):
    """The cluster can't be started, broken or healed as asked; the text says why and what would be right."""


class Target(Protocol):
    """A cluster to rehearse on. Every method but `stop` and `heal_all` may raise TargetError.

    `access` and the URLs of `nodes` are known from `start` on. `stop` and `heal_all` do all they can, whatever state
    things are in, and may be called more than once.
    """

    @property
    def nodes(self) -> Sequence[TargetNode]: ...

    @property
    def access(self) -> Access: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def do(self, fault: Fault) -> None: ...

    async def heal(self, fault: Fault) -> None: ...

    async def heal_all(self) -> list[str]:
        """Undo whatever is still broken; what could not be undone, in words."""
        ...

    async def keep(self) -> str:
        """A drill failed: keep what the nodes hold, beyond `stop`, for who looks into it; where it is, in words."""
        ...

    def describe(self) -> str:
        """For people: "3 nodes on this machine, in network namespaces"."""
        ...

    def plan(self, fault: Fault) -> list[str]:
        """What `do` and `heal` would run, as lines."""
        ...

    def cannot(self, fault: Fault) -> str | None:
        """Why this fault can't be had here, in words; None if it can."""
        ...
