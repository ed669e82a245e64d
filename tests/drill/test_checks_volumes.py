"""Lost writes, doubled ones, and answers that no order explains are found; where all is right nothing is."""

from __future__ import annotations

import pytest

from tests.drill.histories import KEPT, LINEARIZABLE, ONCE, SAME, History, holds
from volstore.drill import shrinking
from volstore.drill.final_state import Final
from volstore.drill.record import Kind

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
    monkeypatch.setattr(shrinking, "LIMIT", 100)
    history = History()
    for number in range(1, 12):
        history.register(f"v{number}", number, start=1.0, end=50.0)
    history.read("v1", 12, start=51.0)
    history.read("v2", 12, start=53.0)
    check = history.judged(holds(a=("v2", 2)))[LINEARIZABLE]
    assert not check.passed
    assert check.detail == "1 of 1 histories could not be decided"
