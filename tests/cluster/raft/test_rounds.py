"""A leader knows when it sent what is answered late: exactly for the recent rounds, never too late for the old ones."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cluster.raft.rounds import MOST, RoundTimes


@given(st.lists(st.floats(0.0001, 0.5), min_size=1, max_size=300), st.integers(1, 40))
def test_a_time_is_never_later_than_the_truth_and_never_missing(gaps: list[float], repeat: int) -> None:
    times, truth, now = RoundTimes(0.004), list[float](), 0.0
    for gap in gaps * repeat:
        now += gap
        truth.append(now)
        times.sent(len(truth), now)
    for round_, sent in enumerate(truth, 1):
        assert truth[0] <= times.of(round_) <= sent
    assert len(times._rounds) <= MOST


def test_the_time_of_a_recent_round_is_known_within_twice_the_resolution() -> None:
    times = RoundTimes(0.004)
    for round_ in range(1, 50_001):
        times.sent(round_, round_ * 0.0002)
        assert times.of(round_) > round_ * 0.0002 - 0.008


def test_old_times_get_rougher_and_go_on() -> None:
    """5,000 rounds a second, answered 3 s later: the time that is told grows with the rounds all the same."""
    times, told = RoundTimes(0.004), list[float]()
    for round_ in range(1, 100_001):
        times.sent(round_, round_ * 0.0002)
        if round_ > 20_000 and round_ % 1000 == 0:
            told.append(round_ * 0.0002 - times.of(round_ - 15_000))
    assert max(told) < 3.0 + 0.5


def test_a_round_of_an_earlier_leadership_proves_nothing() -> None:
    times = RoundTimes(0.004)
    assert times.of(1) == -math.inf
    times.sent(5, 1.0)
    assert times.of(4) == -math.inf
    times.clear()
    assert times.of(5) == -math.inf
