"""Formats durations, counts and settings for people, in the same way for page and comment."""

from __future__ import annotations

from volstore.drill.record import Result
from volstore.drill.report.figures import felt, longest


def duration(seconds: float | None) -> str:
    """A duration with about three digits: 0.4 ms, 12 ms, 0.52 s, 12.3 s, 4 min 10 s. None is "none"."""
    if seconds is None:
        return "none"
    if seconds < 0.1:
        return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min {rest} s"


def moment(seconds: float) -> str:
    """A time since the drill began."""
    return f"{seconds:,.2f} s"


def kept(result: Result) -> str:
    """How many promises held, such as "8 of 8"."""
    return f"{sum(check.passed for check in result.checks)} of {len(result.checks)}"


def headline(result: Result) -> list[tuple[str, str]]:
    """The main figures of a drill: names and values."""
    figures = felt(result.requests)
    return [
        ("promises kept", kept(result)),
        ("longest outage of writes", duration(longest(result.outages, "writes"))),
        ("longest outage of reads", duration(longest(result.outages, "reads"))),
        ("requests done", f"{figures.done:,}"),
        ("refused", f"{figures.refused:,}"),
        ("without an answer", f"{figures.unknown:,}"),
    ]


def plain(value: object) -> str:
    """The value of a setting."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(plain(one) for one in value) or "none"
    return str(value)


def flat(names: object, before: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines: ("objective: write_outage", "1.2")."""
    if not isinstance(names, dict):
        return [(before, plain(names))]
    return [
        line for name, value in names.items() for line in flat(value, f"{before}: {name}" if before else str(name))
    ] or [(before, "none")]
