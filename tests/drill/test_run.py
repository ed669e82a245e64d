"""A drill that can't go on says so in its result, and heals and stops whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from volstore.drill.conclusion import Recovery, carried_out, healthy_again
from volstore.drill.local import LocalTarget
from volstore.drill.progress import Progress
from volstore.drill.run import possible, rehearse
from volstore.drill.scenario import Gauntlet, LoadSettings, Objective, Scenario, Step
from volstore.drill.target import Fault, FaultKind, TargetError

LENIENT = Objective(None, None, None, "machines of tests are slow")


def scenario(*steps: Step) -> Scenario:
    return Scenario("own", "a test", LENIENT, steps, nodes=1, load=LoadSettings(clients=1, volumes=5))


class Watched(LocalTarget):
    """One node on loopback; what was done to it is noted, and `refuse` may raise before a fault."""

    def __init__(self, folder: Path, refuse: Callable[[Fault], None] = lambda fault: None) -> None:
        super().__init__(1, folder, own_network=False)
        self.done: list[str] = []
        self.broken = asyncio.Event()
        self._refuse = refuse

    async def do(self, fault: Fault) -> None:
        self._refuse(fault)
        self.done.append(f"do {fault}")
        await super().do(fault)
        self.broken.set()

    async def heal(self, fault: Fault) -> None:
        self.done.append(f"heal {fault}")
        await super().heal(fault)

    async def stop(self) -> None:
        await super().stop()
        assert not any(node.runs for node in self._nodes.values())
        self.done.append("stop")


async def test_a_fault_that_fails_breaks_the_drill_off_and_the_result_says_so(tmp_path: Path) -> None:
    def refuse(fault: Fault) -> None:
        if fault.kind is FaultKind.PAUSE:
            raise TargetError("no pauses today")

    target = Watched(tmp_path, refuse)
    steps = (Step(FaultKind.RESTART, "leader", 0.0), Step(FaultKind.PAUSE, "leader", 1.0))
    result = await rehearse(scenario(*steps), target, 1, Progress(None, ""))
    assert not result.passed
    assert [(check.name, check.detail) for check in result.checks if not check.passed] == [
        ("The drill was carried out", "no pauses today")
    ]
    assert target.done == ["do restart of s1", "heal restart of s1", "heal pause of s1", "stop"]
    assert result.events[-1].text.startswith("the nodes' data directories are kept in ")
    assert {path.name for path in (tmp_path / "s1-data").iterdir()} >= {"journal"}


async def test_what_a_step_left_broken_is_healed_by_a_later_one_or_at_the_end(tmp_path: Path) -> None:
    target = Watched(tmp_path)
    steps = (
        Step(FaultKind.PAUSE, "s1"),
        Step(FaultKind.PAUSE, heals=True),
        Step(None, lasts=0.1),
        Step(FaultKind.BACKUP, "s1"),
    )
    result = await rehearse(scenario(*steps), target, 1, Progress(None, ""))
    assert result.passed, result.checks
    assert target.done == ["do pause of s1", "heal pause of s1", "do backup of s1", "heal backup of s1", "stop"]
    assert [event.text for event in result.events if event.what == "fault"] == [
        "pause of s1, which leads",
        "backup of s1, which leads",
    ]


async def test_a_drill_that_is_cancelled_while_it_heals_heals_and_stops_all_the_same(tmp_path: Path) -> None:
    target = Watched(tmp_path)
    running = asyncio.create_task(
        rehearse(scenario(Step(FaultKind.PAUSE, "leader", 600.0)), target, 1, Progress(None, ""))
    )
    await target.broken.wait()
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert target.done[-1] == "stop"


async def test_a_node_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    target = LocalTarget(1, tmp_path, settings={"heartbeat_interval": "10s"}, own_network=False)
    with pytest.raises(TargetError, match=r"s1 could not be started: .*see the end of .*s1\.log"):
        await rehearse(scenario(Step(FaultKind.KILL, "leader", 1.0)), target, 1, Progress(None, ""))
    assert "must be above 3 heartbeats" in (tmp_path / "s1.log").read_text()


def test_a_gauntlet_does_with_what_can_be_had(tmp_path: Path) -> None:
    target = LocalTarget(3, tmp_path, own_network=False)
    kinds = (FaultKind.PARTITION, FaultKind.KILL, FaultKind.SLOW_LINK, FaultKind.PAUSE)
    assert possible(Gauntlet(kinds, 1, 2, 1), target) == [FaultKind.KILL, FaultKind.PAUSE]


def test_a_cluster_that_did_not_become_whole_fails_the_drill() -> None:
    assert healthy_again([Recovery("kill of s1", 1.5), Recovery("kill of s2", 2.5)]).detail == (
        "after each of 2 faults, at most 2.5 s later"
    )
    failed = healthy_again([Recovery("kill of s1", 60.0, "s1 does not answer"), Recovery("kill of s2", 2.5)])
    assert (failed.passed, failed.detail) == (False, "after kill of s1: s1 does not answer")
    assert carried_out("").passed
