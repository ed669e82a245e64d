"""The sections of the page about users: outages, requests by kind and node, slowest requests, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from statistics import median

from volstore.drill.record import Outage, Outcome, Result
from volstore.drill.report.drawing import both, key
from volstore.drill.report.figures import by_fault, by_kind, by_node
from volstore.drill.report.markup import Markup, tag
from volstore.drill.report.outage_chart import outage_chart
from volstore.drill.report.spans import Span, faults
from volstore.drill.report.tables import table
from volstore.drill.report.wording import duration, moment

_CHARTS = 4
_ROWS = 60
_SLOWEST = 10


def outages(result: Result) -> Markup:
    """Each fault's longest silences, with charts of the worst."""
    together = by_fault(result.outages)
    if not together:
        return tag(
            "section",
            tag("h2", "Outages"),
            tag("p", "No outage was measured, because nothing was broken.", class_="note"),
        )
    worst = sorted(together, key=_length, reverse=True)
    broken = faults(result.events, result.seconds)
    rows = [
        [_numbered(one, broken), *_silence(one, "writes"), *_silence(one, "reads")]
        for one in sorted(worst[:_ROWS], key=lambda one: one[0].start)
    ]
    left = len(together) - len(rows)
    return tag(
        "section",
        tag("h2", "Outages"),
        *(_spread(what, [one.seconds for one in result.outages if one.what == what]) for what in ("writes", "reads")),
        table(
            "The longest silence after each fault, on nodes that should have answered",
            ("fault", "writes", "from", "on", "reads", "from", "on"),
            rows,
            figures=(1, 2, 4, 5),
            cards=True,
        ),
        tag("p", f"The {_ROWS} longest; {left:,} shorter ones are in the summary.", class_="note") if left > 0 else "",
        *(_outage_figure(result, one, _numbered(one, broken), n) for n, one in enumerate(worst[:_CHARTS])),
        key(
            ("write", "a write was answered"),
            ("read", "a read was answered (stale ones aside)"),
            ("silence", "outage of writes"),
            ("silence reads", "outage of reads"),
            ("broken", "broken on purpose"),
        ),
    )


def _spread(what: str, lengths: Sequence[float]) -> Markup:
    """Median and maximum of several outages; nothing for a single one."""
    if len(lengths) < 2:
        return Markup()
    half, most = duration(median(lengths)), duration(max(lengths))
    return tag(
        "p", f"{what.capitalize()}: {len(lengths):,} faults, half of the outages up to {half}, the longest {most}."
    )


def _outage_figure(result: Result, one: list[Outage], fault: str, number: int) -> Markup:
    words = " and ".join(
        f"no {part.what} {f'on {part.node} ' if part.node else ''}for {duration(part.seconds)}" for part in one
    )
    caption = tag("figcaption", tag("strong", fault), f": {words}")
    return tag("figure", caption, both(partial(outage_chart, result, one), f"outage_chart-{number}"))


def _numbered(one: list[Outage], broken: Sequence[Span]) -> str:
    """The fault with its number in the chart."""
    begun = min(part.start for part in one)
    numbers = [fault.number for fault in broken if fault.text == one[0].fault and fault.start <= begun]
    return f"{numbers[-1]} {one[0].fault}" if numbers else one[0].fault


def _length(one: list[Outage]) -> float:
    return max(part.seconds for part in one)


def _silence(one: list[Outage], what: str) -> tuple[str, str, str]:
    for part in one:
        if part.what == what:
            return duration(part.seconds), moment(part.start), part.node or "all nodes"
    return "", "", ""


def requests(result: Result) -> Markup:
    headings = ("", "done", "refused", "no answer", "p50", "p99", "slowest")
    figures = range(1, len(headings))
    parts = {
        "By kind": {kind.value: one for kind, one in by_kind(result).items()},
        "By node": by_node(result),
    }
    tables = [
        table(
            f"{caption}; latencies of requests that were done",
            headings,
            [
                [
                    name,
                    f"{one.done:,}",
                    f"{one.refused:,}",
                    f"{one.unknown:,}",
                    *map(duration, (one.p50, one.p99, one.slowest)),
                ]
                for name, one in rows.items()
            ],
            figures=figures,
            cards=True,
        )
        for caption, rows in parts.items()
    ]
    return tag("section", tag("h2", "Requests"), *tables)


def slowest(result: Result) -> Markup:
    """The slowest successful requests."""
    broken = faults(result.events, result.seconds)
    done = sorted((r for r in result.requests if r.outcome is Outcome.DONE), key=lambda r: r.start - r.end)[:_SLOWEST]
    rows = [
        [duration(r.end - r.start), moment(r.start), r.node, r.kind.value, r.volume, _during(broken, r.start, r.end)]
        for r in done
    ]
    return tag(
        "section",
        tag("h2", "Slowest requests"),
        table(
            "Successful requests only",
            ("took", "from", "node", "what", "volume", "during"),
            rows,
            figures=(0, 1),
            cards=True,
        ),
    )


def _during(broken: list[Span], start: float, end: float) -> str:
    return ", ".join(f"fault {one.number}" for one in broken if one.start <= end and one.end >= start)


def failures(result: Result) -> Markup:
    """Requests that were refused or got no answer, on broken nodes too."""
    counts = Counter(
        (r.node, r.outcome.value, str(r.status or ""), r.error.replace(r.volume, "VOLUME")[:160])
        for r in result.requests
        if r.outcome is not Outcome.DONE
    )
    if not counts:
        return Markup()
    rows = [[f"{count:,}", *said] for said, count in counts.most_common(_SLOWEST)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_SLOWEST))
    return tag(
        "section",
        tag("h2", "Not done"),
        table(
            "Refused or without an answer, including nodes that were broken on purpose",
            ("requests", "node", "outcome", "status", "text"),
            rows,
            figures=(0,),
            long=4,
            cards=True,
        ),
        tag("p", f"{rest:,} more had other texts.", class_="note") if rest else "",
    )
