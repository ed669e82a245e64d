"""Checks the order of requests by X-Nomad-Index, over all volumes: the state never goes back in time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from volstore.drill.history import Absent, Effect, Write, line, lines
from volstore.drill.record import Absence, Check, Kind, Outcome, Request

STALE_SLACK = 4.0
"""Seconds by which the claimed age of a stale read may be too low.

It counts from the arrival of the leader's message. That message may have been in flight until the connection was given
up, and its sender may have been a leader that didn't know yet that it was deposed.
"""
_LINEARIZABLE = (Kind.READ_DEFAULT, Kind.READ_CONSISTENT)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state was at `index` at some time between `start` and `end`. `moved`: this request brought it there."""

    start: float
    end: float
    index: int
    moved: bool
    request: Request


def _seen(asked: Sequence[Write], requests: Iterable[Request]) -> list[_Seen]:
    found = [
        _Seen(write.start, write.end, write.index, True, write.requests[0])
        for write in asked
        if write.effect is Effect.DONE and write.end is not None and write.index is not None
    ]
    found += [
        _Seen(request.start, request.end, request.index, False, request)
        for request in requests
        if request.kind in _LINEARIZABLE and request.outcome is Outcome.DONE and request.index is not None
    ]
    return sorted(found, key=lambda one: one.start)


class _Floor:
    """The highest index seen by requests that had ended before an instant. Successive instants must not decrease."""

    def __init__(self, seen: Sequence[_Seen]) -> None:
        self._by_end = sorted(seen, key=lambda one: one.end)
        self._next = 0
        self._highest: _Seen | None = None

    def at(self, instant: float) -> _Seen | None:
        while self._next < len(self._by_end) and self._by_end[self._next].end < instant:
            one = self._by_end[self._next]
            if self._highest is None or one.index > self._highest.index:
                self._highest = one
            self._next += 1
        return self._highest


def in_order(asked: Sequence[Write], requests: Sequence[Request]) -> Check:
    """A request that begins after another has ended sees its effect: a write has a higher index, a read no lower
    one."""
    name = "Later requests see no earlier state"
    seen = _seen(asked, requests)
    floor = _Floor(seen)
    for one in seen:
        before = floor.at(one.start)
        if before is not None and (one.index < before.index or (one.moved and one.index == before.index)):
            detail = f"index {one.index} came after index {before.index} had been answered"
            return Check(name, False, detail, lines([before.request, one.request]))
    return Check(name, True, f"the indexes of {len(seen)} writes and linearizable reads follow their times")


def as_fresh_as_claimed(asked: Sequence[Write], requests: Sequence[Request], absences: Sequence[Absence]) -> Check:
    """A stale read shows everything that was answered before its claimed age. On one node reads never go back, except
    after a restart."""
    name = "Stale reads are no older than they say, and never go back"
    stale = sorted(
        (r for r in requests if r.kind is Kind.READ_STALE and r.outcome is Outcome.DONE and r.index is not None),
        key=lambda request: request.start - (request.staleness or 0.0),
    )
    floor, claims = _Floor(_seen(asked, requests)), 0
    # After a pause a node takes old messages for new ones, so its claims can't be judged.
    paused = Absent(absence for absence in absences if absence.pauses)
    for request in stale:
        if request.staleness is None or request.index is None:
            continue
        if paused.overlaps(request.node, request.start - STALE_SLACK, request.end):
            continue
        claims += 1
        before = floor.at(request.start - request.staleness - STALE_SLACK)
        if before is not None and request.index < before.index:
            detail = (
                f"a stale read claims to be {request.staleness:.3f} s old at most, and lacks index {before.index}, "
                f"answered {request.start - before.end:.3f} s before it began"
            )
            return Check(name, False, detail, lines([before.request, request]))
    for earlier, later in _back(requests, absences):
        detail = f"{later.node} showed index {earlier.index} first, then index {later.index}"
        return Check(name, False, detail, [line(earlier), line(later)])
    return Check(name, True, f"{len(stale)} stale reads, {claims} of them with a claim that could be judged")


def _back(requests: Sequence[Request], absences: Sequence[Absence]) -> Iterator[tuple[Request, Request]]:
    """Pairs of reads of one node where the second began after the first had ended, and has a lower index."""
    for node in {request.node for request in requests}:
        restarts = sorted((one.start, one.end) for one in absences if one.node == node and one.restarts)
        reads = sorted(
            (r for r in requests if r.node == node and not r.kind.writes and r.outcome is Outcome.DONE and r.index),
            key=lambda request: request.start,
        )
        ended: list[tuple[float, int, Request]] = []
        highest: Request | None = None
        for read in reads:
            while restarts and restarts[0][0] <= read.end:
                if read.start <= restarts[0][1]:
                    break
                restarts.pop(0)
                ended, highest = [], None
            if restarts and restarts[0][0] <= read.end:
                continue
            while ended and ended[0][0] < read.start:
                one = heappop(ended)[2]
                if highest is None or (one.index or 0) > (highest.index or 0):
                    highest = one
            if highest is not None and (read.index or 0) < (highest.index or 0):
                yield highest, read
            heappush(ended, (read.end, read.number, read))
