"""What is shown while a drill runs: on a terminal, in a file, and not at all."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from volstore.drill.progress import Progress
from volstore.drill.record import Event, Moment, Rate

RATES = {"s1": Rate(120, 0, 0), "s2": Rate(0, 94, 3)}


def moment(at: float, writes: float = 0.0, reads: float = 0.0) -> Moment:
    return Moment(at, RATES, "s1", frozenset({"s2"}), writes, reads)


def plain() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=100), written


def terminal(height: int = 40) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=100, height=height, color_system=None), written


def test_in_a_file_every_event_is_a_line_with_its_time() -> None:
    console, written = plain()
    with Progress(console, "drill leader-kill") as progress:
        progress.phase("starting")
        progress.event(Event(1.0, "phase", "waiting for a steady load"))
        progress.event(Event(4.25, "fault", "kill of s2", "s2"))
    assert written.getvalue().splitlines() == [
        "drill leader-kill",
        "           phase   starting",
        "   1.00 s  phase   waiting for a steady load",
        "   4.25 s  fault   kill of s2",
    ]


def test_in_a_file_rates_come_every_five_seconds_however_often_they_are_told() -> None:
    console, written = plain()
    with Progress(console, "drill") as progress:
        for tenth in range(120):
            progress.tick(moment(tenth / 10))
    rates = [line for line in written.getvalue().splitlines() if " rates " in line]
    assert rates == [
        f"{at:7.2f} s  rates   s1 120/s, s2 0/s (94 refused, 3 unknown) (down); s1 leads" for at in (0.0, 5.0, 10.0)
    ]


def test_a_phase_that_is_told_again_is_not_shown_again() -> None:
    console, written = plain()
    with Progress(console, "drill") as progress:
        progress.phase("judging")
        progress.event(Event(9.0, "phase", "judging"))
    assert written.getvalue().count("judging") == 1


def test_on_a_terminal_it_shows_phase_rates_leader_and_the_outage_so_far() -> None:
    console, written = terminal()
    with Progress(console, "drill leader-kill") as progress:
        progress.event(Event(4.0, "fault", "kill of s2", "s2"))
        progress.event(Event(4.1, "phase", "kill of s2"))
        progress.tick(moment(4.5, writes=0.5, reads=0.1))
    shown = written.getvalue().rsplit("drill leader-kill", 1)[1]
    for words in ("kill of s2", "leads", "broken on purpose", "94", "no writes for 0.5 s"):
        assert words in shown
    assert "no reads" not in shown


def test_the_longest_silence_stays_in_sight_until_the_next_fault() -> None:
    console, written = terminal()
    with Progress(console, "drill") as progress:
        progress.tick(moment(1.0, writes=0.8))
        progress.tick(moment(2.0, writes=0.0))
        assert "writes 0.80 s" in written.getvalue().rsplit("drill", 1)[1]
        progress.event(Event(3.0, "fault", "kill of s2", "s2"))
        assert "writes 0.00 s" in written.getvalue().rsplit("drill", 1)[1]


def test_a_terminal_has_its_cursor_back_when_the_drill_breaks_off() -> None:
    console, written = terminal()

    def interrupted() -> None:
        with Progress(console, "drill") as progress:
            progress.tick(moment(1.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert written.getvalue().rindex(shown) > written.getvalue().rindex(hidden)


def test_without_a_console_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(None, "drill") as progress:
        progress.phase("starting")
        progress.event(Event(1.0, "fault", "kill of s1", "s1"))
        progress.tick(moment(2.0))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("make", [plain, terminal])
def test_what_others_wrote_does_not_steer_the_terminal(make: Callable[[], tuple[Console, io.StringIO]]) -> None:
    console, written = make()
    with Progress(console, "drill") as progress:
        progress.event(Event(1.0, "note", "said: \x1b]0;mine\x07 [bold]x[/bold]"))
        progress.phase("\x1b[2J")
    assert "\x1b]0;" not in written.getvalue()
    assert "\x1b[2J" not in written.getvalue()
    assert "[bold]x[/bold]" in written.getvalue()
