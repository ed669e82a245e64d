"""Clients of real nodes: what they felt is written down, also where a node is gone, and a cluster's loss is found."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drill.histories import ANY, KEPT, LINEARIZABLE, ORDER
from tests.process.agents import Agent, agents, until
from volstore.drill.checks import judge
from volstore.drill.exchange import Exchange
from volstore.drill.final_state import read_finals
from volstore.drill.health import wait_until_healthy
from volstore.drill.load import WRITES_PER_SECOND, Load, LoadFailed
from volstore.drill.outage import outages
from volstore.drill.record import Event, Kind, Outcome
from volstore.drill.recording import Recording
from volstore.drill.scenario import LoadSettings
from volstore.drill.target import Access, TargetNode
from volstore.drill.volumes import NAMESPACE, remove_volumes


def clock() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


def as_nodes(nodes: list[Agent]) -> list[TargetNode]:
    return [TargetNode(node.name, node.url) for node in nodes]


def by_name(nodes: list[Agent], name: str | None) -> Agent:
    return next(node for node in nodes if node.name == name)


async def must_be_whole(nodes: list[Agent]) -> None:
    exchange = Exchange(Access())
    try:
        assert await wait_until_healthy(exchange, as_nodes(nodes), 30.0) == ""
    finally:
        await exchange.close()


async def test_a_killed_leader_is_felt_and_nothing_else_goes_wrong(tmp_path: Path) -> None:
    with agents(tmp_path, 3) as nodes, Recording(tmp_path / "requests.jsonl", {"seed": 7}) as recording:
        for node in nodes:
            node.start()
        load = Load(as_nodes(nodes), LoadSettings(), 7, clock(), note=recording.note)
        await load.start()
        await load.steady()
        victim = by_name(nodes, load.leader)
        load.expect_down(victim.name)
        killed = load.rates()
        victim.kill()
        await until(lambda: load.leader not in (None, victim.name), what="another leader")
        victim.start()
        await must_be_whole(nodes)
        load.expect_up(victim.name)
        await load.steady()
        await load.stop()
        finals = await read_finals(as_nodes(nodes), Access(), load.prefix)
    assert load.ended is not None
    found = outages(load.requests, [Event(killed.at, "fault", "kill")], load.absences, load.ended)
    checks = judge(load.requests, finals, found, ANY, load.absences)
    assert [check for check in checks if not check.passed] == []
    assert {outage.what for outage in found} == {"writes", "reads"}
    assert all(outage.seconds > 0 for outage in found)
    assert [absence.node for absence in load.absences] == [victim.name]
    assert load.events[0].node == victim.name
    # The dead node's clients went on, nothing of theirs was sent anywhere, and it counts as no failure.
    refused = [r for r in load.requests if r.node == victim.name and r.outcome is Outcome.REFUSED and r.status is None]
    assert refused
    assert {kind for kind, count in Counter(r.kind for r in load.requests).items() if count} == set(Kind)
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert lines[0] == {"drill": {"seed": 7}}
    assert len([line for line in lines if "request" in line]) == len(load.requests)
    assert [line["event"]["text"] for line in lines if "event" in line] == [event.text for event in load.events]


async def test_writes_are_repeated_under_their_key_and_volumes_of_their_own_are_removed(tmp_path: Path) -> None:
    with agents(tmp_path, 1) as nodes:
        nodes[0].start()
        load = Load(as_nodes(nodes), LoadSettings(clients=8, pause=0.01), 1, clock())
        await load.start()
        await until(lambda: any(r.repeats is not None for r in load.requests), what="a repeat")
        await load.stop()
        finals = await read_finals(as_nodes(nodes), Access(), load.prefix)
        repeat = next(r for r in load.requests if r.repeats is not None)
        first = next(r for r in load.requests if r.number == repeat.repeats)
        assert (repeat.index, repeat.outcome, repeat.value) == (first.index, Outcome.DONE, first.value)
        assert finals[0].volumes
        exchange = Exchange(Access())
        try:
            assert await remove_volumes(exchange, as_nodes(nodes), 10.0) == ""
            left = await exchange.ask("GET", nodes[0].url, f"/v1/volumes?type=csi&namespace={NAMESPACE}", within=5)
            plugin = await exchange.ask("GET", nodes[0].url, "/v1/plugins?type=csi", within=5)
            assert await remove_volumes(exchange, as_nodes(nodes), 10.0) == ""
        finally:
            await exchange.close()
        assert (left.json(), plugin.json()) == ([], [])


async def test_a_cluster_that_really_lost_writes_is_found_out(tmp_path: Path) -> None:
    """A majority's disks are wiped, and the member that had been away becomes a cluster of its own."""
    with agents(tmp_path, 3) as nodes:
        for node in nodes:
            node.start()
        load = Load(as_nodes(nodes), LoadSettings(), 3, clock())
        await load.start()
        await load.steady()
        away = next(node for node in nodes if node.name != load.leader)
        load.expect_down(away.name)
        away.kill()
        before = len(load.requests)
        await until(lambda: len(load.requests) > before + 300, what="writes that the one away hasn't got")
        for node in nodes:
            load.expect_down(node.name)
            node.kill()
        others = [node for node in nodes if node is not away]
        for node in others:
            shutil.rmtree(tmp_path / node.name)
        recover = [sys.executable, "-m", "volstore", "operator", "recover", "-y", str(tmp_path / away.name)]
        await asyncio.to_thread(subprocess.run, recover, check=True, capture_output=True)
        away.start()
        await must_be_whole([away])
        load.expect_up(away.name)
        before = len(load.requests)
        await until(lambda: len(load.requests) > before + 100, what="requests after that")
        await load.stop()
        finals = await read_finals(as_nodes([away]), Access(), load.prefix)
    checks = {check.name: check for check in judge(load.requests, finals, [], ANY, load.absences)}
    assert {KEPT, LINEARIZABLE, ORDER} <= {name for name, check in checks.items() if not check.passed}
    # The shortest history is one that a person can read: what was answered, and what contradicts it.
    shown = checks[LINEARIZABLE].history
    assert 2 <= len(shown) <= 8, shown
    assert len({found[0] for line in shown if (found := re.search(rf"{load.prefix}-\d+-\d+", line))}) == 1, shown


