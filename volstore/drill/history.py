"""Combines requests into operations (a write and its repeats are one), and formats them for people."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from volstore.drill.record import Absence, Kind, Outcome, Request


class Effect(StrEnum):
    """The known effect of a write: done, nothing to deregister, none, or unknown."""

    DONE = "done"
    NOTHING_THERE = "nothing there"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """All requests under one Idempotency-Key, in the order of their starts.

    `end`: the time of the first answer that states the effect; None if there is none. `index`: the index of the effect.
    """

    requests: tuple[Request, ...]
    effect: Effect
    end: float | None
    index: int | None

    @property
    def kind(self) -> Kind:
        return self.requests[0].kind

    @property
    def volume(self) -> str:
        return self.requests[0].volume

    @property
    def value(self) -> str | None:
        """The value that it writes; None for a deregister."""
        return self.requests[0].value

    @property
    def start(self) -> float:
        return self.requests[0].start


def writes(requests: Iterable[Request]) -> list[Write]:
    """The writes among `requests`, in the order of their first requests' numbers."""
    together: dict[int, list[Request]] = {}
    for request in requests:
        if request.kind.writes:
            first = request.repeats if request.repeats is not None else request.number
            together.setdefault(first, []).append(request)
    return [_write(sorted(together[first], key=lambda request: request.start)) for first in sorted(together)]


def _write(requests: list[Request]) -> Write:
    done = [request for request in requests if request.outcome is Outcome.DONE]
    # All requests with this idempotency key have one outcome, so any answer settles the others.
    absent = [request for request in requests if found_nothing(request)]
    effect, known = Effect.NONE, done or absent
    if done:
        effect = Effect.DONE
    elif absent:
        effect = Effect.NOTHING_THERE
    elif any(request.outcome is Outcome.UNKNOWN for request in requests):
        effect = Effect.UNKNOWN
    first = min(known, key=lambda request: request.end, default=None)
    return Write(tuple(requests), effect, first.end if first else None, first.index if first else None)


def found_nothing(request: Request) -> bool:
    """Whether a deregister found no such volume, which is a valid outcome."""
    return request.kind is Kind.DEREGISTER and request.status == 404 and request.outcome is Outcome.REFUSED


def failed(requests: Iterable[Request], absences: Sequence[Absence]) -> list[Request]:
    """Requests that failed on nodes that the drill hadn't broken at that time."""
    absent = Absent(absences)
    return [
        request
        for request in requests
        if request.outcome is not Outcome.DONE
        and not found_nothing(request)
        and not absent.overlaps(request.node, request.start, request.end)
    ]


class Absent:
    """An index of absences by node and time."""

    def __init__(self, absences: Iterable[Absence]) -> None:
        self._starts: dict[str, list[float]] = {}
        self._latest_ends: dict[str, list[float]] = {}
        for absence in sorted(absences, key=lambda one: one.start):
            ends = self._latest_ends.setdefault(absence.node, [])
            ends.append(max(absence.end, ends[-1] if ends else absence.end))
            self._starts.setdefault(absence.node, []).append(absence.start)

    def overlaps(self, node: str, start: float, end: float) -> bool:
        begun = bisect_right(self._starts.get(node, []), end)
        return begun > 0 and self._latest_ends[node][begun - 1] >= start


_DID = {
    Kind.REGISTER: "registers",
    Kind.DEREGISTER: "deregisters",
    Kind.READ_DEFAULT: "reads",
    Kind.READ_CONSISTENT: "reads (consistent)",
    Kind.READ_STALE: "reads (stale)",
}


def line(request: Request) -> str:
    """`    3.476 s to    3.481 s  client 2 at s1 registers drill-1 as v282: done, index 45`."""
    what = f"{_DID[request.kind]} {request.volume}"
    if request.kind is Kind.REGISTER:
        what += f" as {request.value}"
    if request.repeats is not None:
        what += f" (repeats request {request.repeats})"
    if request.outcome is Outcome.DONE:
        told = "done" if request.kind.writes else "not there" if request.value is None else request.value
        told += f", index {request.index}" if request.index is not None else ""
        told += f", {request.staleness:.3f} s old at most" if request.staleness is not None else ""
    else:
        said = f"{request.status or ''} {request.error}".strip()
        told = f"{'refused' if request.outcome is Outcome.REFUSED else 'unknown'}{f' ({said})' if said else ''}"
    return f"{request.start:9.3f} s to {request.end:9.3f} s  client {request.client} at {request.node} {what}: {told}"


def lines(requests: Iterable[Request]) -> list[str]:
    """One line for each request, in the order of their starts, without duplicates."""
    return [line(request) for request in sorted(set(requests), key=lambda request: (request.start, request.number))]
