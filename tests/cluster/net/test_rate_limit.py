"""Repeated causes are counted, not written."""

from __future__ import annotations

from cluster.net.rate_limit import RateLimit


def test_the_first_of_a_cause_is_logged_and_the_next_tells_how_many_were_kept_back() -> None:
    limit = RateLimit(period=10.0)
    assert limit.admit("full", 0.0) == 0
    assert limit.admit("full", 1.0) is None
    assert limit.admit("full", 9.9) is None
    assert limit.admit("full", 10.0) == 2
    assert limit.admit("full", 25.0) == 0


def test_causes_do_not_silence_each_other() -> None:
    limit = RateLimit(period=10.0)
    assert limit.admit("one", 0.0) == 0
    assert limit.admit("two", 0.0) == 0


def test_memory_is_bounded_and_the_cause_logged_longest_ago_is_forgotten() -> None:
    limit = RateLimit(period=10.0, causes=2)
    for number, cause in enumerate(("one", "two", "three")):
        assert limit.admit(cause, float(number)) == 0
    assert limit.admit("three", 3.0) is None
    assert limit.admit("two", 3.0) is None
    assert limit.admit("one", 3.0) == 0
