"""What a drill writes down while it runs, and what it comes to: values only, shared by load, judgement and report.

Times are seconds since the drill began, on the drill's own monotonic clock; the report adds the wall clock's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """`UNKNOWN` is the honest third: no answer came, so that the request may have taken effect or not."""

    DONE = "done"
    REFUSED = "refused"
    """Answered that it had no effect: 4xx, or a 5xx that says so."""
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """Writes are REGISTER and DEREGISTER; the reads differ in their consistency mode."""

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
    """One request of one client, as it was felt: `end` is when its answer was there, or when it was given up."""

    number: int
    client: int
    node: str
    kind: Kind
    volume: str
    start: float
    end: float
    outcome: Outcome
    status: int | None = None
    """HTTP status; None: no answer."""
    value: str | None = None
    """What was to be written, or what was read; None: a volume that is not there."""
    index: int | None = None
    """X-Nomad-Index of the answer."""
    staleness: float | None = None
    """X-Nomad-LastContact of a stale read, in seconds: how old the answer may be at most, as it claims. None: it claims
    nothing, as its node knew no leader."""
    error: str = ""
    repeats: int | None = None
    """The number of the first request of this write, whose Idempotency-Key this one carries too."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which nothing was expected of a node, as the drill itself had broken it.

    `restarts`: its process ends and comes back, and with it what the node remembers only in memory. `pauses`: its
    process stands still, and finds old messages waiting when it goes on.
    """

    node: str
    start: float
    end: float
    restarts: bool = True
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: `what` is "phase", "fault", "heal", "leader" or "note".

    `node`: whom it befell, None for the whole cluster; of "leader" it is who leads from now on, None for nobody.
    """

    at: float
    what: str
    text: str
    node: str | None = None
    nodes: tuple[str, ...] = ()
    """All whom a fault or a heal befell."""

    @property
    def befell(self) -> tuple[str, ...]:
        """None: the whole cluster."""
        return self.nodes or (() if self.node is None else (self.node,))


@dataclass(frozen=True, slots=True)
class Rate:
    """What one node's clients got in the last second, as requests a second."""

    done: float = 0.0
    refused: float = 0.0
    unknown: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """How the load goes right now, for who watches it. `rates` has every node of the cluster, in order."""

    at: float
    rates: Mapping[str, Rate]
    leader: str | None = None
    down: frozenset[str] = frozenset()
    """Nodes that are broken on purpose."""
    write_silence: float = 0.0
    """Seconds since a write was done on a node that is meant to answer."""
    read_silence: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """The longest silence of a kind of request around one fault, on nodes that were meant to answer."""

    fault: str
    what: str
    """"writes" or "reads"."""
    start: float
    seconds: float
    node: str | None = None
    """Whose clients felt it; None: those of all nodes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was promised, and whether it held. `history` is the shortest that shows a violation, as lines."""

    name: str
    passed: bool
    detail: str
    history: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """A whole drill, as the report shows it."""

    scenario: str
    about: str
    target: str
    """Where it ran, for people: "3 nodes on this machine, own network namespaces"."""
    seed: int
    started: float
    """Wall clock, seconds since 1970, UTC."""
    seconds: float
    nodes: list[str]
    configuration: dict[str, Any]
    """What the drill and the nodes were set to, as names and plain values."""
    versions: dict[str, str]
    requests: list[Request]
    events: list[Event]
    outages: list[Outage]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)
