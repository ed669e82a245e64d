"""The report of a drill: an HTML page, a comment for a pull request, and figures for programs."""

from __future__ import annotations

from volstore.drill.report.figures import summary
from volstore.drill.report.markdown import markdown
from volstore.drill.report.page import html

__all__ = ["html", "markdown", "summary"]
