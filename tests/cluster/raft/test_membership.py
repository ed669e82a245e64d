"""Configurations in the log: which one counts, and which changes are refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.api import LogError, Member
from cluster.raft.membership import Configuration, Configurations, majority, majority_reached

THREE = Configuration(tuple(Member(f"s{n}", f"127.0.0.1:{n}", bytes([n]) * 16) for n in (1, 2, 3)), index=5)


def test_a_configuration_survives_its_encoding() -> None:
    assert Configuration.decode(THREE.encode(), 5) == THREE


def test_bytes_of_another_format_are_refused() -> None:
    with pytest.raises(ValueError, match="upgrade this node"):
        Configuration.decode(b"\x92\x02\x90", 5)


def test_a_new_member_is_a_learner_until_it_is_given_its_vote() -> None:
    with_learner = THREE.with_learner(Member("s4", "127.0.0.1:4", b"4" * 16))
    assert with_learner.voters == ("s1", "s2", "s3")
    assert with_learner.learners == ("s4",)
    assert with_learner.with_voter("s4", b"disk").voters == ("s1", "s2", "s3", "s4")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.with_learner(Member("s1", "127.0.0.1:9")), "'s1' is a voter of this cluster already"),
        (lambda c: c.with_learner(Member("s9", "127.0.0.1:1")), "127.0.0.1:1 belongs to another member"),
        (lambda c: c.with_voter("s9", b"disk"), "'s9' is not a member of this cluster"),
        (lambda c: c.without("s9"), "its members are s1, s2, s3"),
        (lambda c: c.without("s1").without("s2").without("s3"), "'s3' is the last voter"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change: Callable[[Configuration], object], text: str) -> None:
    with pytest.raises(LogError, match=text):
        change(THREE)


def test_the_newest_configuration_in_the_log_counts_and_leaves_with_its_entry() -> None:
    held = Configurations(THREE)
    newer, newest = replace(THREE.without("s3"), index=8), replace(THREE.without("s2"), index=12)
    held.added(newer)
    held.added(newest)
    assert held.latest == newest
    assert held.at(11) == newer
    assert held.dropped_from(9)
    assert held.latest == newer
    assert not held.dropped_from(9)


def test_a_snapshot_keeps_the_configuration_that_it_covers_and_those_after_it() -> None:
    held = Configurations(THREE)
    newer, newest = replace(THREE, index=8), replace(THREE, index=12)
    held.added(newer)
    held.added(newest)
    held.forget_before(10)
    assert held.at(3) == newer
    held.dropped_from(11)
    assert held.latest == newer


@pytest.mark.parametrize(("voters", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_more_than_half(voters: int, expected: int) -> None:
    assert majority(voters) == expected


@given(st.lists(st.integers(0, 20), min_size=1, max_size=7))
def test_a_majority_has_reached_the_value_and_not_the_next(values: list[int]) -> None:
    reached = majority_reached(values, len(values))
    assert 2 * sum(value >= reached for value in values) > len(values)
    assert 2 * sum(value > reached for value in values) <= len(values)
