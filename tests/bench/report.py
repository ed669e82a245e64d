"""All that was measured as one table, in Markdown and JSON, each case with its peer's figures and its budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.bench.budgets import BUDGETS, UNITS, Figures

_HEAD = (
    "case",
    "volstore",
    "p50 / p99 ms",
    "CPU s per 1,000",
    "RSS MiB",
    "etcd",
    "p50 / p99 ms",
    "CPU s per 1,000",
    "ratio: rate, p50, p99",
    "budget",
    "",
)
_RESULTS = ("per_s", "seconds", "last_ms", "kib_each", "growth", "worst_s", "failed", "lost")
_RATIOS = ("ratio_per_s", "ratio_p50_ms", "ratio_p99_ms")


@dataclass(frozen=True, slots=True)
class Row:
    """One case: its figures, and those of etcd's run that it is held against."""

    case: str
    figures: Figures
    peer: Figures = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """None where there is no budget."""
        budgets = BUDGETS.get(self.case, ())
        return all(budget.met(self.figures) for budget in budgets) if budgets else None

    def json(self) -> dict[str, Any]:
        budgets = [
            {"budget": str(budget), "met": budget.met(self.figures)} | {budget.figure: self.figures[budget.figure]}
            for budget in BUDGETS.get(self.case, ())
        ]
        return {"case": self.case, "volstore": self.figures, "etcd": self.peer, "budgets": budgets}

    def markdown(self) -> str:
        mine, peer = self.figures, self.peer
        results = [UNITS[name].format(mine[name]) for name in _RESULTS if name in mine]
        if costs := [f"{cost:.3g}" for name, cost in mine.items() if name.startswith("cpu_us_with_")]:
            results.append(f"µs by size: {', '.join(costs)}")
        memory = _number(mine, "rss_mib")
        return _line(
            self.case,
            ", ".join(results) or f"{memory} MiB",
            _latency(mine),
            _number(mine, "cpu_s_per_1000"),
            memory,
            UNITS["per_s"].format(peer["per_s"]) if peer else "",
            _latency(peer),
            _number(peer, "cpu_s_per_1000"),
            ", ".join(f"{mine[name]:.2f}" for name in _RATIOS if name in mine),
            ", ".join(map(str, BUDGETS.get(self.case, ()))),
            {True: "met", False: "**missed**", None: ""}[self.met],
        )


def markdown(rows: list[Row]) -> str:
    return "\n".join([_line(*_HEAD), "|---" * len(_HEAD) + "|", *(row.markdown() for row in rows)])


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _latency(figures: Figures) -> str:
    return " / ".join(_short(figures[name]) for name in ("p50_ms", "p99_ms") if name in figures)


def _number(figures: Figures, name: str) -> str:
    return _short(figures[name]) if name in figures else ""


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
