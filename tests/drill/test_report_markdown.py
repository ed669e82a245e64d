"""The comment that a drill leaves on a pull request."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.drill.recorded import recorded
from tests.drill.results import failed, hostile, long, nothing
from volstore.drill.record import Check
from volstore.drill.report import markdown


def test_a_comment_begins_with_the_verdict_and_has_every_promise() -> None:
    made = markdown(recorded())
    assert made.startswith("## Drill leader-kill: passed ✓\n")
    assert "| promises kept | 11 of 11 |" in made
    for check in recorded().checks:
        assert check.name in made


def test_what_was_broken_stands_before_the_figures_with_its_history() -> None:
    made = markdown(failed(recorded()))
    assert made.startswith("## Drill leader-kill: FAILED ✗\n")
    broken = made.index("**No write lost**: 1 of 200 is gone")
    assert (
        broken < made.index("1.00 s  client 1 at s1  register v1: done (`index 1`)") < made.index("| promises kept |")
    )


def test_a_history_is_shown_as_it_is_and_can_not_end_its_own_block() -> None:
    check = Check("x", False, "", ["```", "````text"])
    made = markdown(replace(recorded(), checks=[check]))
    assert "`````text\n```\n````text\n`````\n" in made


def test_a_long_history_is_cut_and_says_so() -> None:
    assert "… 975 more lines are in the report" in markdown(failed(recorded(), lines=1000))


def test_every_row_has_as_many_cells_as_its_table_whatever_is_in_them() -> None:
    cells = 0
    for row in markdown(hostile()).split("\n"):
        if row.startswith("| ---"):
            cells = row.count("|")
        elif row.startswith("|") and cells:
            assert len(re.findall(r"(?<!\\)\|", row)) == cells, row
        else:
            cells = 0


def test_nothing_that_came_from_outside_becomes_html_a_link_or_a_mention() -> None:
    made = markdown(hostile())
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", made, flags=re.MULTILINE | re.DOTALL)
    ours = outside.replace("<details><summary>", "").replace("</summary>", "").replace("</details>", "")
    assert not re.search(r"(?<!\\)[<>]", ours)
    for sign in ("://", "@all", "#1", "www.x", "\x1b", "\x00"):
        assert sign not in outside


def test_a_comment_about_a_day_of_faults_fits_into_a_comment() -> None:
    made = markdown(failed(long(), lines=10_000))
    assert len(made) < 65_536
    assert "shorter ones are in the report" in made


def test_a_drill_in_which_nothing_came_about_has_a_comment() -> None:
    assert "| requests done | 0 |" in markdown(nothing())
