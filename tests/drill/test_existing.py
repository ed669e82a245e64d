"""A cluster that was there before is broken by its operator's commands, only as far as it can bear, and healed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.drill.operated import Cluster, operated
from tests.process.agents import until
from volstore.drill.exchange import Exchange
from volstore.drill.existing import ExistingTarget
from volstore.drill.health import wait_until_healthy
from volstore.drill.progress import Progress
from volstore.drill.run import rehearse
from volstore.drill.scenario import LoadSettings, Objective, Scenario, Step
from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode
from volstore.drill.volumes import NAMESPACE

LENIENT = Objective(10.0, 10.0, 0, "machines of tests are slow")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with operated(tmp_path) as made:
        yield made


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Cluster]:
    """All nodes run, and one leads."""
    await cluster.start()
    exchange = Exchange(Access())
    try:
        assert await wait_until_healthy(exchange, [TargetNode(n.name, n.url) for n in cluster.nodes], 30.0) == ""
        yield cluster
    finally:
        await exchange.close()


@asynccontextmanager
async def begun(path: Path) -> AsyncIterator[tuple[ExistingTarget, list[str]]]:
    told: list[str] = []
    target = ExistingTarget(path, told.append)
    try:
        await target.start()
        yield target, told
    finally:
        await target.stop()


async def volumes_left(cluster: Cluster) -> object:
    exchange = Exchange(Access())
    try:
        path = f"/v1/volumes?type=csi&namespace={NAMESPACE}"
        return (await exchange.ask("GET", cluster.nodes[0].url, path, within=5)).json()
    finally:
        await exchange.close()


async def test_a_whole_drill_kills_and_pauses_and_leaves_the_cluster_as_it_was(cluster: Cluster) -> None:
    async with running(cluster):
        steps = (
            Step(FaultKind.PAUSE, "leader", 1.0),
            Step(FaultKind.KILL, "follower", 0.5),
        )
        scenario = Scenario("mine", "A pause and a kill.", LENIENT, steps, load=LoadSettings(clients=2))
        told: list[str] = []
        target = ExistingTarget(cluster.write(), told.append)
        with Progress(None, "mine") as progress:
            result = await rehearse(scenario, target, 5, progress)
        assert [check for check in result.checks if not check.passed] == []
        assert [event.text.partition(" of ")[0] for event in result.events if event.what == "fault"] == [
            "pause",
            "kill",
        ]
        assert told == []
        assert [node.runs() for node in cluster.nodes] == [True] * 3
        assert await volumes_left(cluster) == []


async def test_nothing_is_broken_that_the_cluster_can_not_spare(cluster: Cluster) -> None:
    async with running(cluster), begun(cluster.write()) as (target, _):
        await target.do(Fault(FaultKind.PAUSE, ("s2",)))
        # Where s2 led, it may be that nobody leads just now.
        why = r"kill of s3 is refused, because writes would stop: (of 3 voters|no node leads now)"
        with pytest.raises(TargetError, match=why):
            await target.do(Fault(FaultKind.KILL, ("s3",)))
        assert target.cannot(Fault(FaultKind.KILL, ("s1", "s3"))) == (
            "2 of 3 nodes would break the majority of an existing cluster"
        )
        assert cluster.nodes[2].runs()
        await target.heal(Fault(FaultKind.PAUSE, ("s2",)))
        await until(cluster.nodes[1].runs, what="the healed node")


async def test_what_stands_at_the_end_is_healed(cluster: Cluster) -> None:
    async with running(cluster):
        async with begun(cluster.write()) as (target, told):
            await target.do(Fault(FaultKind.PAUSE, ("s2",)))
            await until(cluster.nodes[1].paused, what="the pause")
        assert cluster.nodes[1].runs()
        assert told == []


async def test_a_command_that_fails_is_told_of_and_its_node_is_healed(cluster: Cluster) -> None:
    """By half: the pause was done before the command failed."""
    pause = 'do = ["kill -STOP {pid}", "sh -c \'echo no such thing; exit 4\'"]\nheal = "kill -CONT {pid}"'
    async with running(cluster):
        async with begun(cluster.write(pause=pause)) as (target, _):
            with pytest.raises(TargetError, match="ended with code 4; it printed: no such thing"):
                await target.do(Fault(FaultKind.PAUSE, ("s2",)))
            await until(cluster.nodes[1].paused, what="the pause")
        assert cluster.nodes[1].runs()


async def test_a_healing_that_fails_is_told_of_with_what_to_do_by_hand(cluster: Cluster) -> None:
    pause = 'do = "kill -STOP {pid}"\nheal = "sh -c \'echo host unreachable {node}; exit 1\'"'
    async with running(cluster):
        async with begun(cluster.write(pause=pause)) as (target, told):
            await target.do(Fault(FaultKind.PAUSE, ("s2",)))
            with pytest.raises(TargetError, match="host unreachable s2"):
                await target.heal(Fault(FaultKind.PAUSE, ("s2",)))
            failed = await target.heal_all()
            assert "could not be healed, do it by hand" in failed[0]
            assert "host unreachable s2" in failed[0]
            os.kill(cluster.nodes[1].pid, signal.SIGCONT)
        assert told == failed


async def test_a_flapping_link_is_cut_and_restored_until_it_is_healed(cluster: Cluster) -> None:
    log = cluster.folder / "flaps"
    more = f"[faults.flap]\ndo = \"sh -c 'echo cut >>{log}'\"\nheal = \"sh -c 'echo restored >>{log}'\""
    async with running(cluster), begun(cluster.write(more=more)) as (target, _):
        flap = Fault(FaultKind.FLAP, ("s2",), up=0.01, down=0.01)
        await target.do(flap)
        await until(lambda: log.exists() and len(log.read_text().split()) >= 4, what="some flaps")
        await target.heal(flap)
        words = log.read_text().split()
        assert words[:4] == ["cut", "restored", "cut", "restored"]
        assert words[-1] == "restored"


async def test_the_nodes_must_be_those_that_the_file_says(cluster: Cluster) -> None:
    async with running(cluster):
        right = cluster.write().read_text()
        swapped = right.replace('"s1"', '"sX"').replace('"s2"', '"s1"').replace('"sX"', '"s2"')
        for text, why in (
            (swapped, f"{cluster.nodes[0].url} is s1, but .* calls it s2"),
            (
                right.replace(cluster.nodes[2].url, "http://127.0.0.1:9"),
                "s3 at .* does not answer as it should",
            ),
            (
                right[: right.index('name = "s3"')].rpartition("[[nodes]]")[0],
                "lacks s3, which belongs to the cluster too",
            ),
        ):
            path = cluster.folder / "wrong.toml"
            path.write_text(text)
            target = ExistingTarget(path, lambda line: None)
            with pytest.raises(TargetError, match=why):
                await target.start()
            await target.stop()


def test_a_plan_shows_every_command_without_running_any(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.pid_file.write_text("12345678")
    target = ExistingTarget(cluster.write(), lambda line: None)
    assert target.plan(Fault(FaultKind.PAUSE, ("s1", "s2"))) == [
        *["kill -STOP 12345678"] * 2,
        "then, to heal:",
        *["kill -CONT 12345678"] * 2,
    ]


_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from volstore.drill.existing import ExistingTarget
from volstore.drill.target import Fault, FaultKind

async def main():
    target = ExistingTarget(Path(sys.argv[1]), print)
    await target.start()
    await target.do(Fault(FaultKind.PAUSE, ("s2",)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_drill_that_is_killed_itself_leaves_nothing_broken(cluster: Cluster) -> None:
    async with running(cluster):
        command = [sys.executable, "-c", _DIES, str(cluster.write())]
        with (cluster.folder / "watchdog.log").open("wb") as log:
            code = await asyncio.to_thread(subprocess.call, command, stderr=log)
        assert code == -signal.SIGKILL
        await until(cluster.nodes[1].runs, what="healing by the watchdog")
        said = "the drill has died; healing: kill -CONT"
        await until(lambda: said in (cluster.folder / "watchdog.log").read_text(), what="the watchdog's word")


SCENARIO = """
about = "The leader stands still."
[load]
clients = 2
[objective]
write_outage = "10s"
read_outage = "10s"
failed_requests = 0
why = "machines of tests are slow"
[[steps]]
fault = "pause"
target = "leader"
lasts = "{lasts}"
"""


def told_to(cluster: Cluster, *words: str, lasts: str = "500ms") -> subprocess.Popen[str]:
    """`volstore drill` on the cluster, whose nodes run, with a scenario of one's own."""
    scenario = cluster.folder / "stands-still.toml"
    scenario.write_text(SCENARIO.format(lasts=lasts))
    command = [sys.executable, "-m", "volstore", "drill", str(scenario), "--cluster", str(cluster.write()), *words]
    return subprocess.Popen(
        [*command, "--report", str(cluster.folder / "report")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_the_command_drills_an_existing_cluster_and_keeps_every_request(cluster: Cluster) -> None:
    async with running(cluster):
        process = told_to(cluster, "--yes-break-it", "--json", "--seed", "4")
        output, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, errors) == (0, "")
        assert json.loads(output)["passed"] is True
        lines = [json.loads(line) for line in (cluster.folder / "report" / "requests.jsonl").read_text().splitlines()]
        assert lines[0]["drill"]["seed"] == 4
        assert any(line.get("event", {}).get("what") == "fault" for line in lines)
        assert [node.runs() for node in cluster.nodes] == [True] * 3
        assert await volumes_left(cluster) == []


async def test_an_interrupted_drill_heals_what_stands(cluster: Cluster) -> None:
    async with running(cluster):
        process = told_to(cluster, "--yes-break-it", "--json", lasts="300s")
        await until(lambda: any(node.paused() for node in cluster.nodes), what="the fault")
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 130
        assert "Interrupted" in errors
        assert [node.runs() for node in cluster.nodes] == [True] * 3
        assert await volumes_left(cluster) == []


async def test_without_a_yes_nothing_is_broken_and_a_dry_run_needs_none(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.pid_file.write_text("12345678")
    process = told_to(cluster)
    _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 2
    assert "give --yes-break-it" in errors
    process = told_to(cluster, "--dry-run")
    output, errors = await asyncio.to_thread(process.communicate)
    assert (process.returncode, errors) == (0, "")
    assert output.count("    kill -STOP 12345678\n    then, to heal:\n    kill -CONT 12345678\n") == 3


async def test_a_scenario_that_the_file_has_no_commands_for_is_refused_before_anything_is_broken(
    cluster: Cluster,
) -> None:
    for node in cluster.nodes:
        node.pid_file.write_text("12345678")
    command = [sys.executable, "-m", "volstore", "drill", "slow-disk", "--yes-break-it", "--cluster"]
    process = await asyncio.create_subprocess_exec(*command, str(cluster.write()), stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"slow-disk: the file has no [faults.slow-disk] with its commands" in errors
