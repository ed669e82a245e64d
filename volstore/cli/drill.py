"""`volstore drill`: injects faults into a cluster, and checks that it keeps its promises."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from volstore.cli.arguments import SingleDash
from volstore.cli.output import Failed, complain, echo, print_json, table
from volstore.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from volstore.drill.record import Result
    from volstore.drill.scenario import Scenario, Step
    from volstore.drill.target import Fault, Target

DEFAULT_SCENARIO = "leader-kill"
REPORTS = "volstore-drills"
_DRAWN = "any node"
_INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def _complete_scenario(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from volstore.drill.scenarios import shipped

    return [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]


@click.command(cls=SingleDash, short_help="Rehearse a failure, and measure what users would feel.")
@click.argument("scenario", default=DEFAULT_SCENARIO, shell_complete=_complete_scenario)
@click.option("--local", "nodes", type=click.IntRange(1, 7), metavar="N", help="Nodes of a throw-away cluster. [3]")
@click.option(
    "--cluster",
    "cluster",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="An existing cluster, with the commands for each fault.",
)
@click.option("--yes-break-it", is_flag=True, help="With --cluster: really break it.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", help="Repeat the random choices of another drill. [random]"
)
@click.option("--minutes", type=click.FloatRange(min=0.1), metavar="M", help="How long a gauntlet lasts.")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=f"Folder of the report. [{REPORTS}/SCENARIO-TIME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
@click.option("--list", "listed", is_flag=True, help="List the scenarios that come with volstore.")
@click.pass_context
def drill(
    ctx: click.Context,
    scenario: str,
    nodes: int | None,
    cluster: Path | None,
    yes_break_it: bool,
    dry_run: bool,
    seed: int | None,
    minutes: float | None,
    folder: Path | None,
    as_json: bool,
    listed: bool,
) -> int:
    """Put a cluster under load, break something on purpose, and measure what users would feel.

    SCENARIO is the name of a scenario that comes with volstore (--list), or your own file NAME.toml. The drill runs on
    a throw-away cluster on this machine (as root with its own network), or on the cluster in the file of --cluster. At
    the end it checks from every client's answers that nothing was lost, and writes a report.

    \b
    Exit codes: 0 passed, 1 an objective was missed or a promise broken,
    2 wrong arguments, 130 interrupted (healed and stopped).
    """
    from volstore.drill.packages import provide
    from volstore.drill.scenarios import ScenarioError, find
    from volstore.drill.selection import why_impossible
    from volstore.drill.target import TargetError

    if listed:
        _list()
        return 0
    if cluster is not None and nodes is not None:
        raise click.UsageError("give --local or --cluster, not both")
    if yes_break_it and cluster is None:
        raise click.UsageError("--yes-break-it is for --cluster; a throw-away cluster needs no consent")
    if cluster is not None and not (dry_run or yes_break_it):
        raise click.UsageError(
            f"--cluster breaks {cluster} on purpose: give --yes-break-it, or --dry-run to see what would be done"
        )
    try:
        chosen = find(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    if minutes is not None and chosen.gauntlet is None:
        raise click.UsageError(f"--minutes is for scenarios with a gauntlet; {chosen.name} has fixed steps")
    chosen = replace(chosen, nodes=nodes or chosen.nodes)
    if cluster is None and (why := why_impossible(chosen)):
        raise click.UsageError(f"{chosen.name}: {why}; give another --local")
    if cluster is None and not dry_run and (installed := provide(chosen.faults())):
        complain(f"Installed {', '.join(installed)}, which {chosen.name} needs")
    drawn = secrets.randbelow(10**9) if seed is None else seed
    where = folder or Path(REPORTS) / f"{chosen.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        target = _target(chosen, cluster, where)
    except TargetError as error:
        raise click.UsageError(str(error)) from None
    if dry_run:
        _plan(chosen, target)
        return 0
    _must_be_possible(chosen, target)
    return _run(chosen, target, drawn, minutes, where, as_json)


def _list() -> None:
    from volstore.drill.scenarios import find, shipped

    rows = []
    for scenario in map(find, shipped()):
        objective = scenario.objective
        rows.append([scenario.name, *(_most(one) for one in (objective.write_outage, objective.read_outage))])
    table(["Scenario", "Write outage", "Read outage"], rows)


def _most(seconds: float | None) -> str:
    return "not judged" if seconds is None else f"at most {format_duration(seconds)}"


def _target(scenario: Scenario, cluster: Path | None, folder: Path) -> Target:
    from volstore.drill.existing import ExistingTarget
    from volstore.drill.local import LocalTarget

    if cluster is not None:
        return ExistingTarget(cluster, complain)
    return LocalTarget(scenario.nodes, folder, scenario.faults(), scenario.settings)


def _possible(scenario: Scenario, target: Target) -> Iterator[tuple[Step, list[Fault]]]:
    """Each step with all faults that it may inject, because the leader at that time is unknown."""
    from volstore.drill.scenario import Step
    from volstore.drill.selection import fault_of

    names = [node.name for node in target.nodes]
    drawn = [Step(kind, _DRAWN, None) for kind in scenario.gauntlet.kinds] if scenario.gauntlet else []
    for step in (*scenario.steps, *drawn):
        groups = [tuple(names)] if step.target == "all" else [(name,) for name in names]
        if step.target in names:
            groups = [(step.target,)]
        yield step, [] if step.kind is None or step.heals else [fault_of(step, group) for group in groups]


def _plan(scenario: Scenario, target: Target) -> None:
    """Print every command, for every node that a fault may affect."""
    echo(f"{scenario.name} on {target.describe()}: {scenario.about}")
    for step, faults in _possible(scenario, target):
        lasts = f" for {format_duration(step.lasts)}" if step.lasts else ""
        if step.kind is None:
            echo(f"load alone{lasts}")
        else:
            echo(f"heal every {step.kind}" if step.heals else f"{step.kind} of {step.target}{lasts}:")
        for fault in faults:
            why = target.cannot(fault)
            echo(f"  {' and '.join(fault.nodes)}:")
            for line in [f"impossible: {why}"] if why else target.plan(fault):
                echo(f"    {line}")


def _must_be_possible(scenario: Scenario, target: Target) -> None:
    """Raises UsageError if a fault is impossible, before anything is broken: half a drill proves little.

    A gauntlet only needs one possible fault.
    """
    from volstore.drill.run import possible

    found = {
        f"{fault.kind}: {why}"
        for step, faults in _possible(scenario, target)
        for fault in faults
        if step.target != _DRAWN and (why := target.cannot(fault))
    }
    if found or (scenario.gauntlet is not None and not possible(scenario.gauntlet, target)):
        raise click.UsageError(f"{scenario.name} is impossible on {target.describe()}: {'; '.join(sorted(found))}")


def _run(scenario: Scenario, target: Target, seed: int, minutes: float | None, folder: Path, as_json: bool) -> int:
    from rich.console import Console

    from volstore.drill.load import LoadFailed
    from volstore.drill.progress import Progress
    from volstore.drill.recording import Recording
    from volstore.drill.report import html, markdown, summary
    from volstore.drill.run import rehearse
    from volstore.drill.target import TargetError

    interrupts: list[signal.Signals] = []

    async def interruptible() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt(number: signal.Signals) -> None:
            if not interrupts:
                task.cancel()
            interrupts.append(number)

        for number in _INTERRUPTED:
            loop.add_signal_handler(number, interrupt, number)
        return await rehearse(scenario, target, seed, progress, minutes=minutes, note=recording.note)

    about = {"scenario": scenario.name, "target": target.describe(), "seed": seed, "started": time.time()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            Recording(folder / "requests.jsonl", about) as recording,
            Progress(None if as_json else Console(), f"volstore drill {scenario.name}, seed {seed}") as progress,
        ):
            result = asyncio.run(interruptible())
    except (TargetError, LoadFailed) as error:
        raise Failed(f"the drill could not run: {error}") from None
    except asyncio.CancelledError:
        complain(f"Interrupted; everything is healed and stopped. The nodes' logs are in {folder}")
        return _INTERRUPTED[interrupts[0]]
    except OSError as error:
        raise Failed(f"the drill could not run: {error.filename or ''} {error.strerror}") from None
    made = summary(result)
    for name, text in (
        ("report.html", html(result)),
        ("report.md", markdown(result)),
        ("result.json", json.dumps(made, indent=2) + "\n"),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    if as_json:
        print_json(made)
    else:
        _tell(result, folder)
    return 0 if result.passed else 1


def _tell(result: Result, folder: Path) -> None:
    echo()
    table(["", "Check", "Found"], [["ok" if c.passed else "failed", c.name, c.detail] for c in result.checks])
    for check in result.checks:
        for line in check.history:
            echo(f"  {line}")
    echo()
    echo(f"{result.scenario} {'passed' if result.passed else 'FAILED'}; the report is {folder / 'report.html'}")
