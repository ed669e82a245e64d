"""`volstore drill` on throw-away clusters of real nodes: its verdict, its exit code, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from volstore.cli import main
from volstore.drill import namespaces
from volstore.drill.cleanup import PREFIX, remove_leftovers

LIMIT = 110.0
"""Seconds in which a short drill ends on the slowest machine; its own limits are shorter."""
DRILL = """about = "a short one, for a test"

[objective]
write_outage = "{outage}"
read_outage = "60s"
why = "machines of tests are slow"

[load]
clients = 2
volumes = 30

[[steps]]
load_for = "300ms"

[[steps]]
fault = "{fault}"
target = "leader"
lasts = "{lasts}"
"""


def written(folder: Path, fault: str = "kill", lasts: str = "1s", outage: str = "60s") -> Path:
    file = folder / "short.toml"
    file.write_text(DRILL.format(fault=fault, lasts=lasts, outage=outage))
    return file


def command(file: Path, folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "volstore", "drill", str(file), "--report", str(folder / "report"), *options]


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    output: str
    errors: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: str) -> Ran:
        code = main(arguments)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return ran


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A drill whose leader has just been killed, and stays dead for long."""
    file = written(tmp_path, lasts="100s")
    process = subprocess.Popen(command(file, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("fault" in line and "kill of" in line for line in process.stdout)
        yield process
    finally:
        process.kill()
        process.communicate()
        remove_leftovers()


def left_of(pid: int) -> list[str]:
    """What is there of the drill that ran as this process: folders, network namespaces, processes, mounts."""
    name = f"{PREFIX}{pid}-"
    found = [path.name for path in Path(tempfile.gettempdir()).glob(f"{name}*")]
    found += [path.name for path in Path("/run/netns").glob(f"{name}*")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [arguments.replace("\0", " ")] if name in arguments else []
    mounts = Path("/proc/self/mountinfo")
    return found + [line for line in (mounts.read_text().splitlines() if mounts.exists() else []) if name in line]


def test_a_killed_leader_costs_nothing_but_time_and_a_report_says_so(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(written(tmp_path), tmp_path, "--json", "--seed", "7"), stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate(timeout=LIMIT)
    result = json.loads(output)
    assert process.returncode == 0, result
    assert result["passed"] is True
    assert result["seed"] == 7
    folder = tmp_path / "report"
    assert json.loads((folder / "result.json").read_text()) == result
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert "short" in (folder / "report.md").read_text()
    noted = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    events = [line["event"] for line in noted if "event" in line]
    faults = [event["text"] for event in events if event["what"] == "fault"]
    assert len(faults) == 1
    assert faults[0].endswith(", which leads")
    assert all((folder / f"s{n}.log").exists() for n in (1, 2, 3))
    assert left_of(process.pid) == []


@pytest.mark.skipif(namespaces.missing() is not None, reason=namespaces.missing() or "")
def test_a_partition_loses_nothing_and_an_objective_that_is_missed_is_told_by_the_code(tmp_path: Path) -> None:
    file = written(tmp_path, "partition", "1500ms", outage="1ms")
    process = subprocess.Popen(command(file, tmp_path), stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "short FAILED" in output
    failed = [line for line in output.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert "Outage of writes at most 0.001 s" in failed[0]
    assert left_of(process.pid) == []


def test_a_drill_that_is_interrupted_twice_leaves_nothing(begun: subprocess.Popen[str]) -> None:
    begun.send_signal(signal.SIGINT)
    assert begun.stdout is not None
    assert any("stopping the cluster" in line for line in begun.stdout)
    begun.send_signal(signal.SIGTERM)
    _, errors = begun.communicate(timeout=LIMIT)
    assert begun.returncode == 130, errors
    assert errors.startswith("Interrupted; everything is healed and stopped.")
    assert left_of(begun.pid) == []


def test_what_a_killed_drill_leaves_goes_away_with_the_next(begun: subprocess.Popen[str]) -> None:
    assert left_of(begun.pid)
    begun.kill()
    begun.wait()
    remove_leftovers()
    assert left_of(begun.pid) == []


def test_every_shipped_scenario_is_listed(run: Run) -> None:
    listed = run("drill", "--list")
    assert listed.code == 0
    assert "leader-kill " in listed.output
    assert "gauntlet " in listed.output


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(run: Run, tmp_path: Path) -> None:
    shown = run("drill", "leader-kill", "--dry-run", "--report", str(tmp_path / "report"))
    assert shown.code == 0
    assert "kill -KILL (process of s2); later: start it again" in shown.output
    assert not (tmp_path / "report").exists()
    assert left_of(os.getpid()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["leader-kil"], "there is no scenario 'leader-kil': did you mean leader-kill?"),
        (["leader-kill", "--minutes", "3"], "--minutes is for scenarios with a gauntlet"),
        (["leader-kill", "--local", "9"], "9 is not in the range 1<=x<=7"),
        (["minority-partition", "--local", "2"], "partition of a minority needs 3 nodes at least, not 2"),
        (["leader-kill", "--yes-break-it"], "--yes-break-it is for --cluster"),
        (["leader-kill", "--cluster", "c.toml"], "--cluster breaks c.toml on purpose: give --yes-break-it"),
        (["leader-kill", "--cluster", "c.toml", "--local", "3"], "give --local or --cluster, not both"),
        (["leader-kill", "--cluster", "absent.toml", "--yes-break-it"], "absent.toml"),
    ],
)
def test_wrong_arguments_are_told_with_what_would_be_right(run: Run, arguments: list[str], said: str) -> None:
    refused = run("drill", *arguments)
    assert refused.code == 2
    assert said in refused.errors
