"""The sections of the page about the drill: verdict, promises, timeline, course and settings."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest

from volstore.drill.record import Check, Result
from volstore.drill.report.drawing import both, key
from volstore.drill.report.figures import started
from volstore.drill.report.markup import Markup, tag
from volstore.drill.report.spans import faults
from volstore.drill.report.tables import pairs, table
from volstore.drill.report.timeline import timeline
from volstore.drill.report.wording import duration, flat, headline, moment

_ROWS = 60
_MARKS = {True: "✓", False: "✗"}


def verdict(result: Result) -> Markup:
    word = "passed" if result.passed else "failed"
    return tag(
        "header",
        tag(
            "p",
            "volstore drill · ",
            tag("time", started(result).replace("T", " ").replace("Z", " UTC")),
            class_="kicker",
        ),
        tag("h1", result.scenario, " ", tag("span", f"{_MARKS[result.passed]} {word}", class_=f"verdict {word}")),
        tag("p", result.about, class_="about"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in headline(result)), class_="tiles"),
    )


def promises(result: Result) -> Markup:
    """All checks. Failed ones come first, with the history that shows the violation."""
    return tag(
        "section",
        tag("h2", "Promises"),
        tag("ul", *map(_promise, sorted(result.checks, key=lambda check: check.passed)), class_="promises"),
    )


def _promise(check: Check) -> Markup:
    word = "kept" if check.passed else "broken"
    history = tag("pre", "\n".join(check.history), tabindex=0) if check.history else ""
    return tag(
        "li",
        tag("span", _MARKS[check.passed], class_="mark", role="img", aria_label=word),
        tag("div", tag("strong", check.name), " ", tag("span", check.detail, class_="detail"), history),
        class_=word,
    )


def timelines(result: Result) -> Markup:
    return tag(
        "section",
        tag("h2", "Timeline"),
        both(partial(timeline, result), "timeline"),
        key(
            ("done", "requests done a second"),
            ("p99", "latency, p50 (line) to p99"),
            ("dot", "slowest"),
            ("broken", "broken on purpose"),
            ("lead", "leads"),
            ("change", "another leader"),
            ("refused", "refused"),
            ("unknown", "without an answer"),
        ),
    )


def course(result: Result) -> Markup:
    """All events, with the faults' numbers in the chart. Phases that only announce a fault are omitted."""
    numbers = {(one.start, one.text): one.number for one in faults(result.events, result.seconds)}
    events = sorted(result.events, key=lambda event: event.at)
    rows = [
        [
            moment(event.at),
            f"{event.what} {numbers[event.at, event.text]}" if event.what == "fault" else event.what,
            event.text,
        ]
        for event, after in zip_longest(events, events[1:])
        if not (after and (event.what, after.what) == ("phase", "fault") and after.text.startswith(event.text))
    ]
    shown, left = rows[:_ROWS], len(rows) - _ROWS
    return tag(
        "section",
        tag("h2", "Course of events"),
        table("Seconds since the drill began", ("at", "what", ""), shown, figures=(0,), cards=False),
        tag("p", f"{left:,} more are in the summary.", class_="note") if left > 0 else "",
        class_="course",
    )


def settings(result: Result) -> Markup:
    run = [
        ("target", result.target),
        ("seed", str(result.seed)),
        ("lasted", duration(result.seconds)),
        ("nodes", ", ".join(result.nodes)),
    ]
    return tag(
        "section",
        tag("h2", "Settings"),
        pairs(run),
        tag("h3", "Configuration, times in seconds"),
        pairs(flat(result.configuration)),
        tag("h3", "Versions"),
        pairs(flat(result.versions)),
    )
