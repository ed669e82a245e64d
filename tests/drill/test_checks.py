"""The whole judgement: all promises and objectives, and that nothing is found where all is right."""

from __future__ import annotations

import pytest

from tests.drill.histories import ANY, SAME, History, holds
from volstore.drill.record import Absence, Outage
from volstore.drill.scenario import Objective


def test_a_history_in_which_all_is_well_passes_every_check() -> None:
    history = History()
    history.register("v1", 1)
    history.read("v1", 1)
    history.register("v2", None)
    history.read("v2", 2)
    history.stale("v1", 1, 3.0, node="s2")
    history.deregister(3)
    history.read(None, 3)
    history.finds_nothing()
    history.refused("v9")
    history.register("v10", 5, volume="b")
    checks = history.judged(holds(b=("v10", 5)), holds(b=("v10", 5), node="s2"))
    assert [check for check in checks.values() if not check.passed] == []


# The end, and the objectives.


def test_digests_that_differ_at_one_index_are_found() -> None:
    assert History().violations(holds(digest="a"), holds(node="s2", digest="b")) == [SAME]


def test_nodes_that_did_not_come_to_one_index_are_found() -> None:
    assert History().violations(holds(8), holds(9, node="s2")) == [SAME]


def test_a_drill_in_which_nothing_was_done_proves_nothing() -> None:
    assert not History().judged(holds())["There was a load"].passed


@pytest.mark.parametrize(("longest", "passed"), [(0.9, True), (1.1, False)])
def test_the_longest_outage_counts_against_its_objective(longest: float, passed: bool) -> None:
    outages = (Outage("kill of s1", "writes", 3.0, longest, "s2"), Outage("kill of s2", "writes", 9.0, 0.1, "s1"))
    checks = History().judged(holds(), outages=outages, objective=Objective(1.0, None, None, "why not"))
    check = checks["Outage of writes at most 1 s"]
    assert check.passed is passed
    felt = f"{longest:.3f} s at s2 from 3.000 s on, after kill of s1"
    assert check.detail == (felt if passed else f"{felt}: why not")


def test_an_outage_that_was_not_measured_misses_its_objective() -> None:
    checks = History().judged(holds(), objective=Objective(1.0, None, None, "why"))
    assert not checks["Outage of writes at most 1 s"].passed


def test_what_is_not_judged_is_shown_all_the_same() -> None:
    outages = (Outage("kill of s1", "reads", 3.0, 7.0, None),)
    check = History().judged(holds(), outages=outages, objective=ANY)["Outage of reads"]
    assert check.passed
    assert "7.000 s on all nodes" in check.detail


def test_requests_that_fail_on_nodes_that_were_broken_on_purpose_are_no_failures() -> None:
    history = History()
    history.refused("v1")
    history.register("v2", None)
    history.finds_nothing()
    objective = Objective(None, None, 0, "none may")
    assert not history.judged(holds(), objective=objective)["No failed request"].passed
    there = (Absence("s1", 0.0, 9.0),)
    assert history.judged(holds(), objective=objective, absences=there)["No failed request"].passed
    elsewhere = (Absence("s2", 0.0, 9.0), Absence("s1", 5.0, 9.0))
    check = history.judged(holds(), objective=objective, absences=elsewhere)["No failed request"]
    assert check.detail.startswith("2 of 3 requests failed")
    assert len(check.history) == 2