async def test_a_cluster_that_does_not_answer_is_no_ground_for_a_load() -> None:
    load = Load([TargetNode("s1", "http://127.0.0.1:9")], LoadSettings(), 1, clock())
    with pytest.raises(LoadFailed, match=r"the load can't start: PUT /v1/namespace/.* was answered with nothing"):
        await load.start(0.1)
    await load.stop()


async def test_a_load_that_does_not_become_steady_says_how_it_goes(tmp_path: Path) -> None:
    with agents(tmp_path, 1) as nodes:
        nodes[0].start()
        load = Load(as_nodes(nodes), LoadSettings(clients=1), 1, clock())
        await load.start()
        nodes[0].kill()
        with pytest.raises(LoadFailed, match=r"the load is not steady after 0\.3 s: .* s1 .*/s done"):
            await load.steady(0.3)
        await load.stop(at_once=True)


@pytest.mark.parametrize(
    "settings",
    [
        LoadSettings(clients=0),
        LoadSettings(volumes=0),
        LoadSettings(timeout=0),
        LoadSettings(mix={}),
        LoadSettings(mix={Kind.REGISTER: 0}),
        LoadSettings(mix={Kind.REGISTER: 2, Kind.READ_STALE: -1}),
    ],
)
def test_a_load_of_nothing_is_refused(settings: LoadSettings) -> None:
    with pytest.raises(LoadFailed, match=r"a load needs|the mix of a load needs"):
        Load([TargetNode("s1", "http://127.0.0.1:9")], settings, 1, clock())


def test_a_load_never_writes_more_than_the_nodes_remember_keys_of() -> None:
    nodes = [TargetNode(f"s{n}", "http://127.0.0.1:9") for n in range(7)]
    settings = LoadSettings(clients=20, pause=0.0, mix={Kind.REGISTER: 1, Kind.READ_DEFAULT: 1})
    pause = Load(nodes, settings, 1, clock()).pause
    assert 7 * 20 / pause * 0.5 == pytest.approx(WRITES_PER_SECOND)
    assert Load(nodes[:1], LoadSettings(clients=1, pause=0.5), 1, clock()).pause == 0.5


def test_nothing_is_expected_of_a_node_that_is_not_there() -> None:
    load = Load([TargetNode("s1", "http://127.0.0.1:9")], LoadSettings(), 1, clock())
    with pytest.raises(KeyError, match="s2 is not a node of this load"):
        load.expect_down("s2")


async def test_a_node_that_can_not_be_asked_at_the_end_is_told_of(tmp_path: Path) -> None:
    with agents(tmp_path, 1) as nodes:
        nodes[0].start()
        await must_be_whole(nodes)
        there, gone = await read_finals(
            [*as_nodes(nodes), TargetNode("s2", "http://127.0.0.1:9")], Access(), "drill-x", seconds=0.1
        )
    assert (there.error, there.volumes) == ("", {})
    assert len(there.digest) == 32
    assert gone.error.startswith("the request for its digest was answered: ")


def test_evidence_that_can_not_be_kept_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        Recording(Path("/dev/full"), {})


async def test_a_cluster_with_access_control_is_asked_with_the_token_and_says_why_not_without_one(
    tmp_path: Path,
) -> None:
    with agents(tmp_path, 1, "--acl-enabled") as nodes:
        nodes[0].start()
        exchange = Exchange(Access())
        try:

            async def bootstrapped() -> str:
                answer = await exchange.ask("POST", nodes[0].url, "/v1/acl/bootstrap", body=b"", within=5)
                return str(answer.json()["SecretID"]) if answer.status == 200 else ""

            token = await until(bootstrapped, what="the first token")
        finally:
            await exchange.close()
        stranger = Load(as_nodes(nodes), LoadSettings(), 1, clock())
        with pytest.raises(LoadFailed, match=r"PUT /v1/namespace/volstore-drill was answered 403: Permission denied"):
            await stranger.start()
        await stranger.stop()
        load = Load(as_nodes(nodes), LoadSettings(), 1, clock(), access=Access(token))
        await load.start()
        await load.steady()
        await load.stop()
        finals = await read_finals(as_nodes(nodes), Access(token), load.prefix)
    assert [check for check in judge(load.requests, finals, [], ANY, []) if not check.passed] == []
