"""The simulator has teeth: it finds each hole that is open again, and nothing where all are closed."""

from __future__ import annotations

import inspect

import pytest

from cluster.raft.engine import Engine
from tests.simulation import holes
from tests.simulation.run import run
from tests.simulation.teeth import TEETH, Tooth


def test_every_hole_has_its_tooth() -> None:
    found = {name for name, one in inspect.getmembers(holes, inspect.isfunction) if one.__module__ == holes.__name__}
    assert sorted(tooth.hole.__name__ for tooth in TEETH) == sorted(found)


def test_a_hole_is_open_in_its_own_run_only() -> None:
    tooth = next(tooth for tooth in TEETH if tooth.hole is holes.send_before_sync)
    before = (Engine.send, Engine.countable)
    run(tooth.plan(tooth.seeds[0], open=True))
    assert (Engine.send, Engine.countable) == before


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.hole.__name__)
def test_an_open_hole_is_found_by_seeds_that_pass_where_it_is_closed(tooth: Tooth) -> None:
    for seed in tooth.seeds:
        assert run(tooth.plan(seed, open=False)).violation is None, f"seed {seed}"
        found = run(tooth.plan(seed, open=True)).violation
        if found is not None:
            assert found[0] in tooth.invariants, f"seed {seed}: {found}"
            return
    pytest.fail(f"none of {tooth.seeds} finds {tooth.hole.__name__}")
