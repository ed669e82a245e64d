"""The figures of a drill, computed once for all forms of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from volstore.drill.record import Kind, Outage, Outcome, Request, Result

SCHEMA = "volstore.drill/1"


@dataclass(frozen=True, slots=True)
class Felt:
    """Counts and latencies of some requests. Latencies are of successful ones, in seconds; None if there is none."""

    done: int
    refused: int
    unknown: int
    p50: float | None
    p99: float | None
    slowest: float | None


def summary(result: Result) -> dict[str, Any]:
    """The result for programs, ready for JSON (deploy/drills/README.md describes it). Times are in seconds."""
    return {
        "schema": SCHEMA,
        "scenario": result.scenario,
        "about": result.about,
        "passed": result.passed,
        "target": result.target,
        "seed": result.seed,
        "started": started(result),
        "seconds": round(result.seconds, 3),
        "nodes": list(result.nodes),
        "checks": [
            {"name": one.name, "passed": one.passed, "detail": one.detail, "history": list(one.history)}
            for one in result.checks
        ],
        "outages": [
            {
                "fault": one.fault,
                "what": one.what,
                "start": round(one.start, 3),
                "seconds": round(one.seconds, 3),
                "node": one.node,
            }
            for one in result.outages
        ],
        "longest_outage": {what: _rounded(longest(result.outages, what)) for what in ("writes", "reads")},
        "requests": {
            "all": _plain(felt(result.requests)),
            "by_kind": {kind.value: _plain(one) for kind, one in by_kind(result).items()},
            "by_node": {node: _plain(one) for node, one in by_node(result).items()},
        },
        "events": [
            {"at": round(one.at, 3), "what": one.what, "text": one.text, "node": one.node, "nodes": list(one.nodes)}
            for one in result.events
        ],
        "configuration": dict(result.configuration),
        "versions": dict(result.versions),
    }


def started(result: Result) -> str:
    """The wall clock at the drill's start, UTC, as RFC 3339."""
    return datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def longest(outages: Iterable[Outage], what: str) -> float | None:
    """The longest outage of "writes" or "reads" in seconds; None if none was measured."""
    return max((one.seconds for one in outages if one.what == what), default=None)


def by_fault(outages: Iterable[Outage]) -> list[list[Outage]]:
    """Group the outages by fault, in order: at most one of writes and one of reads each."""
    together: list[list[Outage]] = []
    for one in outages:
        last = together[-1] if together else []
        if last and last[0].fault == one.fault and all(other.what != one.what for other in last):
            last.append(one)
        else:
            together.append([one])
    return together


def by_kind(result: Result) -> dict[Kind, Felt]:
    """The figures of each kind of request that occurred."""
    parts: dict[Kind, list[Request]] = {kind: [] for kind in Kind}
    for request in result.requests:
        parts[request.kind].append(request)
    return {kind: felt(requests) for kind, requests in parts.items() if requests}


def by_node(result: Result) -> dict[str, Felt]:
    """The figures of every node of the cluster, also without requests."""
    parts: dict[str, list[Request]] = {node: [] for node in result.nodes}
    for request in result.requests:
        parts.setdefault(request.node, []).append(request)
    return {node: felt(requests) for node, requests in parts.items()}


def felt(requests: Iterable[Request]) -> Felt:
    outcomes: Counter[Outcome] = Counter()
    taken = []
    for request in requests:
        outcomes[request.outcome] += 1
        if request.outcome is Outcome.DONE:
            taken.append(request.end - request.start)
    taken.sort()
    return Felt(
        done=outcomes[Outcome.DONE],
        refused=outcomes[Outcome.REFUSED],
        unknown=outcomes[Outcome.UNKNOWN],
        p50=percentile(taken, 50),
        p99=percentile(taken, 99),
        slowest=taken[-1] if taken else None,
    )


def percentile(ordered: list[float], percent: int) -> float | None:
    """The percentile of sorted values (nearest rank); None if there are none."""
    if not ordered:
        return None
    return ordered[max(1, -(-percent * len(ordered) // 100)) - 1]


def _plain(one: Felt) -> dict[str, Any]:
    return {
        "done": one.done,
        "refused": one.refused,
        "unknown": one.unknown,
        "p50": _rounded(one.p50, 6),
        "p99": _rounded(one.p99, 6),
        "slowest": _rounded(one.slowest, 6),
    }


def _rounded(seconds: float | None, digits: int = 3) -> float | None:
    return None if seconds is None else round(seconds, digits)
