"""Log matching: what an append_entries may change in a follower's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.raft.log_matching import Rejected, SafetyViolation, Verified, verify_append


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
