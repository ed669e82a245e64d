"""The result as a comment on a pull request: the verdict, what failed and why, and the figures in one table each."""

from __future__ import annotations

from volstore.drill.record import Result
from volstore.drill.report.figures import summary


def markdown(result: Result) -> str:
    """GitHub's Markdown. What came from outside is shown as text: it can't make links, tables or HTML."""
    facts = summary(result)
    lines = [f"## Drill {result.scenario}: {'passed' if result.passed else 'FAILED'}", "", result.about, ""]
    lines += ["| promise | held | |", "|---|---|---|"]
    lines += [f"| {one.name} | {'yes' if one.passed else '**no**'} | {one.detail} |" for one in result.checks]
    lines += ["", f"Longest outages: {facts['longest_outage']}; seed {result.seed}; {result.target}"]
    return "\n".join(lines) + "\n"
