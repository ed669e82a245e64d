"""The report as one self-contained HTML page: its sections, and their order."""

from __future__ import annotations

from importlib.resources import files

from volstore.drill.record import Result
from volstore.drill.report import experience, sections
from volstore.drill.report.markup import Markup, join, tag

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The browser loads nothing for this page, whatever it contains; the empty icon prevents a request for one."""


def html(result: Result) -> str:
    """One file without network or script.

    Text from outside is escaped; the size is bounded, however long the drill ran.
    """
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
"""Broken nodes are hatched, so that the charts can be read without colours."""


def _style() -> str:
    return files(__package__).joinpath("style.css").read_text("utf-8")
