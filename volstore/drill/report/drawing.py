"""Drawing primitives of the charts: scales, ticks, lines, areas and bands, each of bounded size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from volstore.drill.report.markup import Markup, join, number, tag

_WIDE, _PHONE = 860.0, 350.0
"""Widths in CSS pixels. One drawing for both would be unreadable on a phone."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to the drawing: `low` to `start`, `high` to `end`. Values beyond them are drawn at the border."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        value = max(self.low, min(self.high, value))
        if self.logarithmic:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`, about `most` at the most; their distance is 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(1, most)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def clock_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round times with their labels, in seconds, minutes or hours."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if high - low >= 5 * size or unit == "s":
            return [(at * size, f"{at:g} {unit}") for at in ticks(low / size, high / size, most)]
    raise AssertionError("seconds are always taken")


def line(points: Sequence[tuple[float, float | None]], **attributes: object) -> Markup:
    """A line with gaps where there is no value. A point between two gaps is a short dash."""
    path = ""
    for position, (x, y) in enumerate(points):
        if y is None:
            continue
        before = points[position - 1][1] if position else None
        after = points[position + 1][1] if position + 1 < len(points) else None
        path += f"{'M' if before is None else 'L'}{number(x)} {number(y)}"
        if before is None and after is None:
            path += "h1"
    return tag("path", d=path, fill="none", **attributes) if path else Markup()


def area(points: Sequence[tuple[float, float | None, float | None]], **attributes: object) -> Markup:
    """The area between two heights, with gaps where there is no value."""
    path = ""
    run: list[tuple[float, float, float]] = []
    for x, upper, lower in [*points, (0.0, None, None)]:
        if upper is not None and lower is not None:
            run.append((x, upper, lower))
        elif run:
            above = "L".join(f"{number(x)} {number(upper)}" for x, upper, _ in run)
            below = "L".join(f"{number(x)} {number(lower)}" for x, _, lower in reversed(run))
            path += f"M{above}L{below}Z"
            run = []
    return tag("path", d=path, **attributes) if path else Markup()


def columns(spans: Iterable[tuple[float, float]], x: Scale, least: float = 1.0) -> list[tuple[float, float]]:
    """Convert time spans to spans of the drawing (from, to), at least `least` wide, and merge those that touch.

    The width of the drawing bounds their number.
    """
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        left = math.floor(x(start) / least) * least
        right = max(left + least, math.ceil(x(end) / least) * least)
        if merged and left <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def bands(stretches: Iterable[tuple[float, float]], top: float, height: float, **attributes: object) -> Markup:
    """Vertical bands, as one path."""
    path = "".join(
        f"M{number(left)} {number(top)}H{number(right)}V{number(top + height)}H{number(left)}Z"
        for left, right in stretches
    )
    return tag("path", d=path, **attributes) if path else Markup()


def label(x: float, y: float, text: str, **attributes: object) -> Markup:
    return tag("text", text, x=x, y=y, **attributes)


def both(draw: Callable[[float, str], Markup], name: str) -> Markup:
    """Draw a chart for wide screens and paper, and for phones; the style sheet shows one of them.

    `draw` takes the width and a name for ids.
    """
    return join(
        tag("div", draw(_WIDE, name), class_="wide"),
        tag("div", draw(_PHONE, f"{name}-phone"), class_="phone"),
    )


def key(*entries: tuple[str, str]) -> Markup:
    """The legend of a chart: CSS classes and their meanings."""
    return tag(
        "ul",
        *(tag("li", tag("span", class_=f"swatch {kind}", aria_hidden="true"), text) for kind, text in entries),
        class_="key",
    )
