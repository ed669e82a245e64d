"""The target of a drill: the protocol of a cluster that can be broken and healed, and the faults."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class FaultKind(StrEnum):
    """The kinds of faults; the values are the words in scenario files."""

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
    def momentary(self) -> bool:
        """Whether it ends by itself, so that there is nothing to heal."""
        return self in (FaultKind.RESTART, FaultKind.BACKUP)

    @property
    def ends_process(self) -> bool:
        """Whether the process ends, so that its memory is lost."""
        return self in (FaultKind.KILL, FaultKind.RESTART, FaultKind.REPLACE)

    @property
    def silences(self) -> bool:
        """Whether clients of its nodes can't expect answers meanwhile."""
        lonely = (FaultKind.PARTITION, FaultKind.ONE_WAY, FaultKind.FLAP)
        return self.ends_process or self in lonely or self in (FaultKind.PAUSE, FaultKind.DISK_FULL)

    @property
    def costs_a_vote(self) -> bool:
        """Whether its nodes can't be part of a majority meanwhile."""
        return self.silences


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault on selected nodes. Times are in seconds; only the fields of its kind count.

    PARTITION cuts `nodes` off from all others, but not from each other or from clients. `direction` of ONE_WAY: with
    "in" nothing arrives from the other nodes, with "out" nothing reaches them.
    """

    kind: FaultKind
    nodes: tuple[str, ...]
    lasts: float = 0.0
    delay: float = 0.0
    """SLOW_LINK: the delay of each packet, in both directions. SLOW_DISK: the delay of each sync."""
    jitter: float = 0.0
    loss: float = 0.0
    """SLOW_LINK: the share of lost packets, 0 to 1."""
    up: float = 0.0
    down: float = 0.0
    """FLAP: for how long the links are up and down, in turn."""
    direction: str = "in"
    jump: float = 0.0
    """CLOCK_JUMP: how far the wall clock jumps forward, or back if negative."""

    def __str__(self) -> str:
        return f"{self.kind} of {' and '.join(self.nodes)}"


@dataclass(frozen=True, slots=True)
class TargetNode:
    """A member, and the URL of its HTTP API: "http://HOST:PORT", or https."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Access:
    """The credentials of clients: a token for access control, a TLS context for https."""

    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Nomad-Token": self.token} if self.token else {}


class TargetError(Exception):
    """The cluster can't be started, broken or healed; the text says why and what would be right."""


class Target(Protocol):
    """A cluster for a drill. Every method except `stop` and `heal_all` may raise TargetError.

    `access` and the URLs of `nodes` are valid after `start`. `stop` and `heal_all` do as much as possible in any state,
    and may be called more than once.
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
        """Heal everything that is still broken. Returns what could not be healed."""
        ...

    async def keep(self) -> str:
        """Keep the nodes' data beyond `stop`, to investigate a failed drill. Returns a sentence that says where."""
        ...

    def describe(self) -> str:
        """A description for people, such as "3 nodes on this machine, each in a network namespace"."""
        ...

    def plan(self, fault: Fault) -> list[str]:
        """The commands of `do` and `heal`, as lines."""
        ...

    def cannot(self, fault: Fault) -> str | None:
        """Why this fault is impossible here; None if it is possible."""
        ...
