"""A follower is as old as the last time at which it had all that its leader had committed."""

from __future__ import annotations

from cluster.node.reads import Freshness


def test_before_it_caught_up_once_nothing_is_known() -> None:
    fresh = Freshness(10.0)
    fresh.heard(11.0, commit_index=5, applied=2, same_term=True)
    assert not fresh.known
    assert fresh.age(12.0) == 2.0


def test_one_that_has_everything_is_as_old_as_what_it_heard_last() -> None:
    fresh = Freshness(10.0)
    fresh.heard(11.0, commit_index=5, applied=5, same_term=True)
    fresh.heard(12.0, commit_index=5, applied=5, same_term=True)
    assert fresh.known
    assert fresh.age(12.5) == 0.5


def test_one_that_catches_up_grows_old_though_it_hears_the_leader() -> None:
    fresh = Freshness(0.0)
    fresh.heard(1.0, commit_index=5, applied=5, same_term=True)
    for second in range(2, 10):
        fresh.heard(float(second), commit_index=5 + second, applied=5, same_term=True)
    assert fresh.age(9.0) == 8.0


def test_what_was_awaited_counts_from_when_it_was_heard_of() -> None:
    fresh = Freshness(0.0)
    fresh.heard(1.0, commit_index=9, applied=5, same_term=True)
    fresh.heard(3.0, commit_index=12, applied=8, same_term=True)
    fresh.applied(9, same_term=True)
    assert fresh.known
    assert fresh.age(4.0) == 3.0


def test_a_new_leader_doesn_t_know_yet_what_is_committed() -> None:
    fresh = Freshness(0.0)
    fresh.heard(1.0, commit_index=5, applied=5, same_term=True)
    fresh.leader_changed()
    fresh.heard(8.0, commit_index=5, applied=5, same_term=False)
    assert fresh.age(9.0) == 8.0
    fresh.heard(9.0, commit_index=6, applied=6, same_term=True)
    assert fresh.age(9.0) == 0.0
