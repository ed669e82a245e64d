"""Shows a running drill: its phase, the rates of each node, the leader, and the length of the current outage."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from volstore.drill.record import Event, Moment
from volstore.text import printable

_PLAIN_INTERVAL = 5.0
"""Seconds between two lines of rates when the output is no terminal."""
_SHOWN_EVENTS = 8
_NOTICEABLE = 0.25
"""Seconds without an answer that count as an outage."""
_STYLES = {"fault": "bold red", "heal": "green", "leader": "magenta", "note": "yellow"}


class Progress:
    """Redraws in place on a terminal and prints lines otherwise; without a console (`--json`) it prints nothing.

    It needs no thread, because it only draws when called; call `tick` several times per second.
    """

    def __init__(self, console: Console | None, title: str) -> None:
        self._console = console
        self._title = title
        self._phase = ""
        self._moment: Moment | None = None
        self._events: list[Event] = []
        self._longest = {"writes": 0.0, "reads": 0.0}
        """Silences since the last fault, in seconds."""
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
        """Show a new phase."""
        self._begin(text, None)

    def event(self, event: Event) -> None:
        """Show an event. The last few stay visible."""
        if event.what == "phase":
            self._begin(event.text, event.at)
            return
        if event.what == "fault":
            self._longest = {"writes": 0.0, "reads": 0.0}
        self._events = [*self._events, event][-_SHOWN_EVENTS:]
        self._draw(_line(event.at, event.what, event.text))

    def tick(self, moment: Moment) -> None:
        """Show the current rates of the load."""
        self._moment = moment
        self._longest["writes"] = max(self._longest["writes"], moment.write_silence)
        self._longest["reads"] = max(self._longest["reads"], moment.read_silence)
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif moment.at >= self._next_line:
            self._next_line = moment.at + _PLAIN_INTERVAL
            self._print(_line(moment.at, "rates", _in_one_line(moment)))

    def _begin(self, phase: str, at: float | None) -> None:
        if phase != self._phase:
            self._phase = phase
            self._draw(_line(at, "phase", phase))

    def _draw(self, line: Text) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        else:
            self._print(line)

    def _print(self, line: Text) -> None:
        if self._console is not None:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _picture(self) -> Group:
        parts: list[Text | Table] = [Text.assemble((self._title, "bold"), "\n", (printable(self._phase), "cyan"))]
        if self._moment is not None:
            parts += [_rates(self._moment), self._outage(self._moment)]
        parts += [_line(event.at, event.what, event.text) for event in self._events]
        return Group(*parts)

    def _outage(self, moment: Moment) -> Text:
        """The current silence, and the longest one since the last fault."""
        now = [
            f"no {what} for {silence:.1f} s"
            for what, silence in (("writes", moment.write_silence), ("reads", moment.read_silence))
            if silence >= _NOTICEABLE
        ]
        text = Text(f"{', '.join(now) or 'answering'}\n", style="bold red" if now else "")
        writes, reads = self._longest["writes"], self._longest["reads"]
        said = f"longest silence since the last fault: writes {writes:.2f} s, reads {reads:.2f} s\n"
        return text.append(said, style="not bold default")


def _line(at: float | None, what: str, text: str) -> Text:
    when = " " * 9 if at is None else f"{at:7.2f} s"
    return Text.assemble(f"{when}  ", (f"{what:<6}", _STYLES.get(what, "")), f"  {printable(text)}")


def _in_one_line(moment: Moment) -> str:
    rates = []
    for name, rate in moment.rates.items():
        missed = f" ({rate.refused:.0f} refused, {rate.unknown:.0f} unknown)" if rate.refused or rate.unknown else ""
        rates.append(f"{name} {rate.done:.0f}/s{missed}{' (down)' if name in moment.down else ''}")
    return f"{', '.join(rates)}; {moment.leader or 'nobody'} leads"


def _rates(moment: Moment) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("node")
    for heading in ("done/s", "refused/s", "unknown/s"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for name, rate in moment.rates.items():
        state = (
            Text("broken on purpose", "red")
            if name in moment.down
            else Text("leads" if name == moment.leader else "", "magenta")
        )
        table.add_row(Text(name), f"{rate.done:.0f}", f"{rate.refused:.0f}", f"{rate.unknown:.0f}", state)
    return table
