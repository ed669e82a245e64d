"""What a drill comes to: everything that was written down, judged, as the result that reports show."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from volstore.drill.evidence import judge
from volstore.drill.finals import Final
from volstore.drill.load import Load
from volstore.drill.outage import outages
from volstore.drill.record import Check, Event, Result
from volstore.drill.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Recovery:
    """After a fault was healed: how many seconds the cluster needed to be whole, or what was `wrong` with it still."""

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
    broken_off: str,
) -> Result:
    """`target` is its description; `broken_off` why the drill could not go on to its end, "" if it could. The load has
    ended."""
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
        checks=[*checks, whole_again(recoveries), carried_out(broken_off)],
    )


def whole_again(recoveries: Sequence[Recovery]) -> Check:
    """That every fault that was healed left a cluster that became whole."""
    name = "The cluster becomes whole again"
    failed = [f"after {one.fault}: {one.wrong}" for one in recoveries if one.wrong]
    if failed:
        return Check(name, False, "; ".join(failed))
    slowest = max((one.seconds for one in recoveries), default=0.0)
    return Check(name, True, f"after each of {len(recoveries)} faults, at most {slowest:.1f} s later")


def carried_out(broken_off: str) -> Check:
    """That all was done that the scenario says: what wasn't done proves nothing."""
    return Check("The drill was carried out", not broken_off, broken_off or "every step of it")
