"""How much one caller may ask: the bucket by a clock that the test turns, and the count of who waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.core.errors import ApiError, Overloaded
from volstore.http.server import limits
from volstore.http.server.limits import BURST_SECONDS, RequestRate, WaitersOfCallers


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rate: RequestRate, caller: str, attempts: int) -> int:
    count = 0
    for _ in range(attempts):
        try:
            rate.take(caller)
        except ApiError as error:
            assert (error.status, error.retry_after is not None) == (429, True)  # noqa: PT017 - some are refused
        else:
            count += 1
    return count


def test_a_rested_caller_may_ask_two_seconds_worth_at_once_and_then_the_rate() -> None:
    clock = Clock()
    rate = RequestRate(10, clock)
    assert taken(rate, "a", 50) == 20
    clock.now += 0.5
    assert taken(rate, "a", 50) == 5
    clock.now += 3600
    assert taken(rate, "a", 50) == 20


def test_a_refusal_says_when_one_more_is_good_and_then_it_is() -> None:
    clock = Clock()
    rate = RequestRate(0.1, clock)
    rate.take("a")
    with pytest.raises(ApiError) as refused:
        rate.take("a")
    assert refused.value.retry_after == 10
    clock.now += refused.value.retry_after
    rate.take("a")


def test_callers_do_not_share() -> None:
    rate = RequestRate(1, Clock())
    assert [taken(rate, caller, 9) for caller in ("a", "b", "a")] == [2, 2, 0]


def test_no_rate_is_no_limit() -> None:
    assert taken(RequestRate(0, Clock()), "a", 1000) == 1000


def test_only_so_many_callers_are_remembered_those_who_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BUCKETS", 3)
    rate = RequestRate(1, Clock())
    assert taken(rate, "known", 2) == 2
    for caller in ("a", "b"):
        rate.take(caller)
    assert taken(rate, "known", 1) == 0  # asking keeps it remembered, refused or not
    for caller in ("c", "d", "e"):
        rate.take(caller)
    assert taken(rate, "known", 1) == 1


@given(st.lists(st.floats(0, 3), max_size=60))
def test_over_any_time_no_more_than_the_burst_and_the_rate_get_through(pauses: list[float]) -> None:
    clock = Clock()
    rate = RequestRate(4, clock)
    through = 0
    for pause in pauses:
        clock.now += pause
        through += taken(rate, "a", 3)
        assert through <= 4 * BURST_SECONDS + 4 * (clock.now - 1000) + 1e-6


def test_waiters_count_while_they_wait_and_no_longer() -> None:
    waiters = WaitersOfCallers(2)
    with waiters.one("a"), waiters.one("a"), waiters.one("b"):
        with pytest.raises(Overloaded), waiters.one("a"):
            raise AssertionError("a third one waits")
        with waiters.one("b"):
            pass
    with pytest.raises(ValueError, match="hung up"), waiters.one("a"):
        raise ValueError("hung up")
    with waiters.one("a"), waiters.one("a"):
        pass
    assert not waiters._waiting
