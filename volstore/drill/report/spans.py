"""What lasted: faults from when they were done until they were healed, and who led from when until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from volstore.drill.record import Event


@dataclass(frozen=True, slots=True)
class Span:
    """`number` counts from 1 in the order of the starts, so that charts and tables can name the same one."""

    number: int
    text: str
    nodes: tuple[str, ...]
    """Whom it befell; none: the whole cluster."""
    start: float
    end: float


def faults(events: Iterable[Event], until: float) -> list[Span]:
    """A heal ends the faults whose words it repeats, or else all on its nodes. What isn't healed lasts `until`."""
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
        Span(number + 1, fault.text, fault.befell, fault.at, max(fault.at, ends.get(number, until)))
        for number, fault in enumerate(begun)
    ]


def _reaches(heal: Event, fault: Event) -> bool:
    return not heal.befell or (bool(fault.befell) and set(fault.befell) <= set(heal.befell))


def reigns(events: Iterable[Event], until: float) -> list[Span]:
    """Who led; times without a known leader are left out."""
    changes = sorted((event for event in events if event.what == "leader"), key=lambda event: event.at)
    ends = [*(change.at for change in changes[1:]), until]
    return [
        Span(number + 1, change.text, change.befell, change.at, end)
        for number, (change, end) in enumerate(zip(changes, ends, strict=False))
        if change.node is not None
    ]


def befalls(one: Span, node: str) -> bool:
    return not one.nodes or node in one.nodes
