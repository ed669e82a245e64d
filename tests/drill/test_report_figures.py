"""The figures behind the report: percentiles, series, spans and what they are drawn with."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drill.recorded import recorded
from tests.drill.results import failed, nothing
from volstore.drill.record import Event, Kind, Outage, Outcome, Request
from volstore.drill.report import summary
from volstore.drill.report.drawing import Scale, area, clock_ticks, columns, line, ticks
from volstore.drill.report.figures import by_fault, felt, percentile
from volstore.drill.report.series import series, span
from volstore.drill.report.spans import Span, faults, leaderships
from volstore.drill.report.wording import duration, flat


def request(number: int, start: float, took: float, outcome: Outcome = Outcome.DONE) -> Request:
    return Request(number, 1, "s1", Kind.REGISTER, "v", start, start + took, outcome)


# What programs read.


def test_the_summary_is_json_and_counts_every_request_once() -> None:
    result = recorded()
    said = json.loads(json.dumps(summary(result)))
    assert said["schema"] == "volstore.drill/1"
    assert said["passed"] is True
    for part in ("by_kind", "by_node"):
        for outcome in Outcome:
            counted = sum(one[outcome.value] for one in said["requests"][part].values())
            assert counted == said["requests"]["all"][outcome.value]
    assert sum(said["requests"]["all"][outcome.value] for outcome in Outcome) == len(result.requests)
    longest = max(one.seconds for one in result.outages if one.what == "writes")
    assert said["longest_outage"]["writes"] == round(longest, 3)


def test_the_summary_of_a_drill_that_failed_has_the_history() -> None:
    said = summary(failed(recorded()))
    assert said["passed"] is False
    assert said["checks"][-1]["history"][0].startswith("0.00 s")


def test_what_was_not_measured_is_null_and_not_zero() -> None:
    said = summary(nothing())
    assert said["longest_outage"] == {"writes": None, "reads": None}
    assert said["requests"]["all"]["p99"] is None


def test_latencies_are_those_of_requests_that_were_done() -> None:
    requests = [request(1, 0.0, 0.1), request(2, 0.0, 5.0, Outcome.UNKNOWN), request(3, 0.0, 3.0, Outcome.REFUSED)]
    assert felt(requests).slowest == pytest.approx(0.1)
    assert (felt(requests).done, felt(requests).refused, felt(requests).unknown) == (1, 1, 1)


@pytest.mark.parametrize(
    ("percent", "count", "expected"),
    [(50, 1, 1), (50, 2, 1), (50, 3, 2), (99, 99, 99), (99, 100, 99), (99, 101, 100), (100, 7, 7), (1, 5, 1)],
)
def test_a_percentile_is_the_nearest_rank(percent: int, count: int, expected: int) -> None:
    assert percentile([float(n) for n in range(1, count + 1)], percent) == expected


def test_outages_of_one_fault_stand_together_also_when_the_next_has_the_same_words() -> None:
    made = [Outage("kill", what, at, 0.1) for at in (1.0, 9.0) for what in ("writes", "reads")]
    assert [[one.start for one in part] for part in by_fault(made)] == [[1.0, 1.0], [9.0, 9.0]]


# Series.


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 6), st.sampled_from(list(Outcome))), max_size=60),
    st.integers(1, 300),
)
def test_a_series_has_every_request_once_and_its_percentiles_in_order(
    given_requests: list[tuple[float, float, Outcome]], points: int
) -> None:
    requests = [request(n, *one) for n, one in enumerate(given_requests)]
    start, end = span(replace(nothing(), requests=requests))
    made = series(requests, start, end, points)
    assert len(made.done) <= points
    for counts, outcome in ((made.done, "done"), (made.refused, "refused"), (made.unknown, "unknown")):
        assert sum(counts) == sum(one.outcome == outcome for one in requests)
    for count, p50, p99, slowest in zip(made.done, made.p50, made.p99, made.slowest, strict=True):
        assert (count > 0) == (p50 is not None)
        if p50 is not None and p99 is not None and slowest is not None:
            assert p50 <= p99 <= slowest
    slow = [one.end - one.start for one in requests if one.outcome is Outcome.DONE]
    assert max((value for value in made.slowest if value is not None), default=None) == max(slow, default=None)


def test_a_series_of_a_short_time_has_no_points_shorter_than_a_tenth_of_a_second() -> None:
    made = series([], 0.0, 1.0, 500)
    assert made.width >= 0.1 - 1e-9


# Spans.


def test_a_heal_ends_the_fault_whose_words_it_repeats() -> None:
    events = [
        Event(1.0, "fault", "kill of s1, which leads", "s1"),
        Event(2.0, "fault", "slow-disk of s1", "s1"),
        Event(3.0, "heal", "kill of s1", "s1"),
        Event(5.0, "heal", "slow-disk of s1", "s1"),
    ]
    assert [(one.number, one.start, one.end) for one in faults(events, 9.0)] == [(1, 1.0, 3.0), (2, 2.0, 5.0)]


def test_a_heal_in_other_words_ends_all_faults_of_its_node_and_of_no_other() -> None:
    events = [
        Event(1.0, "fault", "kill of s1", "s1"),
        Event(1.5, "fault", "kill of s2", "s2"),
        Event(2.0, "fault", "all of them"),
        Event(3.0, "heal", "s1 is back", "s1"),
    ]
    assert [one.end for one in faults(events, 9.0)] == [3.0, 9.0, 9.0]


def test_a_heal_of_the_whole_cluster_ends_everything() -> None:
    events = [
        Event(1.0, "fault", "kill of s1", "s1"),
        Event(2.0, "fault", "cut", nodes=("s1", "s2")),
        Event(3.0, "heal", "all of it"),
    ]
    assert [(one.nodes, one.end) for one in faults(events, 9.0)] == [(("s1",), 3.0), (("s1", "s2"), 3.0)]


def test_nobody_leads_between_a_leader_and_the_next() -> None:
    events = [
        Event(1.0, "leader", "s1 leads", "s1"),
        Event(4.0, "leader", "nobody leads"),
        Event(5.0, "leader", "s2 leads", "s2"),
    ]
    assert leaderships(events, 9.0) == [Span(1, "s1 leads", ("s1",), 1.0, 4.0), Span(3, "s2 leads", ("s2",), 5.0, 9.0)]


# Drawing.

SCALE = Scale(0.0, 100.0, 50.0, 850.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted), max_size=400))
def test_columns_cover_every_stretch_and_are_never_more_than_the_drawing_has_room_for(spans: list[list[float]]) -> None:
    made = columns([(low, high) for low, high in spans], SCALE)
    assert len(made) <= 800
    assert all(before[1] < after[0] for before, after in pairwise(made))
    for low, high in spans:
        assert any(left <= SCALE(low) and SCALE(high) <= right for left, right in made)


@given(st.floats(0, 1e6), st.floats(0.01, 1e6), st.integers(1, 12))
def test_ticks_are_few_in_order_and_within(low: float, width: float, most: int) -> None:
    made = ticks(low, low + width, most)
    assert len(made) <= most + 1
    assert made == sorted(made)
    assert all(low - width / 1e6 <= at <= low + width * (1 + 1e-6) for at in made)


@pytest.mark.parametrize(("seconds", "unit"), [(0.5, "s"), (200.0, "s"), (900.0, "min"), (90_000.0, "h")])
def test_ticks_of_long_times_are_minutes_and_hours(seconds: float, unit: str) -> None:
    made = clock_ticks(0.0, seconds, 8)
    assert made
    assert all(words.endswith(f" {unit}") for _, words in made)


def test_a_logarithmic_scale_gives_every_power_of_ten_the_same_room() -> None:
    y = Scale(0.001, 10.0, 0.0, 40.0, logarithmic=True)
    assert [y(10.0**power) for power in range(-3, 2)] == pytest.approx([0.0, 10.0, 20.0, 30.0, 40.0])
    assert (y(1e-9), y(1e9)) == (0.0, 40.0)


def test_lines_and_areas_stop_where_there_is_no_value() -> None:
    assert line([(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 4.0)]) == '<path d="M0 1L1 2M3 4h1" fill="none"/>'
    assert area([(0.0, 1.0, 9.0), (1.0, None, None), (2.0, 3.0, 9.0)]) == '<path d="M0 1L0 9ZM2 3L2 9Z"/>'
    assert line([(0.0, None)]) == area([(0.0, None, 1.0)]) == ""


# Words.


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "none"),
        (0.0, "0.0 ms"),
        (0.00042, "0.4 ms"),
        (0.0125, "12 ms"),
        (0.516, "0.52 s"),
        (12.34, "12.3 s"),
        (250.0, "4 min 10 s"),
        (7260.0, "2 h 1 min"),
    ],
)
def test_durations_have_the_digits_that_matter(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_settings_are_shown_one_a_line_with_where_they_are() -> None:
    assert flat({"load": {"mix": {"register": 4}, "stale": True}, "faults": ["a", "b"], "none": {}, "why": None}) == [
        ("load: mix: register", "4"),
        ("load: stale", "yes"),
        ("faults", "a, b"),
        ("none", "none"),
        ("why", "none"),
    ]


def test_scales_are_of_finite_numbers() -> None:
    assert math.isfinite(SCALE(float("inf")))
