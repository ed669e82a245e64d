"""What a person sees while a drill runs: phase, rates per node, who leads, and how long the outage is so far."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from volstore.drill.record import Event, Moment

_PLAIN_INTERVAL = 5.0
"""Seconds between two lines of rates where nothing can be redrawn."""
_SHOWN_EVENTS = 8
_NOTICEABLE = 0.25
"""Seconds without an answer from which on it is shown as an outage."""


class Progress:
    """Redrawn in place on a terminal, plain lines elsewhere, nothing at all without a console (`--json`).

    It draws only when it is told something, so that it needs no thread; call `tick` some times a second.
    """

    def __init__(self, console: Console | None, title: str) -> None:
        self._console = console
        self._title = title
        self._phase = ""
        self._moment: Moment | None = None
        self._events: list[Event] = []
        self._worst = {"writes": 0.0, "reads": 0.0}
        self._next_line = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console is not None and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        else:
            self._print(Text(self._title))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, text: str) -> None:
        """What the drill is doing from now on."""
        if text == self._phase:
            return
        self._phase = text
        self._draw(Text.assemble("phase  ", text))

    def event(self, event: Event) -> None:
        """Something happened; the last few stay in sight."""
        if event.what == "phase":
            self.phase(event.text)
            return
        if event.what == "fault":
            self._worst = {"writes": 0.0, "reads": 0.0}
        self._events = [*self._events, event][-_SHOWN_EVENTS:]
        self._draw(_event(event))

    def tick(self, moment: Moment) -> None:
        """How the load goes now."""
        self._moment = moment
        self._worst["writes"] = max(self._worst["writes"], moment.write_silence)
        self._worst["reads"] = max(self._worst["reads"], moment.read_silence)
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif moment.at >= self._next_line:
            self._next_line = moment.at + _PLAIN_INTERVAL
            self._print(self._rates_line(moment))

    def _draw(self, line: Text) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        else:
            self._print(line)

    def _print(self, line: Text) -> None:
        if self._console is not None:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _picture(self) -> Group:
        parts: list[Text | Table] = [Text.assemble((self._title, "bold"), "  ", self._phase)]
        if self._moment is not None:
            parts.append(_rates(self._moment))
            parts.append(self._outage(self._moment))
        parts.extend(_event(event) for event in self._events)
        return Group(*parts)

    def _outage(self, moment: Moment) -> Text:
        text = Text()
        for what, silence in (("writes", moment.write_silence), ("reads", moment.read_silence)):
            if silence >= _NOTICEABLE:
                text.append(f"no {what} for {silence:.1f} s  ", style="bold red")
        text.append(
            f"longest since the last fault: writes {self._worst['writes']:.2f} s, reads {self._worst['reads']:.2f} s"
        )
        return text

    def _rates_line(self, moment: Moment) -> Text:
        rates = ", ".join(
            f"{name} {rate.done:.0f}/s"
            + (f" ({rate.refused:.0f} refused, {rate.unknown:.0f} unknown)" if rate.refused or rate.unknown else "")
            + (" (down)" if name in moment.down else "")
            for name, rate in moment.rates.items()
        )
        return Text(f"{moment.at:7.2f} s  leader {moment.leader or 'none'}; {rates}")


def _event(event: Event) -> Text:
    style = {"fault": "red", "heal": "green", "leader": "cyan"}.get(event.what, "")
    return Text.assemble(f"{event.at:7.2f} s  ", (f"{event.what:<6} ", style), event.text)


def _rates(moment: Moment) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("node")
    for heading in ("done/s", "refused/s", "unknown/s"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for name, rate in moment.rates.items():
        state = "down" if name in moment.down else "leader" if name == moment.leader else ""
        table.add_row(name, f"{rate.done:.0f}", f"{rate.refused:.0f}", f"{rate.unknown:.0f}", Text(state))
    return table
