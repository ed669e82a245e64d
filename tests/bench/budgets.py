"""What each bench must reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass

Figures = dict[str, float]

UNITS = {
    "per_s": "{:,.0f}/s",
    "seconds": "{:.2f} s",
    "last_ms": "{:,.0f} ms",
    "kib_each": "{:.1f} KiB each",
    "rss_mib": "{:,.0f} MiB",
    "ratio_per_s": "{:g} x etcd's rate",
    "ratio_p50_ms": "{:g} x etcd's p50",
    "ratio_p99_ms": "{:g} x etcd's p99",
    "growth": "{:.2f} x that with 1,000",
    "worst_s": "{:.2f} s worst",
    "failed": "{:g} failed",
    "lost": "{:g} lost",
}
"""How a figure is written."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`figure` of the case must be at least, or at most, `limit`."""

    figure: str
    limit: float
    at_least: bool = False

    def met(self, figures: Figures) -> bool:
        reached = figures[self.figure]
        return reached >= self.limit if self.at_least else reached <= self.limit

    def __str__(self) -> str:
        return ("≥ " if self.at_least else "≤ ") + UNITS[self.figure].format(self.limit)


def _against_etcd(rate: float, p50: float | None = None, p99: float | None = None) -> tuple[Budget, ...]:
    latencies = {"ratio_p50_ms": p50, "ratio_p99_ms": p99}
    most = (Budget(figure, limit) for figure, limit in latencies.items() if limit is not None)
    return (Budget("ratio_per_s", rate, at_least=True), *most)


_FLAT = (Budget("growth", 1.5),)
"""A million rows don't fit the processor's caches as a thousand do; anything that grew with their number would show."""

_LINEAR = (Budget("growth", 3),)
"""By volume. A list reads every row's strings and writes tens of megabytes twice, all of it beyond the caches."""

BUDGETS: dict[str, tuple[Budget, ...]] = {
    "register, 1 client": _against_etcd(1.2, p50=1, p99=1),
    "register, 32 clients": _against_etcd(2, p99=0.5),
    "register, 256 clients": _against_etcd(1.5, p99=0.5),
    "register via a follower, 32 clients": _against_etcd(1.5),
    "read one, 32 clients": _against_etcd(2),
    "read one via a follower, 32 clients": (Budget("per_s", 7_000, at_least=True),),
    "read one, stale, 32 clients": (Budget("per_s", 15_000, at_least=True),),
    "list 6,098 volumes, 8 clients": (Budget("per_s", 600, at_least=True),),
    "list 100,000 volumes, cold": (Budget("seconds", 0.5),),
    "bulk load of 100,000 volumes": (Budget("seconds", 10),),
    "memory with 100,000 volumes, largest of three nodes": (Budget("rss_mib", 300),),
    "restart with 100,000 volumes, to the first answer": (Budget("seconds", 2),),
    "5,000 waiters on one volume, the last one woken": (Budget("last_ms", 350),),
    "5,000 waiters, memory": (Budget("kib_each", 12),),
    "a million volumes: register": _FLAT,
    "a million volumes: register again": _FLAT,
    "a million volumes: deregister": _FLAT,
    "a million volumes: read": _FLAT,
    "a million volumes: claim": _FLAT,
    "a million volumes: release": _FLAT,
    "a million volumes: list, each volume": _LINEAR,
    "kill -9 of the leader under load, outage of writers": (
        Budget("worst_s", 1),
        Budget("failed", 0),
        Budget("lost", 0),
    ),
}
"""By the case's name."""
