"""The record of a drill and its result: plain values for load, checks and report.

Times are seconds since the drill began, on its own monotonic clock; the report adds the wall clock's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """The outcome of a request. `UNKNOWN`: no answer came, and the request may have taken effect or not."""

    DONE = "done"
    REFUSED = "refused"
    """The answer says that it had no effect: a 4xx, or a 5xx that says so."""
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """REGISTER and DEREGISTER are writes; the reads differ in their consistency mode."""

    REGISTER = "register"
    DEREGISTER = "deregister"
    READ_DEFAULT = "read default"
    READ_CONSISTENT = "read consistent"
    READ_STALE = "read stale"

    @property
    def writes(self) -> bool:
        return self in (Kind.REGISTER, Kind.DEREGISTER)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as its client saw it. `end` is the time of the answer, or of the time-out."""

    number: int
    client: int
    node: str
    kind: Kind
    volume: str
    start: float
    end: float
    outcome: Outcome
    status: int | None = None
    """The HTTP status; None if no answer came."""
    value: str | None = None
    """The value that it writes or has read; None for a missing volume."""
    index: int | None = None
    """X-Nomad-Index of the answer."""
    staleness: float | None = None
    """X-Nomad-LastContact of a stale read in seconds: its claimed maximal age.

    None: no claim, its node knew no leader.
    """
    error: str = ""
    repeats: int | None = None
    """The number of the first request of this write. Both have the same Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which the drill had broken a node, so that nothing was expected of it.

    `restarts`: its process ended, and lost everything that is only in memory. `pauses`: its process stood still, and
    then found old messages waiting.
    """

    node: str
    start: float
    end: float
    restarts: bool = True
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: `what` is "phase", "fault", "heal", "leader" or "note".

    `node` is the affected node, None for the whole cluster. For "leader" it is the new leader, None if there is none.
    """

    at: float
    what: str
    text: str
    node: str | None = None
    nodes: tuple[str, ...] = ()
    """All nodes that a fault or a heal affects."""

    @property
    def affected(self) -> tuple[str, ...]:
        """The affected nodes; empty for the whole cluster."""
        return self.nodes or (() if self.node is None else (self.node,))


@dataclass(frozen=True, slots=True)
class Rate:
    """The requests per second of one node's clients in the last second, by outcome."""

    done: float = 0.0
    refused: float = 0.0
    unknown: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The load at one moment, for the display. `rates` has every node of the cluster, in order."""

    at: float
    rates: Mapping[str, Rate]
    leader: str | None = None
    down: frozenset[str] = frozenset()
    """The nodes that the drill has broken."""
    write_silence: float = 0.0
    """Seconds since the last successful write on a node that should answer."""
    read_silence: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """The longest silence of writes or reads after one fault, on nodes that should have answered."""

    fault: str
    what: str
    """"writes" or "reads"."""
    start: float
    seconds: float
    node: str | None = None
    """The node whose clients felt it; None: the clients of all nodes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and whether it held. `history` is the shortest history with a violation, as lines."""

    name: str
    passed: bool
    detail: str
    history: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a drill, for the report."""

    scenario: str
    about: str
    target: str
    """A description of the cluster, such as "3 nodes on this machine, each in a network namespace, with TLS"."""
    seed: int
    started: float
    """The wall clock at the start, in seconds since 1970."""
    seconds: float
    nodes: list[str]
    configuration: dict[str, Any]
    """The settings of the drill and of the nodes, as names and plain values."""
    versions: dict[str, str]
    requests: list[Request]
    events: list[Event]
    outages: list[Outage]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)
