"""What a drill is told to do, as values: its steps, its load, what users may feel at most (scenarios.py reads them)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from volstore.drill.record import Kind
from volstore.drill.target import FaultKind

CHOICES = ("leader", "follower", "minority", "all", "each")
"""What a step's target may be beside a node's name. `minority`: as many followers as may be lost; `each`: one after
the other, the leader last."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """`clients` on each node; `mix` has the share of each kind of request; `timeout` is when a client gives up, in
    seconds; `pause` what it waits between two requests."""

    clients: int = 3
    volumes: int = 60
    mix: Mapping[Kind, float] = field(
        default_factory=lambda: {
            Kind.REGISTER: 4,
            Kind.DEREGISTER: 1,
            Kind.READ_DEFAULT: 3,
            Kind.READ_CONSISTENT: 1,
            Kind.READ_STALE: 1,
        }
    )
    timeout: float = 5.0
    pause: float = 0.02


@dataclass(frozen=True, slots=True)
class Objective:
    """What users may feel at most: the longest silences in seconds, and requests that fail. Nothing may be lost, ever.

    None: not judged, as with all nodes down. `why` is shown with the verdict.
    """

    write_outage: float | None
    read_outage: float | None
    failed_requests: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, or, with `kind` None, load without one for `lasts` seconds. Fields as in `target.Fault`.

    A fault that `lasts` (not None) is healed after that; else it stays until a step `heals` it, or the end.
    """

    kind: FaultKind | None
    target: str = ""
    lasts: float | None = None
    heals: bool = False
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    up: float = 0.0
    down: float = 0.0
    direction: str = "in"
    jump: float = 0.0


@dataclass(frozen=True, slots=True)
class Gauntlet:
    """Faults that are drawn from `kinds`, each for a time between two bounds (seconds), for `minutes` unless told
    otherwise."""

    kinds: tuple[FaultKind, ...]
    shortest: float
    longest: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """A rehearsal. `settings` are those of the agents of a throw-away cluster, by name, which has `nodes` unless told
    otherwise. `steps` come with their repetitions written out.
    """

    name: str
    about: str
    objective: Objective
    steps: tuple[Step, ...]
    nodes: int = 3
    load: LoadSettings = field(default_factory=LoadSettings)
    settings: Mapping[str, str] = field(default_factory=dict)
    gauntlet: Gauntlet | None = None

    def faults(self) -> set[FaultKind]:
        """All kinds that it may need."""
        drawn = self.gauntlet.kinds if self.gauntlet else ()
        return {step.kind for step in self.steps if step.kind is not None} | set(drawn)
