"""A scenario as plain values: steps, load and objectives (scenarios.py reads them from files)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from volstore.drill.record import Kind
from volstore.drill.target import FaultKind

CHOICES = ("leader", "follower", "minority", "all", "each")
"""The targets of a step, besides the names of nodes. `minority`: as many followers as may fail; `each`: one node after
the other, the leader last."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """The load: `clients` on each node, and the share of each kind of request in `mix`.

    `timeout` of a request and `pause` between two requests of a client are in seconds.
    """

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
    """The objectives: the longest outages in seconds, and the number of failed requests. Lost writes always fail.

    None: no objective, for example with all nodes down. The verdict shows the reason, `why`.
    """

    write_outage: float | None
    read_outage: float | None
    failed_requests: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """A fault; with `kind` None, load without faults for `lasts` seconds. The other fields are those of `target.Fault`.

    A fault with `lasts` is healed after that time. Otherwise it stays until a step `heals` it, or until the end.
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
    """Random faults from `kinds`, each lasting from `shortest` to `longest` seconds, for `minutes` by default."""

    kinds: tuple[FaultKind, ...]
    shortest: float
    longest: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """A drill. A throw-away cluster has `nodes` by default, and `settings` are those of its agents, by name.

    `steps` contains repeated steps as often as they repeat.
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
        """All kinds of faults in it."""
        drawn = self.gauntlet.kinds if self.gauntlet else ()
        return {step.kind for step in self.steps if step.kind is not None} | set(drawn)
