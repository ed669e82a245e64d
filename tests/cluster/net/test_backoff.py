"""Delays before dialling again."""

from __future__ import annotations

import random

from cluster.net.dial import Backoff


def test_delays_double_from_the_shortest_to_the_longest_within_a_quarter() -> None:
    backoff = Backoff(random.Random(1), 0.05, 1.0)
    for wanted in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert 0.75 * wanted <= backoff.after(0.0) <= 1.25 * wanted


def test_only_a_connection_that_outlived_the_longest_delay_resets_them() -> None:
    backoff = Backoff(random.Random(1), 0.05, 1.0)
    for _ in range(8):
        backoff.after(0.0)
    assert backoff.after(0.9) > 0.7
    assert backoff.after(1.0) < 0.07


def test_members_with_other_random_numbers_wait_for_other_times() -> None:
    assert Backoff(random.Random(1), 0.05, 1.0).after(0.0) != Backoff(random.Random(2), 0.05, 1.0).after(0.0)


def test_a_peer_that_is_away_for_years_overflows_nothing() -> None:
    backoff = Backoff(random.Random(1), 0.05, 1.0)
    assert all(backoff.after(0.0) <= 1.25 for _ in range(3000))
