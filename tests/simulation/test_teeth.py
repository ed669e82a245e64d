"""The simulator has teeth: it finds each hole that is opened again, and nothing where all are closed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cluster.closings import Closings
from tests.simulation.run import run
from tests.simulation.teeth import TEETH, Tooth


def test_every_switch_has_its_tooth() -> None:
    assert {tooth.closing for tooth in TEETH} == {field.name for field in fields(Closings)}


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.closing)
def test_an_opened_hole_is_found_by_seeds_that_pass_where_it_is_closed(tooth: Tooth) -> None:
    for seed in tooth.seeds:
        assert run(tooth.plan(seed, closed=True)).violation is None, f"seed {seed}"
        found = run(tooth.plan(seed, closed=False)).violation
        if found is not None:
            assert found[0] in tooth.invariants, f"seed {seed}: {found}"
            return
    pytest.fail(f"none of {tooth.seeds} shows that {tooth.closing} is needed")
