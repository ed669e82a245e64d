"""A drill's result for others to read: a page, a comment on a pull request, and figures for programs."""

from __future__ import annotations

from volstore.drill.report.figures import summary
from volstore.drill.report.markdown import markdown
from volstore.drill.report.page import html

__all__ = ["html", "markdown", "summary"]
