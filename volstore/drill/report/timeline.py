"""The timeline chart: rates of writes and reads, rates and latency of each node, faults and leaders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from volstore.drill.outage import READS, WRITES
from volstore.drill.record import Result
from volstore.drill.report.drawing import Scale, area, bands, clock_ticks, columns, label, line
from volstore.drill.report.markup import Markup, join, tag
from volstore.drill.report.series import Series, series, span
from volstore.drill.report.spans import Span, affects, faults, leaderships

_LEFT, _RIGHT = 50.0, 10.0
_LANE, _TITLE, _RATE, _STRIP, _LATENCY, _GAP, _AXIS = 26.0, 18.0, 42.0, 6.0, 56.0, 10.0, 24.0
_LETTER = 7.0
"""Approximate width of a bold letter, in the drawing's units."""


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    series: Series
    node: str | None
    """None: all nodes, without latency."""


def timeline(result: Result, width: float, name: str) -> Markup:
    """An SVG, `width` CSS pixels wide; `name` makes its ids unique. Its size is bounded, however long the drill ran."""
    start, end = span(result)
    x = Scale(start, end, _LEFT, width - _RIGHT)
    points = int((width - _LEFT - _RIGHT) / 3)
    panels = [
        _Panel(
            f"{what} done, all nodes",
            series((r for r in result.requests if r.kind in kinds), start, end, points),
            None,
        )
        for what, kinds in (("writes", WRITES), ("reads, not stale,", READS))
    ]
    panels += [
        _Panel(node, series((r for r in result.requests if r.node == node), start, end, points), node)
        for node in result.nodes
    ]
    broken = faults(result.events, end)
    led = leaderships(result.events, end)
    fastest, slowest = _latencies(panels)
    highest = [_most([panel]) for panel in panels[:2]] + [_most(panels[2:])] * len(result.nodes)

    drawn: list[str] = []
    top = _LANE
    for panel, most in zip(panels, highest, strict=True):
        drawn.append(_panel(panel, x, top, most, (fastest, slowest), broken, led))
        top += _TITLE + _RATE + _GAP + (_STRIP + _LATENCY if panel.node is not None else 0.0)
    floor = top - _GAP
    ruled = [
        join(
            tag("path", d=f"M{x(at):.1f} {_LANE}V{floor:.1f}", class_="grid"),
            label(x(at), floor + 16, text, class_="tick", text_anchor="end" if x(at) > width - 30 else "middle"),
        )
        for at, text in clock_ticks(start, end, int(width / 70))
    ]
    changes = columns(((one.start, one.start) for one in led if one.start > start), x)
    return tag(
        "svg",
        tag("title", f"Timeline of the drill {result.scenario}", id=f"{name}-title"),
        tag("desc", _in_words(result, broken), id=f"{name}-words"),
        *ruled,
        *drawn,
        tag("path", d="".join(f"M{left:.1f} {_LANE}V{floor:.1f}" for left, _ in changes), class_="change"),
        _lane(broken, x),
        viewBox=f"0 0 {width:g} {floor + _AXIS:g}",
        width=width,
        height=floor + _AXIS,
        role="img",
        aria_labelledby=f"{name}-title {name}-words",
        class_="chart",
    )


def _panel(
    panel: _Panel,
    x: Scale,
    top: float,
    most: float,
    latencies: tuple[float, float],
    broken: Sequence[Span],
    led: Sequence[Span],
) -> Markup:
    """A panel for one node or all nodes: faults in the background, rates, failures below, then latency."""
    height = _RATE + (_STRIP + _LATENCY if panel.node is not None else 0.0)
    body = top + _TITLE
    hit = [one for one in broken if panel.node is None or affects(one, panel.node)]
    rates = Scale(0.0, most, body + _RATE, body + 3)
    points: list[tuple[float, float | None]] = [
        (x(panel.series.middle(n)), rates(rate)) for n, rate in enumerate(panel.series.rates())
    ]
    parts = [
        bands(columns(((one.start, one.end) for one in hit), x), body, height, class_="broken"),
        area([(at, upper, body + _RATE) for at, upper in points], class_="done"),
        line(points, class_="rate"),
        tag("path", d=f"M{x.start:g} {body + _RATE:g}H{x.end:g}", class_="base"),
        label(x.start - 6, body + 10, f"{most:,.0f}/s", class_="tick", text_anchor="end"),
        label(0.0, top + 13, panel.title, class_="name"),
    ]
    if panel.node is not None:
        reign = columns(((one.start, one.end) for one in led if panel.node in one.nodes), x)
        parts += [
            bands(reign, body - 2, 4.0, class_="lead"),
            *(label(left + 2, top + 13, "leads", class_="leads") for left in _apart(reign, x)),
            _failures(panel.series, x, body + _RATE),
            _latency(panel.series, x, body + _RATE + _STRIP, latencies),
        ]
    return tag("g", *parts)


