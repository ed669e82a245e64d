"""The rules for messages: what an append_entries may change, how far a leader may send, what a majority is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.raft.guard import Progress, Rejected, SafetyViolation, Verified, majority_reached, quorum, verify_append


class Terms:
    """A log as the terms of its entries; `base_index` of them are covered by a snapshot."""

    def __init__(self, terms: list[int], base_index: int = 0) -> None:
        self.terms = terms
        self.base_index = base_index

    @property
    def last_index(self) -> int:
        return len(self.terms)

    @property
    def last_term(self) -> int:
        return self.terms[-1] if self.terms else 0

    def term_at(self, index: int) -> int | None:
        if index == 0 and self.base_index == 0:
            return 0
        if not self.base_index <= index <= self.last_index or index == 0:
            return None
        return self.terms[index - 1]


def entries(*terms: int) -> list[tuple[int, bytes]]:
    return [(term, b"%d" % term) for term in terms]


@pytest.mark.parametrize(
    ("log", "previous", "previous_term", "new", "expected"),
    [
        ([], 0, 0, entries(1, 1), Verified(0, 0, tuple(entries(1, 1)), 2)),
        ([1, 1], 2, 1, entries(1), Verified(2, 1, tuple(entries(1)), 3)),
        ([1, 1, 1], 0, 0, entries(1, 1), Verified(3, 1, (), 2)),
        ([1, 1, 1], 1, 1, [], Verified(3, 1, (), 1)),
        ([1, 1, 1], 1, 1, entries(1, 1, 1), Verified(3, 1, tuple(entries(1)), 4)),
        ([1, 2, 2], 1, 1, entries(3), Verified(1, 1, tuple(entries(3)), 2)),
        ([1], 3, 1, entries(1), Rejected(2)),
        ([1, 2, 2, 2], 4, 3, entries(3), Rejected(2)),
    ],
    ids=[
        "an empty log takes all",
        "what follows the end is taken",
        "a late message drops nothing",
        "a heartbeat acknowledges only what it verified",
        "what is there is skipped",
        "a conflict replaces the rest",
        "a gap is refused with the end",
        "a conflicting term is skipped as a whole",
    ],
)
def test_an_append_is_cut_down_to_what_the_log_lacks(
    log: list[int], previous: int, previous_term: int, new: list[tuple[int, bytes]], expected: Verified | Rejected
) -> None:
    assert verify_append(Terms(log), previous, previous_term, new, committed=0) == expected


def test_what_a_snapshot_covers_is_taken_as_the_leaders() -> None:
    log = Terms([1, 1, 1, 2], base_index=3)
    assert verify_append(log, 1, 1, entries(1), committed=3) == Verified(4, 2, (), 2)
    assert verify_append(log, 1, 1, entries(1, 1, 2, 2), committed=3) == Verified(4, 2, tuple(entries(2)), 5)


@pytest.mark.parametrize(("previous", "previous_term", "new"), [(2, 3, []), (1, 1, entries(3))])
def test_a_conflict_with_what_is_committed_stops_the_node(
    previous: int, previous_term: int, new: list[tuple[int, bytes]]
) -> None:
    with pytest.raises(SafetyViolation, match="committed entry 2 has term 1 here and term 3 on the leader"):
        verify_append(Terms([1, 1, 1]), previous, previous_term, new, committed=2)


logs = st.lists(st.integers(1, 4), max_size=12).map(sorted)


@given(logs, logs, st.data())
def test_after_an_append_the_log_is_the_leaders_up_to_what_was_verified(
    mine: list[int], leaders: list[int], data: st.DataObject
) -> None:
    # Log matching: logs of one history agree up to where they part, and their terms differ there.
    shared = 0
    while shared < min(len(mine), len(leaders)) and mine[shared] == leaders[shared]:
        shared += 1
    if shared < min(len(mine), len(leaders)):
        mine = mine[:shared] + [term if term not in leaders else 9 for term in mine[shared:]]
        mine = mine[:shared] + sorted(mine[shared:])
    previous = data.draw(st.integers(0, len(leaders)))
    end = data.draw(st.integers(previous, len(leaders)))
    previous_term = leaders[previous - 1] if previous else 0
    verdict = verify_append(Terms(mine), previous, previous_term, entries(*leaders[previous:end]), committed=0)
    if isinstance(verdict, Rejected):
        assert previous > shared
        assert verdict.hint <= previous
        return
    after = mine[: verdict.previous] + [term for term, _data in verdict.entries]
    if not verdict.entries:
        after = mine
    assert verdict.upto == end
    assert after[:end] == leaders[:end]
    # Nothing that agreed with the leader was lost.
    assert after[:shared] == leaders[:shared]


@pytest.mark.parametrize(("voters", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_is_more_than_half(voters: int, expected: int) -> None:
    assert quorum([str(n) for n in range(voters)]) == expected


@given(st.lists(st.integers(0, 20), min_size=1, max_size=7))
def test_a_majority_has_reached_the_value_and_not_the_next(values: list[int]) -> None:
    reached = majority_reached(values, len(values))
    assert sum(value >= reached for value in values) >= len(values) // 2 + 1
    assert sum(value > reached for value in values) < len(values) // 2 + 1


def test_a_late_answer_does_not_move_the_next_entry_back() -> None:
    progress = Progress(next=1, contact=0.0)
    progress.matched(0)
    progress.sent(10)
    progress.matched(4)
    assert progress.next == 11


def test_one_message_is_sent_until_the_first_answer_and_then_a_window() -> None:
    progress = Progress(next=1, contact=0.0)
    assert progress.may_send_entries(2)
    progress.sent(3)
    assert not progress.may_send_entries(2)
    progress.answered(1, contact=0.5)
    progress.acknowledged(3)
    progress.matched(3)
    progress.sent(4)
    assert progress.may_send_entries(2)
    progress.sent(5)
    assert not progress.may_send_entries(2)
    progress.answered(3, contact=0.7)
    assert not progress.may_send_entries(2)
    progress.acknowledged(4)
    assert progress.may_send_entries(2)
    assert progress.contact == 0.7


def test_a_rejection_goes_back_no_further_than_what_matches() -> None:
    progress = Progress(next=20, contact=0.0)
    progress.rejected(hint=3, match=8)
    assert progress.next == 9
    progress.rejected(hint=15, match=8)
    assert progress.next == 9


def test_a_new_connection_starts_over_after_what_matches() -> None:
    progress = Progress(next=20, contact=0.0, needs_snapshot=True)
    progress.restarted(match=8)
    assert (progress.next, progress.probing, progress.needs_snapshot) == (9, True, False)
