"""Requests as time series with a bounded number of points, so that long drills don't make larger pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from volstore.drill.record import Outcome, Request, Result
from volstore.drill.report.figures import percentile

_SHORTEST = 0.1
"""The shortest interval in seconds: rates over less are noise."""


@dataclass(frozen=True, slots=True)
class Series:
    """Figures of equal intervals, by the end of each request. Latencies are of successful requests, in seconds."""

    start: float
    width: float
    done: list[int]
    refused: list[int]
    unknown: list[int]
    p50: list[float | None]
    p99: list[float | None]
    slowest: list[float | None]

    def middle(self, point: int) -> float:
        return self.start + (point + 0.5) * self.width

    def rates(self) -> list[float]:
        """Requests done a second."""
        return [count / self.width for count in self.done]


def span(result: Result) -> tuple[float, float]:
    """The time to draw: from the first request or fault to the last request or heal."""
    marks = [event.at for event in result.events if event.what in ("fault", "heal")]
    start = min([*marks, *(request.start for request in result.requests)], default=0.0)
    end = max([*marks, *(request.end for request in result.requests)], default=result.seconds)
    return start, end if end > start else start + 1.0


def series(requests: Iterable[Request], start: float, end: float, points: int) -> Series:
    """At most `points` intervals from `start` to `end`. Requests outside count in the first or last interval."""
    points = max(1, min(points, int((end - start) / _SHORTEST)))
    width = (end - start) / points
    taken: list[list[float]] = [[] for _ in range(points)]
    refused, unknown = [0] * points, [0] * points
    for request in requests:
        point = max(0, min(points - 1, int((request.end - start) / width)))
        if request.outcome is Outcome.DONE:
            taken[point].append(request.end - request.start)
        elif request.outcome is Outcome.REFUSED:
            refused[point] += 1
        else:
            unknown[point] += 1
    for one in taken:
        one.sort()
    return Series(
        start=start,
        width=width,
        done=[len(one) for one in taken],
        refused=refused,
        unknown=unknown,
        p50=[percentile(one, 50) for one in taken],
        p99=[percentile(one, 99) for one in taken],
        slowest=[one[-1] if one else None for one in taken],
    )
