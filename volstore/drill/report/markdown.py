"""The report as a comment for a pull request: the verdict, failures with their reasons, and tables of figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from volstore.drill.record import Check, Outage, Result
from volstore.drill.report.figures import by_fault, longest, started
from volstore.drill.report.wording import duration, headline, moment
from volstore.text import printable, shortened

_ROWS = 20
_LINES = 25
_LETTERS = 300
"""The most characters of a cell or line; a whole comment may have 65,536."""


def markdown(result: Result) -> str:
    """GitHub's Markdown. Text from outside is escaped: it creates no links, mentions, tables or HTML."""
    broken = [check for check in result.checks if not check.passed]
    word = "passed ✓" if result.passed else "FAILED ✗"
    parts = [
        f"## Drill {_text(result.scenario)}: {word}",
        _text(result.about),
        *map(_broken, broken[:_ROWS]),
        _table(
            ("", ""),
            headline(result),
        ),
        _folded(
            "Promises",
            _table(
                ("", "promise", "found"),
                [("✓" if one.passed else "✗", one.name, one.detail) for one in result.checks],
            ),
        ),
    ]
    if result.outages:
        parts.append(_folded("Outages", _outages(by_fault(result.outages))))
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    parts.append(
        _text(f"{started(result)}, {duration(result.seconds)}, seed {result.seed}, on {result.target}; {versions}")
    )
    return "\n\n".join(parts) + "\n"


def _broken(check: Check) -> str:
    """A failed check, with the shortest history that shows the violation."""
    said = f"**{_text(check.name)}**: {_text(check.detail)}"
    if not check.history:
        return said
    lines = [_line(line) for line in check.history[:_LINES]]
    if len(check.history) > _LINES:
        lines.append(f"… {len(check.history) - _LINES} more lines are in the report")
    fence = "`" * max(3, 1 + max(len(run) for line in lines for run in re.findall("`+", line) or [""]))
    return "\n".join([said, "", f"{fence}text", *lines, fence])


def _outages(together: Sequence[Sequence[Outage]]) -> str:
    worst = sorted(together, key=lambda one: max(part.seconds for part in one), reverse=True)[:_ROWS]
    rows = [
        (
            one[0].fault,
            moment(one[0].start),
            *(duration(longest(one, what)) for what in ("writes", "reads")),
        )
        for one in sorted(worst, key=lambda one: one[0].start)
    ]
    shown = _table(("fault", "from", "writes", "reads"), rows)
    left = len(together) - len(rows)
    return f"{shown}\n\nThe {_ROWS} longest; {left:,} shorter ones are in the report." if left > 0 else shown


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _text(text: str) -> str:
    """Escape text for Markdown. Zero-width spaces prevent links and mentions."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|~&])", r"\\\1", _line(text))
    for sign, apart in (("://", ":\u200b//"), ("www.", "www\u200b."), ("@", "@\u200b"), ("#", "#\u200b")):
        escaped = escaped.replace(sign, apart)
    return escaped


def _line(text: str) -> str:
    """One printable line of bounded length."""
    return shortened(printable(text), _LETTERS)
