"""Whatever a cluster can do wrong is found, and nothing is found where all is right."""

from __future__ import annotations

import pytest

from tests.drill.histories import ANY, FRESH, KEPT, LINEARIZABLE, ONCE, ORDER, SAME, History, holds
from volstore.drill import shortest
from volstore.drill.evidence_order import STALE_SLACK
from volstore.drill.finals import Final
from volstore.drill.record import Absence, Kind, Outage
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


# A write that was acknowledged is gone.


def test_a_volume_whose_acknowledged_register_is_nowhere_is_lost() -> None:
    history = History()
    history.register("v1", 1)
    checks = history.judged(holds())
    assert not checks[KEPT].passed
    assert checks[KEPT].history == [
        "    1.000 s to     1.500 s  client 1 at s1 registers a as v1: done, index 1",
        "at the end s1 does not hold a",
    ]


def test_a_write_is_lost_if_one_node_only_lacks_it() -> None:
    history = History()
    history.register("v1", 1)
    assert KEPT in history.violations(holds(a=("v1", 1)), holds(node="s2"))


def test_a_write_is_lost_if_the_value_before_it_stands() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 2)
    assert KEPT in history.violations(holds(a=("v1", 1)))


def test_a_deregister_is_lost_if_the_volume_is_still_there() -> None:
    history = History()
    history.register("v1", 1)
    history.deregister(2)
    assert KEPT in history.violations(holds(a=("v1", 1)))


def test_nothing_is_lost_where_a_write_of_unknown_end_came_after_the_acknowledged_one() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", None)
    assert history.violations(holds(a=("v2", 2))) == []
    assert history.violations(holds(a=("v1", 1))) == []


def test_a_deregister_of_unknown_end_explains_a_volume_that_is_gone() -> None:
    history = History()
    history.register("v1", 1)
    history.deregister(None)
    assert history.violations(holds()) == []


def test_a_write_of_unknown_end_that_is_older_does_not_explain_a_loss() -> None:
    """v1 may have been written late, but not at an index before that of the write that it is said to follow."""
    history = History()
    history.register("v1", None)
    history.register("v2", 5)
    assert KEPT in history.violations(holds(a=("v1", 4)))


def test_a_node_that_can_not_be_read_at_the_end_proves_nothing() -> None:
    history = History()
    history.register("v1", 1)
    assert history.violations(holds(a=("v1", 1)), Final("s2", error="no answer")) == [KEPT, SAME]


# A write took effect twice, or though it was refused.


def test_a_repeat_under_the_same_key_with_another_index_was_carried_out_twice() -> None:
    history = History()
    first = history.register("v1", 1)
    history.register("v1", 2, repeats=first.number, node="s2")
    checks = history.judged(holds(a=("v1", 1)))
    assert not checks[ONCE].passed
    assert len(checks[ONCE].history) == 2


def test_a_repeat_under_the_same_key_with_the_first_index_is_right() -> None:
    history = History()
    first = history.register("v1", 1)
    history.register("v1", 1, repeats=first.number, node="s2")
    assert history.violations(holds(a=("v1", 1))) == []


def test_a_deregister_whose_repeat_finds_nothing_was_carried_out_twice() -> None:
    history = History()
    history.register("v1", 1)
    first = history.deregister(2)
    history.finds_nothing(repeats=first.number)
    assert ONCE in history.violations(holds())


def test_a_volume_modified_at_another_index_than_was_answered_was_written_twice() -> None:
    history = History()
    history.register("v1", 1)
    checks = history.judged(holds(a=("v1", 4)))
    assert not checks[ONCE].passed
    assert "answered index 1, and took effect at 4" in checks[ONCE].detail


def test_two_writes_with_one_index_are_found() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 1, volume="b")
    assert ONCE in history.violations(holds(a=("v1", 1), b=("v2", 1)))


def test_a_refused_write_that_is_read_is_found() -> None:
    history = History()
    history.refused("v1")
    history.read("v1", 1)
    checks = history.judged(holds())
    assert not checks[ONCE].passed
    assert "v1, whose write was refused" in checks[ONCE].detail
    assert len(checks[ONCE].history) == 2


def test_a_refused_write_that_is_there_at_the_end_is_found() -> None:
    history = History()
    history.refused("v1")
    assert ONCE in history.violations(holds(a=("v1", 1)))


def test_a_write_that_is_refused_after_a_try_of_unknown_end_may_have_been_done() -> None:
    history = History()
    first = history.register("v1", None)
    history.refused("v1", repeats=first.number)
    history.read("v1", 1)
    assert history.violations(holds(a=("v1", 1))) == []


@pytest.mark.parametrize("kind", [Kind.READ_DEFAULT, Kind.READ_STALE])
def test_a_value_that_nobody_wrote_is_found_in_any_read(kind: Kind) -> None:
    history = History()
    history.register("v1", 1)
    history.read("v7", 1, kind=kind)
    assert ONCE in history.violations(holds(a=("v1", 1)))


def test_a_value_of_another_volume_is_found() -> None:
    history = History()
    history.register("v1", 1)
    history.read("v1", 1, volume="b")
    assert ONCE in history.violations(holds(a=("v1", 1)))


# No order explains the answers.


def test_a_default_read_that_shows_an_older_value_is_not_linearizable() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 2)
    history.read("v1", 2)
    checks = history.judged(holds(a=("v2", 2)))
    assert not checks[LINEARIZABLE].passed
    assert checks[LINEARIZABLE].history[-1].endswith("reads a: v1, index 2")


