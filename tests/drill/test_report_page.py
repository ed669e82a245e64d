"""The page that a drill leaves: whole, escaped, bounded, and loading nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.drill.recorded import recorded
from tests.drill.results import HOSTILE, failed, hostile, long, nothing
from volstore.drill.record import Event, Outage, Result
from volstore.drill.report import html
from volstore.drill.report.markup import tag
from volstore.drill.report.timeline import timeline

_HTML = "html head meta link title style body main header section h1 h2 h3 p time span strong pre figure figcaption"
_LISTS = "ul li dl div dt dd table caption thead tbody tr th td"
_DRAWN = "svg desc defs pattern g path rect text"
ELEMENTS = {element for group in (_HTML, _LISTS, _DRAWN) for element in group.split()}


def tree(result: Result) -> ElementTree.Element:
    """The page is well-formed XML, too, but for its first line."""
    first, rest = html(result).split("\n", 1)
    assert first == "<!doctype html>"
    return ElementTree.fromstring(rest)


def texts(element: ElementTree.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def test_the_page_of_a_real_drill_shows_its_verdict_promises_events_and_settings() -> None:
    result = recorded()
    page = tree(result)
    said = texts(page)
    assert texts(next(page.iter("h1"))) == "leader-kill ✓ passed"
    assert next(page.iter("title")).text == "Drill leader-kill: passed"
    for check in result.checks:
        assert " ".join(check.name.split()) in said
    for event in result.events:
        assert event.text in said
    for value in ("4711", "pysyncobj", "0.3.17", "load: clients", *result.nodes):
        assert value in said
    assert {"Timeline", "Outages", "Slowest requests", "Not done", "Settings"} <= {
        texts(heading) for heading in page.iter("h2")
    }


def test_what_was_broken_comes_first_with_the_history_that_shows_it() -> None:
    page = tree(failed(recorded()))
    assert texts(next(page.iter("h1"))) == "leader-kill ✗ failed"
    first = next(item for item in page.iter("li"))
    assert first.get("class") == "broken"
    assert texts(first).startswith("✗ No write lost 1 of 200 is gone")
    history = next(first.iter("pre"))
    assert history.text is not None
    assert history.text.splitlines()[1] == "1.00 s  client 1 at s1  register v1: done (`index 1`)"


def test_nothing_that_came_from_outside_becomes_markup() -> None:
    page = tree(hostile())
    assert {element.tag for element in page.iter()} <= ELEMENTS
    said = "".join(page.itertext())
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\ud800", "\\ud800")
    assert said.count(shown) >= 20
    for element in page.iter():
        assert not [name for name in element.attrib if name.startswith("on") or name in ("src", "style")]


def test_the_page_can_be_written_as_utf_8_whatever_it_holds() -> None:
    assert html(hostile()).encode("utf-8")


@pytest.mark.parametrize("made", [recorded, hostile, nothing])
def test_the_page_has_no_script_and_names_no_address_to_load(made: Callable[[], Result]) -> None:
    page = html(made())
    source = tree(made())
    assert "<script" not in page
    assert [element.get("href") for element in source.iter("link")] == ["data:,"]
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#hatched"}
    assert "@import" not in page
    policy = next(meta for meta in source.iter("meta") if meta.get("http-equiv"))
    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_day_of_faults_makes_no_larger_page_than_paper_has_room_for() -> None:
    day = long()
    size = len(html(day))
    assert size < 500_000
    assert len(html(long(7 * 86_400.0, 30_000, 6_000))) < size * 1.1
    assert "more are in the summary" in html(day)


def test_a_drill_in_which_nothing_came_about_has_a_page() -> None:
    assert "nothing was broken" in texts(tree(nothing()))


def test_ids_are_there_once_and_what_they_are_called_by_is_there() -> None:
    page = tree(recorded())
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in page.iter("svg"):
        for name in (element.get("aria-labelledby") or "").split():
            assert name in ids


def test_the_timeline_says_in_words_what_it_shows() -> None:
    described = [texts(element) for element in tree(recorded()).iter("desc")]
    assert any("kill of" in words and "on 3 nodes" in words for words in described)


def test_a_table_of_failures_counts_the_same_words_about_other_volumes_together() -> None:
    page = html(recorded())
    assert page.count("volume not found: VOLUME") == len(recorded().nodes)


def test_a_fault_has_the_same_number_in_chart_table_and_course() -> None:
    result = recorded()
    (fault,) = [event.text for event in result.events if event.what == "fault"]
    page = tree(result)
    numbered = [texts(element) for element in page.iter() if element.tag in ("text", "th", "strong")]
    assert numbered.count(f"1 {fault}") >= 3
    assert "fault 1" in texts(page)


@pytest.mark.parametrize(("nodes", "panels"), [(("s2",), 3), (("s1", "s2"), 4), ((), 5)])
def test_a_fault_is_drawn_over_all_nodes_together_and_over_those_that_it_befell(
    nodes: tuple[str, ...], panels: int
) -> None:
    result = replace(recorded(), events=[Event(5.0, "fault", "cut", nodes=nodes)])
    assert timeline(result, 860.0, "x").count('class="broken"') == panels


def test_attributes_are_escaped_too() -> None:
    assert tag("p", "a<b", title="\"'<&>\x00", data_label="x", class_="y", id=None, x=1.25, y=2.0) == (
        '<p title="&quot;&#x27;&lt;&amp;&gt;\\x00" data-label="x" class="y" x="1.2" y="2">a&lt;b</p>'
    )


@pytest.mark.parametrize("at", [0.0, 9.0])
def test_an_outage_of_no_length_at_the_border_of_a_drill_is_drawn(at: float) -> None:
    events = [Event(at, "fault", "kill of s1", "s1")]
    result = replace(nothing(), seconds=9.0, nodes=["s1"], events=events)
    page = tree(replace(result, outages=[Outage("kill of s1", "writes", at, 0.0)]))
    assert "no writes for 0.0 ms" in texts(page)
