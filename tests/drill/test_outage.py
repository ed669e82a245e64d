"""An outage is as long as somebody waited in vain, on nodes that were meant to answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.drill.outage import outages
from volstore.drill.record import Absence, Event, Kind, Outage, Outcome, Request

KILL = Event(10.0, "fault", "kill of s1", "s1")


def asked(
    start: float, end: float, node: str = "s1", kind: Kind = Kind.REGISTER, outcome: Outcome = Outcome.DONE
) -> Request:
    return Request(int(start * 1000), 1, node, kind, "a", start, end, outcome)


def steady(since: float, to: float, node: str = "s1", kind: Kind = Kind.REGISTER) -> list[Request]:
    """Ten a second, each answered within 10 ms."""
    count = round((to - since) * 10)
    return [asked(since + n / 10, since + n / 10 + 0.01, node, kind) for n in range(count)]


def longest(requests: list[Request], *absences: Absence, until: float = 20.0, what: str = "writes") -> Outage:
    (found,) = [one for one in outages(requests, [KILL], absences, until) if one.what == what]
    return found


def test_who_pauses_between_two_requests_is_not_kept_waiting() -> None:
    found = longest(steady(0, 20))
    assert found.seconds == pytest.approx(0.01)


def test_an_outage_begins_when_somebody_waits_and_ends_with_an_answer() -> None:
    requests = [*steady(0, 10), asked(10.2, 11.5), *steady(11.5, 20)]
    found = longest(requests)
    assert (found.fault, found.what, found.start, found.node) == ("kill of s1", "writes", 10.2, "s1")
    assert found.seconds == pytest.approx(1.3)


def test_a_write_that_was_caught_half_way_and_is_answered_does_not_end_the_outage() -> None:
    requests = [*steady(0, 10), asked(9.9, 10.05), asked(10.1, 12.0), *steady(12, 20)]
    assert longest(requests).seconds == pytest.approx(1.9)


def test_refusals_are_no_answers() -> None:
    refused = [asked(10 + n / 10, 10 + n / 10 + 0.01, outcome=Outcome.REFUSED) for n in range(30)]
    assert longest([*steady(0, 10), *refused, *steady(13, 20)]).seconds == pytest.approx(3.01)


def test_what_was_under_way_at_the_fault_counts_from_the_fault_on() -> None:
    found = longest([*steady(0, 9), asked(9.5, 10.8), *steady(11, 20)])
    assert found.start == 10.0
    assert found.seconds == pytest.approx(0.8)


def test_an_outage_on_one_node_is_found_though_others_answer() -> None:
    requests = [*steady(0, 20, "s2"), *steady(0, 10), asked(10.5, 14.5), *steady(15, 20)]
    assert longest(requests) == Outage("kill of s1", "writes", 10.5, 4.0, "s1")


def test_a_node_that_is_broken_on_purpose_is_not_waited_for() -> None:
    requests = [*steady(0, 20, "s2"), *steady(0, 10), asked(10.5, 14.5), *steady(15, 20)]
    assert longest(requests, Absence("s1", 10.0, 14.6)).seconds == pytest.approx(0.01)


def test_a_node_must_answer_from_when_it_is_whole_again() -> None:
    requests = [*steady(0, 20, "s2"), *steady(0, 10), asked(10.5, 15.0), *steady(15, 20)]
    found = longest(requests, Absence("s1", 10.0, 12.0))
    assert (found.start, found.seconds, found.node) == (12.0, 3.0, "s1")


def test_with_all_nodes_broken_all_together_are_waited_for() -> None:
    requests = [*steady(0, 10), *steady(0, 10, "s2"), asked(10.5, 14.0), asked(10.7, 14.5, "s2")]
    found = longest([*requests, *steady(14.5, 20)], Absence("s1", 10.0, 15.0), Absence("s2", 10.0, 15.0))
    assert (found.start, found.seconds, found.node) == (10.5, 3.5, None)


def test_after_all_were_broken_the_silence_ends_with_an_answer_not_with_the_repair() -> None:
    requests = [*steady(0, 10), asked(10.5, 14.0), *steady(14, 20)]
    found = longest(requests, Absence("s1", 10.0, 12.0))
    assert (found.start, found.seconds, found.node) == (10.5, 3.5, None)


def test_an_outage_that_does_not_end_lasts_until_the_load_does() -> None:
    found = longest([*steady(0, 10), asked(10.5, 25.0, outcome=Outcome.UNKNOWN)])
    assert (found.start, found.seconds) == (10.5, 9.5)


def test_reads_and_writes_are_told_apart_and_stale_reads_do_not_count() -> None:
    requests = [
        *steady(0, 20),
        *steady(0, 20, kind=Kind.READ_STALE),
        asked(10.1, 13.1, kind=Kind.READ_CONSISTENT),
        asked(13.2, 13.3, kind=Kind.READ_DEFAULT),
    ]
    assert longest(requests).seconds == pytest.approx(0.01)
    assert longest(requests, what="reads").seconds == pytest.approx(3.0)


def test_each_fault_has_its_own_outage_until_the_next_one() -> None:
    faults = [KILL, Event(15.0, "fault", "kill of s2", "s2")]
    requests = [*steady(0, 10), asked(10.5, 11.5), *steady(11.5, 15), asked(15.5, 18.0), *steady(18, 20)]
    found = [one for one in outages(requests, faults, [], 20.0) if one.what == "writes"]
    assert [one.fault for one in found] == ["kill of s1", "kill of s2"]
    assert [one.seconds for one in found] == pytest.approx([1.0, 2.5])


def test_without_faults_there_are_no_outages() -> None:
    assert outages(steady(0, 9), [], [], 10.0) == []


TIMES = st.tuples(st.floats(0, 20), st.floats(0, 8), st.sampled_from(["s1", "s2"]), st.sampled_from(Outcome))


@given(st.lists(TIMES, max_size=20), st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=2))
def test_an_outage_lies_between_its_fault_and_the_end(
    times: list[tuple[float, float, str, Outcome]], absent: list[tuple[float, float]]
) -> None:
    requests = [asked(start, start + took, node, outcome=outcome) for start, took, node, outcome in times]
    found = longest(requests, *(Absence("s1", start, start + took) for start, took in absent))
    assert 0 <= found.seconds <= 10.0
    assert 10.0 <= found.start <= 20.0
    assert found.start + found.seconds <= 20.0 + 1e-9


@given(st.lists(TIMES, max_size=20), st.floats(10, 20))
def test_one_more_answer_never_makes_an_outage_longer(
    times: list[tuple[float, float, str, Outcome]], at: float
) -> None:
    requests = [asked(start, start + took, "s1", outcome=outcome) for start, took, _, outcome in times]
    before, after = longest(requests), longest([*requests, asked(at, at)])
    assert after.seconds <= before.seconds + 1e-9
