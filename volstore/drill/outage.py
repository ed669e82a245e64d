"""How long nobody was answered around each fault, as clients felt it; pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from volstore.drill.record import Absence, Event, Kind, Outage, Outcome, Request

READS = frozenset({Kind.READ_DEFAULT, Kind.READ_CONSISTENT})
"""Stale reads don't count: a node that is cut off from everybody answers them."""
WRITES = frozenset({Kind.REGISTER, Kind.DEREGISTER})


def outages(
    requests: Sequence[Request], faults: Sequence[Event], absences: Sequence[Absence], until: float
) -> list[Outage]:
    """For each fault the longest silence of writes, and of reads, until the next fault; the last one until `until`.

    A silence lies between two requests that were done, and begins when somebody waits: who pauses between two
    requests is not kept waiting. It is looked for on each node while the node shall answer, and on all nodes taken
    together, for when none shall; the longest counts. Its node is None where all were silent. A write that the
    fault caught half-way and that is answered at once does not end it: after it the next silence is found.
    """
    found = []
    for kinds, what in ((WRITES, "writes"), (READS, "reads")):
        asked = [request for request in requests if request.kind in kinds]
        nodes = sorted({request.node for request in asked})
        lanes = [(None, _Lane(asked)), *((node, _Lane([r for r in asked if r.node == node])) for node in nodes)]
        ends = [fault.at for fault in faults[1:]] + [until]
        for number, (fault, end) in enumerate(zip(faults, ends, strict=True)):
            silences = [
                (seconds, start, node)
                for node, lane in lanes
                for since, to in _present(node, absences, fault.at, max(end, fault.at))
                for seconds, start in [lane.longest(since, to)]
            ]
            seconds, start, node = max(
                silences, key=lambda one: (one[0], one[2] is None), default=(0.0, fault.at, None)
            )
            found.append((number, Outage(fault.text, what, start, seconds, node)))
    return [outage for _, outage in sorted(found, key=lambda one: one[0])]


class _Lane:
    """Requests that stand for one another: any that is done ends the silence."""

    def __init__(self, requests: Sequence[Request]) -> None:
        ordered = sorted(requests, key=lambda request: request.end)
        self._ends = [request.end for request in ordered]
        self._done = [request.end for request in ordered if request.outcome is Outcome.DONE]
        self._earliest = [float("inf")] * (len(ordered) + 1)
        """The earliest start among the requests that end from the one at this place on."""
        for place in range(len(ordered) - 1, -1, -1):
            self._earliest[place] = min(ordered[place].start, self._earliest[place + 1])

    def longest(self, since: float, to: float) -> tuple[float, float]:
        """Seconds and start of the longest silence between two instants."""
        done = self._done[bisect_left(self._done, since) : bisect_right(self._done, to)]
        longest, start = 0.0, since
        for before, after in pairwise([since, *done, to]):
            waits_from = max(before, self._earliest[bisect_right(self._ends, before)])
            if after - waits_from > longest:
                longest, start = after - waits_from, waits_from
        return longest, start


def _present(node: str | None, absences: Sequence[Absence], since: float, to: float) -> Iterator[tuple[float, float]]:
    """When the node shall answer between two instants; all together always shall."""
    for absence in sorted((one for one in absences if one.node == node), key=lambda one: one.start):
        if absence.start > to:
            break
        if absence.start > since:
            yield since, absence.start
        since = max(since, absence.end)
    if since < to:
        yield since, to