def test_a_stale_read_may_show_an_older_value() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 2)
    history.stale("v1", 1, 0.0)
    assert history.violations(holds(a=("v2", 2))) == []


def test_a_read_that_began_before_the_write_ended_may_show_either() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 2, start=2.0, end=3.0)
    history.read("v1", 1, start=2.5, end=2.9)
    assert history.violations(holds(a=("v2", 2))) == []


def test_a_deregister_that_finds_nothing_where_something_is_acknowledged_is_not_linearizable() -> None:
    history = History()
    history.register("v1", 1)
    history.finds_nothing()
    assert history.violations(holds(a=("v1", 1))) == [LINEARIZABLE]


def test_a_write_done_twice_shows_when_its_value_comes_back() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", 2)
    history.read("v2", 2)
    history.read("v1", 3)
    history.register("v3", 4)
    assert history.violations(holds(a=("v3", 4))) == [LINEARIZABLE]


def test_a_lost_write_shows_in_the_last_read_even_where_indexes_are_not_told() -> None:
    history = History()
    history.register("v1", 1)
    history.register("v2", None)
    history.read("v2", 2)
    assert history.violations(holds(a=("v1", 1))) == [LINEARIZABLE]


def test_a_history_that_takes_too_long_to_search_is_not_called_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortest, "LIMIT", 100)
    history = History()
    for number in range(1, 12):
        history.register(f"v{number}", number, start=1.0, end=50.0)
    history.read("v1", 12, start=51.0)
    history.read("v2", 12, start=53.0)
    check = history.judged(holds(a=("v2", 2)))[LINEARIZABLE]
    assert not check.passed
    assert check.detail == "1 of 1 histories could not be decided"


# Indexes go back in time.


def test_a_write_after_another_with_a_lower_index_is_found_though_they_are_of_different_volumes() -> None:
    history = History()
    history.register("v1", 5)
    history.register("v2", 4, volume="b")
    checks = history.judged(holds(a=("v1", 5), b=("v2", 4)))
    assert [name for name, check in checks.items() if not check.passed] == ["There was a load", ORDER]
    assert len(checks[ORDER].history) == 2


def test_a_read_after_a_write_with_a_lower_index_is_found_though_it_is_of_another_volume() -> None:
    history = History()
    history.register("v1", 5)
    history.read(None, 4, volume="b", node="s2")
    assert history.violations(holds(a=("v1", 5))) == [ORDER]


def test_overlapping_requests_may_have_any_order() -> None:
    history = History()
    history.register("v1", 5, start=1.0, end=3.0)
    history.register("v2", 4, volume="b", start=2.0, end=4.0)
    history.read("v2", 4, volume="b", start=2.5, end=2.6)
    assert history.violations(holds(a=("v1", 5), b=("v2", 4))) == []


def test_a_write_counts_from_its_first_try_on() -> None:
    """Done by its first try, told to a repeat, after others had been done."""
    history = History()
    first = history.register("v1", None, start=1.0, end=6.0)
    history.register("v2", 2, volume="b", start=3.0)
    history.register("v1", 1, repeats=first.number, start=7.0)
    assert history.violations(holds(a=("v1", 1), b=("v2", 2))) == []


# Stale reads.


def test_a_stale_read_that_is_older_than_it_claims_is_found() -> None:
    history = History()
    history.register("v1", 1, start=0.0)
    history.register("v2", 2, start=1.0)
    history.stale("v1", 1, 0.1, node="s2", start=1.0 + STALE_SLACK + 1)
    checks = history.judged(holds(a=("v2", 2)))
    assert not checks[FRESH].passed
    assert "lacks index 2" in checks[FRESH].detail


@pytest.mark.parametrize("staleness", [2.0, None])
def test_a_stale_read_that_says_how_old_it_is_or_claims_nothing_is_right(staleness: float | None) -> None:
    history = History()
    history.register("v1", 1, start=0.0)
    history.register("v2", 2, start=1.0)
    history.stale("v1", 1, staleness, node="s2", start=1.0 + STALE_SLACK + 1)
    assert history.violations(holds(a=("v2", 2))) == []


@pytest.mark.parametrize(("pauses", "found"), [(True, []), (False, [FRESH])])
def test_what_a_node_claims_that_stood_still_is_not_judged_but_that_of_one_that_was_cut_off_is(
    pauses: bool, found: list[str]
) -> None:
    history = History()
    history.register("v1", 1, start=0.0)
    history.register("v2", 2, start=1.0)
    history.stale("v1", 1, 0.1, node="s2", start=7.0)
    absence = Absence("s2", 1.0, 6.9, restarts=False, pauses=pauses)
    assert history.violations(holds(a=("v2", 2)), absences=(absence,)) == found


def test_a_stale_read_that_goes_back_on_one_node_is_found() -> None:
    history = History()
    history.stale(None, 5, 0.0)
    history.stale(None, 4, 0.0)
    assert history.violations(holds()) == [FRESH]


def test_a_stale_read_may_go_back_on_another_node_and_after_a_restart() -> None:
    history = History()
    history.stale(None, 5, 0.0)
    history.stale(None, 4, 0.0, node="s2")
    history.stale(None, 3, 0.0, start=9.0)
    assert history.violations(holds(), absences=(Absence("s1", 3.0, 8.0),)) == []


def test_a_stale_read_may_not_go_back_after_a_pause() -> None:
    history = History()
    history.stale(None, 5, 0.0)
    history.stale(None, 3, 0.0, start=9.0)
    assert history.violations(holds(), absences=(Absence("s1", 3.0, 8.0, restarts=False),)) == [FRESH]


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
