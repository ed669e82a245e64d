"""Concludes a drill: checks the whole record, and makes the result for the reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from volstore.drill.checks import judge
from volstore.drill.final_state import Final
from volstore.drill.load import Load
from volstore.drill.outage import outages
from volstore.drill.record import Check, Event, Result
from volstore.drill.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Recovery:
    """The seconds from the healing of a fault until the cluster was healthy; `wrong` says what stayed wrong."""

    fault: str
    seconds: float
    wrong: str = ""


def conclude(
    scenario: Scenario,
    target: str,
    nodes: Sequence[str],
    seed: int,
    started: float,
    seconds: float,
    load: Load,
    finals: Sequence[Final],
    events: list[Event],
    recoveries: Sequence[Recovery],
    ended_early: str,
) -> Result:
    """The result of a drill whose load has ended. `target` is a description of the cluster.

    `ended_early` says why the drill ended early, "" if it didn't.
    """
    faults = [event for event in events if event.what == "fault"]
    assert load.ended is not None
    found = outages(load.requests, faults, load.absences, load.ended)
    checks = judge(load.requests, finals, found, scenario.objective, load.absences)
    return Result(
        scenario=scenario.name,
        about=scenario.about,
        target=target,
        seed=seed,
        started=started,
        seconds=seconds,
        nodes=list(nodes),
        configuration={
            "objective": asdict(scenario.objective),
            "load": asdict(scenario.load) | {"mix": {kind.value: n for kind, n in scenario.load.mix.items()}},
            "settings of the nodes": dict(scenario.settings) or "the defaults",
            "machine of the drill": f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end",
        },
        versions={
            "volstore": version("volstore"),
            "pysyncobj": version("pysyncobj"),
            "Python": platform.python_version(),
            "system": platform.platform(),
        },
        requests=load.requests,
        events=events,
        outages=found,
        checks=[*checks, healthy_again(recoveries), carried_out(ended_early)],
    )


def healthy_again(recoveries: Sequence[Recovery]) -> Check:
    """Check that the cluster became healthy after each healed fault."""
    name = "The cluster becomes healthy again"
    failed = [f"after {one.fault}: {one.wrong}" for one in recoveries if one.wrong]
    if failed:
        return Check(name, False, "; ".join(failed))
    slowest = max((one.seconds for one in recoveries), default=0.0)
    return Check(name, True, f"after each of {len(recoveries)} faults, at most {slowest:.1f} s later")


def carried_out(ended_early: str) -> Check:
    """Check that the drill carried out the whole scenario: steps that didn't run prove nothing."""
    return Check("The drill was carried out", not ended_early, ended_early or "every step")
