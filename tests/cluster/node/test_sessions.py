"""Exactly once: what a proposal that comes twice, late, or from an ended session does to the state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.api import Applied, NotApplied
from cluster.node.sessions import Item, NewerEntry, ReplicatedState, encode_batch, opening, proposal
from tests.cluster.node.machines import Appends

A, B = b"a" * 16, b"b" * 16


def opened() -> tuple[ReplicatedState, Appends]:
    machine = Appends()
    state = ReplicatedState(machine)
    state.apply(1, encode_batch([opening("s1", A, b"")]))
    return state, machine


def outcomes(state: ReplicatedState, index: int, *items: Item) -> list[Applied | NotApplied]:
    return [outcome for _session, _number, outcome in state.apply(index, encode_batch(list(items)))]


def test_a_proposal_that_comes_twice_is_applied_once_and_has_one_outcome() -> None:
    state, machine = opened()
    first = outcomes(state, 2, proposal(A, 1, 1, b"x"))
    again = outcomes(state, 3, proposal(A, 1, 1, b"x"), proposal(A, 2, 1, b"y"), proposal(A, 1, 1, b"x"))
    assert first == [Applied(2, b"1")]
    assert again == [Applied(2, b"1"), Applied(3, b"2"), Applied(2, b"1")]
    assert machine.items == [b"x", b"y"]


def test_what_the_sender_has_answers_for_is_forgotten_and_refused_when_it_comes_late() -> None:
    state, machine = opened()
    outcomes(state, 2, proposal(A, 1, 1, b"x"), proposal(A, 3, 3, b"z"))
    assert state.outcome(A, 1) is None
    assert state.outcome(A, 3) == Applied(2, b"2")
    assert outcomes(state, 3, proposal(A, 2, 1, b"given up")) == [NotApplied("its sender has given it up")]
    assert machine.items == [b"x", b"z"]


def test_a_session_that_is_not_open_applies_nothing() -> None:
    state, machine = opened()
    assert isinstance(outcomes(state, 2, proposal(B, 1, 1, b"x"))[0], NotApplied)
    assert machine.items == []


def test_a_new_run_of_a_member_ends_its_old_session() -> None:
    state, machine = opened()
    outcomes(state, 2, opening("s1", B, A))
    assert state.session_of("s1") == B
    assert isinstance(outcomes(state, 3, proposal(A, 1, 1, b"late"))[0], NotApplied)
    assert outcomes(state, 4, proposal(B, 1, 1, b"x")) == [Applied(4, b"1")]
    assert machine.items == [b"x"]


def test_a_late_duplicate_of_an_opening_does_not_bring_the_old_session_back() -> None:
    state, _machine = opened()
    outcomes(state, 2, opening("s1", B, A), opening("s1", A, b""))
    assert state.session_of("s1") == B


def test_the_session_of_a_removed_member_ends_as_by_an_opening_that_every_version_knows() -> None:
    state, machine = opened()
    member = next(iter(state._by_member))
    session = state.session_of(member)
    outcomes(state, 2, proposal(session, 1, 1, b"a"))
    assert state.without_member([member]) == []
    (item,) = state.without_member([])
    assert item == ["o", member, b"removed:" + member.encode(), session]
    outcomes(state, 3, item)
    assert state.without_member([]) == []
    assert [type(one) for one in outcomes(state, 4, proposal(session, 2, 1, b"b"))] == [NotApplied]
    assert machine.items == [b"a"]


def test_an_entry_from_a_newer_version_is_not_guessed_at() -> None:
    state, _machine = opened()
    with pytest.raises(NewerEntry, match="log entry 2 holds a 'q'"):
        state.apply(2, encode_batch([["q", 1]]))


@pytest.mark.parametrize("chunks", [[], [b"\xc1"], [b"\x92\x02\x90"], [b"\x01"]])
def test_bytes_that_are_no_snapshot_are_refused(chunks: list[bytes]) -> None:
    state, _machine = opened()
    with pytest.raises(ValueError, match="snapshot"):
        state.load(chunks)
    assert state.session_of("s1") == A


items = st.lists(
    st.one_of(
        st.builds(proposal, st.sampled_from([A, B]), st.integers(1, 6), st.integers(1, 4), st.binary(max_size=3)),
        st.builds(opening, st.sampled_from(["s1", "s2"]), st.sampled_from([A, B]), st.sampled_from([A, B, b""])),
    ),
    max_size=12,
)


@given(items, items)
def test_a_snapshot_between_two_entries_changes_nothing(before: list[Item], after: list[Item]) -> None:
    straight, restored = opened()[0], ReplicatedState(Appends())
    straight.apply(2, encode_batch(before))
    restored.load(straight.capture().chunks())()
    assert restored.digest() == straight.digest()
    assert restored.apply(3, encode_batch(after)) == straight.apply(3, encode_batch(after))
    assert restored.digest() == straight.digest()
