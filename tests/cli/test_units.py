"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.units import MAX_INT64, format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("3ns", 3e-9),
        ("2540400h", 9145440000.0),
    ],
)
def test_a_duration_reads_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1d", "1s ", "1m30", "1e3s", "9999999h", "٣s", "1s" * 60])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_that_is_written_out_reads_back(milliseconds: int) -> None:
    written = format_duration(milliseconds / 1000)
    assert parse_duration(written) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GiB", 10 * 1024**3),
        ("20G", 20 * 10**9),
        ("20 gb", 20 * 10**9),
        ("1.5KiB", 1536),
        ("5", 5),
        ("5B", 5),
        ("1ki", 1024),
        (str(MAX_INT64), MAX_INT64),
    ],
)
def test_a_size_reads_as_nomad_reads_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1 XB", "10 GiB each", str(MAX_INT64 + 1), "16EiB", "٣", "1" * 200])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
