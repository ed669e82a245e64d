"""Whole clusters under faults keep their promises: seeds that once found something, a fixed set, and some by chance."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import pytest

from tests.simulation.holes import ignore_incarnations
from tests.simulation.run import Plan, Result, draw_plan, run
from tests.simulation.shrink import shrink
from tests.simulation.teeth import TEETH

FOUND = {
    1: "a node spun its event loop while an entry was under way and another proposal waited",
    10: "a member that was away refused its leader, which was added meanwhile, for ever",
    22: "stale reads claimed to be fresh on a node that was catching up",
    24: "entries were applied that the node's own disk didn't have, and were gone when it read its journal again",
    32: "a cluster that lost a disk while it formed never elected anybody, though a majority had everything",
    51: "members answered each other's answers without end; a journal was reopened beside its own cleaning",
    57: "a failing disk ended a node that was receiving a snapshot",
    71: "a node that made room on a full disk went on with Raft's state from before",
    79: "stale reads beside a new leader claimed to be fresh",
    253: "a member that was added at run time came back with a wiped disk, and was let in",
    2046: "a member stopped itself for a removal that was never committed",
    2135: "a stop failed with the disk",
    2195: "a journal that had only seen failed folder syncs and a crash refused to start",
    426099059604: "a snapshot that was under way when the disk failed covered more than the log that was read again",
    88303111662: "a node whose disk was full before it had anything to keep in a snapshot never looked at it again",
    228341578535: "a leader whose disk held up its stop said that it knew of all, long after another one led",
}
"""What each seed caught when it was first run (a seed is another run once the simulator draws differently)."""

FALSE_ALARMS = {
    439602335510: "the vote of a member that was just reading its disk was not counted",
    88303111958: "what a disk held was not counted when it was replaced while its acknowledgement was under way",
    832580902222: "who hung up while its node stood still was due since then once its answer moved",
}
"""What was wrong in the simulator itself when each seed was first run."""

SMALL_LOGS = {"snapshot_entries": 20, "trailing_entries": 0}


@dataclass(frozen=True, slots=True)
class Found:
    """A run that fails where the mending of `what` is taken back; the fewer `kinds`, the longer it stays the same."""

    what: str
    seed: int
    kinds: Mapping[str, float]
    changes: Mapping[str, object] = field(default_factory=dict)


FOUND_AMONG = (
    Found(
        "a piece of a snapshot from a leader, or in a term, that was not known yet was dropped without a word",
        47,
        {"full-disk": 6, "kill": 2, "slow-link": 2},
        SMALL_LOGS,
    ),
    Found(
        "members refused a leader whose removal stood in their logs and was never committed",
        3,
        {"remove": 20, "partition": 6, "crash": 2},
        {"nodes": 5},
    ),
    Found(
        "a step went on after a step within it had failed, and applied the same entry again",
        31,
        {"poison": 6, "partition": 3},
    ),
    Found(
        "a transfer whose connection was replaced between two ticks was waited for",
        41,
        {"power": 6, "stall-disk": 4, "kill": 4},
        SMALL_LOGS,
    ),
    Found(
        "a node that made room started its log after a snapshot that was received and not installed yet",
        227,
        {"full-disk": 8, "stall-disk": 4, "kill": 4, "slow-disk": 2},
        SMALL_LOGS,
    ),
)

SEEDS = range(100, 108)


def _check(seed: int, plan: Plan | None = None) -> Result:
    result = run(plan or draw_plan(seed))
    if result.violation is None:
        return result
    small = shrink(result.plan, result.violation[0], attempts=20)
    faults = "\n".join(str(fault) for fault in small.faults)
    pytest.fail(f"seed {seed}: {result.violation[0]}: {result.violation[1]}\n{faults}\n", pytrace=False)


@pytest.mark.parametrize("seed", [*FOUND, *FALSE_ALARMS])
def test_what_was_found_once_stays_mended(seed: int) -> None:
    _check(seed)


@pytest.mark.parametrize("found", FOUND_AMONG, ids=lambda found: found.what)
def test_what_was_found_among_few_kinds_of_faults_stays_mended(found: Found) -> None:
    _check(found.seed, draw_plan(found.seed, kinds=lambda _random: dict(found.kinds), changes=found.changes))


def test_a_fixed_set_of_seeds_keeps_every_promise_and_gets_work_done() -> None:
    """A simulator in which nothing happens would find nothing."""
    results = [_check(seed) for seed in SEEDS]
    assert sum(result.answered for result in results) > 1000
    for event in ("LEADS", "crash", "kill", "snapshot_written", "snapshot_installed", "disk_failed", "link_lost"):
        assert any(event in result.counts for result in results), event


def test_seeds_drawn_by_chance_keep_every_promise() -> None:
    for _ in range(3):
        _check(SystemRandom().randrange(1 << 40))


def _trace_in_a_process(seed: int, hash_seed: str) -> bytes:
    root = Path(__file__).parents[2]
    script = (
        "import sys; from tests.simulation.run import Result, draw_plan, run;"
        f"sys.stdout.write('\\n'.join(run(draw_plan({seed}), trace=True).trace))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, stdout=subprocess.PIPE, check=True
    ).stdout


@pytest.mark.parametrize("seed", [5, 103])
def test_a_seed_gives_the_same_trace_to_the_byte_whatever_the_hash_seed(seed: int) -> None:
    first = _trace_in_a_process(seed, "1")
    assert first.count(b"\n") > 50
    assert first == _trace_in_a_process(seed, "4242")


def test_what_ran_before_changes_nothing() -> None:
    alone = run(draw_plan(103), trace=True).trace
    run(draw_plan(104))
    assert run(draw_plan(103), trace=True).trace == alone


def test_a_failing_run_shrinks_to_fewer_faults_that_fail_the_same_way() -> None:
    tooth = next(tooth for tooth in TEETH if tooth.hole is ignore_incarnations)
    plan = tooth.plan(tooth.seeds[0], open=True)
    found = run(plan).violation
    assert found is not None
    small = shrink(plan, found[0], attempts=40)
    assert len(small.faults) < len(plan.faults)
    again = run(small).violation
    assert again is not None
    assert again[0] == found[0]
