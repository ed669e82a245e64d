"""What goes back in time is found, by the indexes of answers, and stale reads that claim too much."""

from __future__ import annotations

import pytest

from tests.drill.histories import FRESH, ORDER, History, holds
from volstore.drill.checks_order import STALE_SLACK
from volstore.drill.record import Absence

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
