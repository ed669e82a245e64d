"""The simulator finds what `cluster` once did wrong on slow lines and under passing errors, where it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.simulation.old_ways import (
    OldWay,
    commands_are_written_again,
    rounds_are_forgotten,
    unreadable_snapshots_end,
)
from tests.simulation.run import Plan, draw_plan, run


@dataclass(frozen=True, slots=True)
class Once:
    """One of `seeds` shows `way` by breaking `invariant`; the first does at present."""

    way: OldWay
    seeds: range
    invariant: str
    kinds: Mapping[str, float]
    changes: Mapping[str, object] = field(default_factory=dict)

    def plan(self, seed: int) -> Plan:
        return draw_plan(seed, kinds=lambda _random: dict(self.kinds), changes=self.changes)


ONCE = (
    Once(
        rounds_are_forgotten,
        range(1001, 1021),
        "a reachable follower catches up",
        {"long-line": 4},
        {"think": 0.02, "clients": 8, "nodes": 3},
    ),
    Once(
        commands_are_written_again,
        range(1000, 1020),
        "written once",
        {"long-line": 4, "crowd": 4, "slow-disk": 4},
        {"think": 0.05, "nodes": 3},
    ),
    Once(
        unreadable_snapshots_end,
        range(1000, 1020),
        "fail-stop",
        {"unreadable": 12, "kill": 6, "pause": 4},
        {"think": 0.05, "snapshot_entries": 20, "trailing_entries": 0},
    ),
)


@pytest.mark.parametrize("once", ONCE, ids=lambda once: once.way.__name__)
def test_what_was_done_wrong_is_found_by_seeds_that_pass_now(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in once.seeds:
        assert run(once.plan(seed)).violation is None, f"seed {seed}"
        with monkeypatch.context() as patch:
            once.way(patch)
            found = run(once.plan(seed)).violation
        if found is not None:
            assert found[0] == once.invariant, f"seed {seed}: {found}"
            return
    pytest.fail(f"none of {once.seeds} shows it")
