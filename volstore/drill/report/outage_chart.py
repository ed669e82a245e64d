"""The chart of one outage: when each node answered writes and reads, and where the silence was."""

from __future__ import annotations

from collections.abc import Sequence

from volstore.drill.outage import READS, WRITES
from volstore.drill.record import Outage, Outcome, Result
from volstore.drill.report.drawing import Scale, bands, clock_ticks, columns, label
from volstore.drill.report.markup import Markup, join, tag
from volstore.drill.report.series import span
from volstore.drill.report.spans import affects, faults, leaderships

_LEFT, _RIGHT, _TOP, _ROW, _GAP, _AXIS = 50.0, 10.0, 22.0, 13.0, 8.0, 24.0
_BEFORE, _LEAST = 0.5, 2.0


def outage_chart(result: Result, outages: Sequence[Outage], width: float, name: str) -> Markup:
    """An SVG of the time around the outages of one fault (at least one), `width` CSS pixels wide.

    Each node has a row of writes and a row of reads (without stale ones), with a stroke for each answer. A frame marks
    each outage.
    """
    begun = min(one.start for one in outages)
    ended = max(one.start + one.seconds for one in outages)
    low = max(0.0, begun - max(_BEFORE, (ended - begun) / 4))
    high = max(ended, min(span(result)[1], max(low + _LEAST, ended + (ended - low) / 2)))
    x = Scale(low, high, _LEFT, width - _RIGHT)
    hit = [one for one in faults(result.events, result.seconds) if one.start < high and one.end > low]
    changes = [one for one in leaderships(result.events, result.seconds) if low <= one.start <= high]
    near = [r for r in result.requests if low <= r.end <= high and r.outcome is Outcome.DONE]
    parts: list[str] = []
    rows: dict[str | None, tuple[float, float]] = {}
    top = _TOP
    for node in result.nodes:
        struck = [(max(low, one.start), min(high, one.end)) for one in hit if affects(one, node)]
        parts += [
            bands(columns(struck, x), top, 2 * _ROW + 2, class_="broken"),
            label(_LEFT - 6, top + _ROW + 5, node, class_="tick", text_anchor="end"),
        ]
        for row, kinds in enumerate((WRITES, READS)):
            answered = columns(((r.end, r.end) for r in near if r.node == node and r.kind in kinds), x)
            parts.append(
                bands(answered, top + row * (_ROW + 2), _ROW, class_="read" if row else "write"),
            )
        rows[node] = top - 3, 2 * _ROW + 8
        top += 2 * _ROW + 2 + _GAP
    floor = top - _GAP
    rows[None] = _TOP - 3, floor - _TOP + 6
    frames = [
        tag(
            "rect",
            tag("title", f"no {one.what} for {one.seconds:.2f} s"),
            x=x(one.start),
            y=rows.get(one.node, rows[None])[0],
            width=max(1.0, x(one.start + one.seconds) - x(one.start)),
            height=rows.get(one.node, rows[None])[1],
            class_=f"silence {one.what}",
        )
        for one in outages
    ]
    ruled = [
        join(
            tag("path", d=f"M{x(at):.1f} {floor:.1f}v4", class_="base"),
            label(x(at), floor + 16, text, class_="tick", text_anchor="end" if x(at) > width - 30 else "middle"),
        )
        for at, text in clock_ticks(low, high, int(width / 70))
    ]
    marks = [
        join(
            tag("path", d=f"M{x(one.start):.1f} {_TOP - 4:g}V{floor:.1f}", class_="change"),
            label(min(x(one.start), width - 60), 13, f"{one.nodes[0]} leads", class_="leads"),
        )
        for one in changes[-3:]
    ]
    silences = ", ".join(f"no {one.what} for {one.seconds:.2f} s from {one.start:.2f} s on" for one in outages)
    return tag(
        "svg",
        tag("title", f"Around {outages[0].fault}", id=f"{name}-title"),
        tag("desc", f"When each node answered writes and reads: {silences}.", id=f"{name}-words"),
        *parts,
        *ruled,
        *frames,
        *marks,
        viewBox=f"0 0 {width:g} {floor + _AXIS:g}",
        width=width,
        height=floor + _AXIS,
        role="img",
        aria_labelledby=f"{name}-title {name}-words",
        class_="chart",
    )