def _apart(reign: Sequence[tuple[float, float]], x: Scale) -> list[float]:
    """The positions with enough room for the label "leads"."""
    found: list[float] = []
    taken = x.start
    for left, right in reign:
        at = max(left, taken)
        if right - at >= 30:
            found.append(at)
            taken = at + 60
    return found


def _failures(one: Series, x: Scale, top: float) -> Markup:
    """A strip that shows refused requests at half its height, and requests without an answer at full height."""

    def where(counts: Sequence[int]) -> list[tuple[float, float]]:
        return columns(
            ((one.start + n * one.width, one.start + (n + 1) * one.width) for n, count in enumerate(counts) if count), x
        )

    return join(
        bands(where(one.unknown), top + 1, _STRIP - 1, class_="unknown"),
        bands(where(one.refused), top + 1, (_STRIP - 1) / 2, class_="refused"),
    )


def _latency(one: Series, x: Scale, top: float, bounds: tuple[float, float]) -> Markup:
    """Latency: the line is p50, the band reaches to p99, the dots are the slowest requests."""
    y = Scale(*bounds, top + _LATENCY, top + 4, logarithmic=True)
    powers = range(round(math.log10(bounds[0])), round(math.log10(bounds[1])) + 1)
    named = powers[:-1] if len(powers) < 5 else powers[1:-1:2]
    middles = [x(one.middle(n)) for n in range(len(one.done))]

    def heights(values: Sequence[float | None]) -> list[float | None]:
        return [None if value is None else y(value) for value in values]

    half, most, all_of_them = heights(one.p50), heights(one.p99), heights(one.slowest)
    dots = "".join(f"M{at:.1f} {height:.1f}h.1" for at, height in zip(middles, all_of_them, strict=True) if height)
    return join(
        *(tag("path", d=f"M{x.start:g} {y(10.0**p):.1f}H{x.end:g}", class_="grid") for p in powers),
        *(label(x.start - 6, y(10.0**p) + 4, _duration(p), class_="tick", text_anchor="end") for p in named),
        area(list(zip(middles, most, half, strict=True)), class_="p99"),
        line(list(zip(middles, half, strict=True)), class_="p50"),
        tag("path", d=dots, class_="slowest") if dots else "",
    )


def _lane(broken: Sequence[Span], x: Scale) -> Markup:
    """The top lane: the number of each fault, and its text where there is room."""
    parts = [bands(columns(((one.start, one.end) for one in broken), x, 2.0), _LANE - 7, 5.0, class_="fault")]
    free = 0.0
    for position, one in enumerate(broken):
        at = x(one.start)
        if at < free:
            continue
        after = x(broken[position + 1].start) if position + 1 < len(broken) else x.end + _RIGHT
        text = str(one.number)
        if len(f"{text} {one.text}") * _LETTER < after - at:
            text = f"{text} {one.text}"
        parts.append(label(min(at, x.end - len(text) * _LETTER), 14, text, class_="number"))
        free = at + (len(text) + 1) * _LETTER
    return tag("g", *parts)


def _latencies(panels: Sequence[_Panel]) -> tuple[float, float]:
    """Powers of ten around all latencies, in seconds; from a millisecond to a second if there are none."""
    low = [value for panel in panels for value in panel.series.p50 if value]
    high = [value for panel in panels for value in panel.series.slowest if value]
    if not low or not high:
        return 0.001, 1.0
    bottom = 10.0 ** math.floor(math.log10(max(1e-6, min(low))))
    return bottom, max(bottom * 10, 10.0 ** math.ceil(math.log10(max(high))))


def _most(panels: Sequence[_Panel]) -> float:
    """A round upper bound of all rates."""
    most = max((rate for panel in panels for rate in panel.series.rates()), default=0.0)
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if factor * power >= most)


def _duration(power: int) -> str:
    unit, factor = ("s", 0) if power >= 0 else ("ms", 3) if power >= -3 else ("µs", 6)
    return f"{10 ** (power + factor)} {unit}"


def _in_words(result: Result, broken: Sequence[Span]) -> str:
    done = [f"at {one.start:.1f} s: {one.text}" for one in broken[:20]]
    rest = f"; and {len(broken) - 20} more" if len(broken) > 20 else ""
    nodes = f"Requests done a second and their latency on {len(result.nodes)} nodes"
    return f"{nodes}. Faults: {'; '.join(done) or 'none'}{rest}."
