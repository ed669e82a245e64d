"""The result as one self-contained page."""

from __future__ import annotations

from html import escape

from volstore.drill.record import Result


def html(result: Result) -> str:
    """One file: no network, no script. Everything that came from outside is escaped."""
    verdict = "passed" if result.passed else "failed"
    checks = "".join(f"<li>{escape(one.name)}: {escape(one.detail)}</li>" for one in result.checks)
    title = escape(f"Drill {result.scenario}: {verdict}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><ul>{checks}</ul></html>\n"
    )
