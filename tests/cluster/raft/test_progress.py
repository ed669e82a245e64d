"""How far a leader may send: the three states of a member, and the window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.raft.progress import Progress, State


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
    assert not progress.needs_snapshot
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
    assert (progress.next, progress.state) == (9, State.PROBE)
    progress.rejected(hint=15, match=8)
    assert progress.next == 9


def test_a_member_that_needs_a_snapshot_gets_no_entries_until_it_has_it() -> None:
    progress = Progress(next=20, contact=0.0)
    progress.become_snapshot()
    assert progress.needs_snapshot
    assert not progress.may_send_entries(8)
    progress.restarted(match=30)
    assert (progress.next, progress.state) == (31, State.PROBE)
    assert progress.may_send_entries(8)


def test_an_acknowledgement_ends_the_need_for_a_snapshot() -> None:
    progress = Progress(next=20, contact=0.0)
    progress.become_snapshot()
    progress.matched(25)
    assert (progress.next, progress.state) == (26, State.REPLICATE)


def test_a_new_connection_starts_over_after_what_matches() -> None:
    progress = Progress(next=20, contact=0.0, told=7)
    progress.sent(25)
    progress.restarted(match=8)
    assert (progress.next, progress.state, progress.told) == (9, State.PROBE, 0)
    assert not progress.unacknowledged


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("ack"), st.integers(0, 40)),
        st.tuples(st.just("reject"), st.integers(0, 40)),
        st.tuples(st.sampled_from(("snapshot", "restart")), st.just(0)),
    ),
    max_size=40,
)


@given(EVENTS)
def test_the_invariants_hold_whatever_comes_in_whatever_order(events: list[tuple[str, int]]) -> None:
    progress, match, window = Progress(next=1, contact=0.0), 0, 3
    for event, amount in events:
        if event == "send" and progress.may_send_entries(window):
            progress.sent(progress.next + amount - 1)
        elif event == "ack" and amount < progress.next:
            match = max(match, amount)
            progress.acknowledged(match)
            progress.matched(match)
        elif event == "reject" and not progress.needs_snapshot:
            progress.rejected(amount, match)
        elif event == "snapshot":
            progress.become_snapshot()
        elif event == "restart":
            progress.restarted(match)
        in_flight = list(progress.unacknowledged)
        assert 0 <= match < progress.next
        assert in_flight == sorted(in_flight)
        assert len(in_flight) <= (window if progress.state is not State.PROBE else 1)
        assert all(match < last < progress.next for last in in_flight)
