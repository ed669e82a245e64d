"""Time spans of events: faults until they were healed, and leaderships."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from volstore.drill.record import Event


@dataclass(frozen=True, slots=True)
class Span:
    """A time span. Charts and tables refer to it by `number`, which counts from 1 in the order of the starts."""

    number: int
    text: str
    nodes: tuple[str, ...]
    """The affected nodes; empty for the whole cluster."""
    start: float
    end: float


def faults(events: Iterable[Event], until: float) -> list[Span]:
    """The faults. A heal ends the faults with its text, otherwise all on its nodes. Unhealed faults last `until`."""
    ends: dict[int, float] = {}
    begun: list[Event] = []
    standing: dict[int, Event] = {}
    for event in sorted(events, key=lambda event: event.at):
        if event.what == "fault":
            standing[len(begun)] = event
            begun.append(event)
        elif event.what == "heal":
            healed = [number for number, fault in standing.items() if _reaches(event, fault)]
            named = [number for number in healed if standing[number].text.startswith(event.text)]
            for number in named or healed:
                ends[number] = event.at
                del standing[number]
    return [
        Span(number + 1, fault.text, fault.affected, fault.at, max(fault.at, ends.get(number, until)))
        for number, fault in enumerate(begun)
    ]


def _reaches(heal: Event, fault: Event) -> bool:
    return not heal.affected or (bool(fault.affected) and set(fault.affected) <= set(heal.affected))


def leaderships(events: Iterable[Event], until: float) -> list[Span]:
    """The leaderships; times without a known leader are omitted."""
    changes = sorted((event for event in events if event.what == "leader"), key=lambda event: event.at)
    ends = [*(change.at for change in changes[1:]), until]
    return [
        Span(number + 1, change.text, change.affected, change.at, end)
        for number, (change, end) in enumerate(zip(changes, ends, strict=False))
        if change.node is not None
    ]


def affects(one: Span, node: str) -> bool:
    return not one.nodes or node in one.nodes
