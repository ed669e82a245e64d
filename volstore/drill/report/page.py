"""The result as one self-contained page: what it is made of, and in which order."""

from __future__ import annotations

from importlib.resources import files

from volstore.drill.record import Result
from volstore.drill.report import experience, sections
from volstore.drill.report.markup import Markup, join, tag

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""A browser loads nothing for this page, whatever is in it; the empty icon keeps it from asking for one."""


def html(result: Result) -> str:
    """One file: no network, no script. Whatever came from outside is escaped; size is bounded however long it ran."""
    word = "passed" if result.passed else "failed"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"Drill {result.scenario}: {word}"),
        Markup(f"<style>{_style()}</style>"),
    )
    body = tag(
        "body",
        _PATTERNS,
        tag(
            "main",
            sections.verdict(result),
            sections.promises(result),
            sections.timelines(result),
            experience.outages(result),
            sections.course(result),
            experience.requests(result),
            experience.slowest(result),
            experience.failures(result),
            sections.settings(result),
        ),
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))


_PATTERNS = Markup(
    '<svg width="0" height="0" aria-hidden="true" class="patterns"><defs>'
    '<pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" class="hatch-ground"/><rect width="1.5" height="6" class="hatch-line"/></pattern>'
    "</defs></svg>"
)
"""What is broken is hatched: that can be told apart without colours."""


def _style() -> str:
    return files(__package__).joinpath("style.css").read_text("utf-8")
