"""The figures of a drill as names and plain values: what every form of the report shows, computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from volstore.drill.record import Kind, Outcome, Request, Result

SCHEMA = "volstore.drill/1"


def summary(result: Result) -> dict[str, Any]:
    """The result for programs, ready for JSON; described in deploy/drills/README.md. Times are in seconds."""
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
            {"fault": one.fault, "what": one.what, "start": round(one.start, 3), "seconds": round(one.seconds, 3)}
            for one in result.outages
        ],
        "longest_outage": {what: longest(result, what) for what in ("writes", "reads")},
        "requests": {
            "all": figures(result.requests),
            "by_kind": {kind.value: figures(r for r in result.requests if r.kind is kind) for kind in Kind},
            "by_node": {node: figures(r for r in result.requests if r.node == node) for node in result.nodes},
        },
        "events": [
            {"at": round(one.at, 3), "what": one.what, "text": one.text, "node": one.node} for one in result.events
        ],
        "configuration": dict(result.configuration),
        "versions": dict(result.versions),
    }


def started(result: Result) -> str:
    """The wall clock at the drill's start, UTC, as RFC 3339."""
    return datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def longest(result: Result, what: str) -> float | None:
    """Seconds of the longest outage of "writes" or "reads"; None when none was measured."""
    return (
        round(max((one.seconds for one in result.outages if one.what == what), default=0.0), 3)
        if any(one.what == what for one in result.outages)
        else None
    )


def figures(requests: Iterable[Request]) -> dict[str, Any]:
    """Counts by outcome, and how long those took that were answered with success, in seconds."""
    outcomes: Counter[Outcome] = Counter()
    taken = []
    for request in requests:
        outcomes[request.outcome] += 1
        if request.outcome is Outcome.DONE:
            taken.append(request.end - request.start)
    taken.sort()
    return {
        **{outcome.value: outcomes[outcome] for outcome in Outcome},
        "p50": percentile(taken, 0.50),
        "p99": percentile(taken, 0.99),
        "slowest": round(taken[-1], 6) if taken else None,
    }


def percentile(ordered: list[float], part: float) -> float | None:
    """The nearest-rank percentile of what is sorted; None of nothing."""
    if not ordered:
        return None
    rank = max(1, -(-int(part * 1000) * len(ordered) // 1000))
    return round(ordered[rank - 1], 6)
