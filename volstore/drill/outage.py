"""Measures outages: the longest silence around each fault, as clients felt it. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from volstore.drill.record import Absence, Event, Kind, Outage, Outcome, Request

READS = frozenset({Kind.READ_DEFAULT, Kind.READ_CONSISTENT})
"""Stale reads don't count, because an isolated node answers them too."""
WRITES = frozenset({Kind.REGISTER, Kind.DEREGISTER})


def outages(
    requests: Sequence[Request], faults: Sequence[Event], absences: Sequence[Absence], until: float
) -> list[Outage]:
    """For each fault the longest silence of writes and of reads before the next fault; the last fault lasts to `until`.

    A silence is the time between two successful requests. It begins when a client waits: a client's pause between two
    requests doesn't count. Silences are measured on each node while it should answer, and on all nodes together while
    none should, until one answered. The longest counts; its node is None if all nodes were silent. A write in flight at
    the fault that is answered at once doesn't end the outage: the next silence is measured too.
    """
    found = []
    nodes = sorted({request.node for request in requests})
    absent = {node: _joined([(one.start, one.end) for one in absences if one.node == node]) for node in nodes}
    nobody = _common(list(absent.values()))
    ends = [fault.at for fault in faults[1:]] + [until]
    for kinds, what in ((WRITES, "writes"), (READS, "reads")):
        asked = [request for request in requests if request.kind in kinds]
        lanes: list[tuple[str | None, _Lane, list[_Span]]] = []
        for node in nodes:
            lanes.append((node, _Lane([one for one in asked if one.node == node]), _between(absent[node])))
        together = _Lane(asked)
        lanes.append((None, together, [(start, together.first_done(end)) for start, end in nobody]))
        for number, fault in enumerate(faults):
            longest = Outage(fault.text, what, fault.at, 0.0)
            for name, lane, spans in lanes:
                for since, to in _within(spans, fault.at, ends[number]):
                    seconds, start = lane.longest(since, to)
                    if seconds > longest.seconds:
                        longest = Outage(fault.text, what, start, seconds, name)
            found.append((number, longest))
    return [outage for _, outage in sorted(found, key=lambda one: one[0])]


_Span = tuple[float, float]


class _Lane:
    """Requests of which any success ends the silence."""

    def __init__(self, requests: Sequence[Request]) -> None:
        ordered = sorted(requests, key=lambda request: request.end)
        self._ends = [request.end for request in ordered]
        self._done = [request.end for request in ordered if request.outcome is Outcome.DONE]
        self._earliest = [float("inf")] * (len(ordered) + 1)
        """At each place, the earliest start among the requests that end there or later."""
        for place in range(len(ordered) - 1, -1, -1):
            self._earliest[place] = min(ordered[place].start, self._earliest[place + 1])

    def first_done(self, after: float) -> float:
        place = bisect_left(self._done, after)
        return self._done[place] if place < len(self._done) else float("inf")

    def longest(self, since: float, to: float) -> tuple[float, float]:
        """Length in seconds and start of the longest silence between two instants."""
        done = self._done[bisect_left(self._done, since) : bisect_right(self._done, to)]
        longest, start = 0.0, since
        for before, after in pairwise([since, *done, to]):
            waits_from = max(before, self._earliest[bisect_right(self._ends, before)])
            if after - waits_from > longest:
                longest, start = after - waits_from, waits_from
        return longest, start


def _joined(spans: Sequence[_Span]) -> list[_Span]:
    """The union of `spans`, in order and without overlaps."""
    found: list[_Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _between(spans: Sequence[_Span]) -> list[_Span]:
    """The gaps between spans, which must be in order."""
    edges = [float("-inf"), *(instant for span in spans for instant in span), float("inf")]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _within(spans: Sequence[_Span], since: float, to: float) -> list[_Span]:
    return [(max(start, since), min(end, to)) for start, end in spans if max(start, since) < min(end, to)]


def _common(all_spans: Sequence[Sequence[_Span]]) -> list[_Span]:
    """The intersection of all span lists."""
    if not all_spans:
        return []
    common = list(all_spans[0])
    for spans in all_spans[1:]:
        common = [one for start, end in common for one in _within(spans, start, end)]
    return common
