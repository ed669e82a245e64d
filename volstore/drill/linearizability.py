"""Is a history linearizable? Wing and Gong's search with Lowe's memory, over one object's operations at a time.

Pure: the simulator judges the histories of simulated nodes with it, the drills those of real ones.
(J. Wing, C. Gong, "Testing and verifying concurrent objects", 1993; G. Lowe, "Testing for linearizability", 2017.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client on one object, between two instants of any one clock.

    `end` None: no answer came, so that it may have taken effect at any time after `start`, or never; `output` then
    says nothing. Operations that are known to have had no effect are left out of a history.
    """

    start: float
    end: float | None
    input: Any
    output: Any = None


Step = Callable[[Hashable, Any, Any, bool], tuple[bool, Hashable]]
"""`step(state, input, output, answered)`: whether the object could answer so in that state, and its next state."""


class TooManyStates(Exception):
    """The search was given up; nothing is known of the history."""


def register(state: Hashable, input: Any, output: Any, answered: bool) -> tuple[bool, Hashable]:
    """A register that may be empty (None): ("write", v) → True; ("delete",) → whether there was anything;
    ("cas", old, new) → whether it happened; ("read",) → the value."""
    kind = input[0]
    if kind == "read":
        return not answered or output == state, state
    if kind == "write":
        return True, input[1]
    if kind == "delete":
        return not answered or output == (state is not None), None
    if kind == "cas":
        happens = state == input[1]
        return not answered or output == happens, input[2] if happens else state
    raise ValueError(f"{kind!r} is no operation of a register")


def linearizable(
    history: Sequence[Operation], step: Step, initial: Hashable = None, *, limit: int = 500_000
) -> list[Operation] | None:
    """None if there is an order of the operations that explains all answers, else the longest explained beginning.

    An operation may be placed next if it began before every operation that is still to be placed had ended. What
    uses up the fewest unanswered operations is tried first; a way that reaches the same answered operations and the
    same state with no fewer of them than one before is not followed. Raises TooManyStates after `limit` steps.
    """
    operations = sorted(history, key=lambda operation: operation.start)
    ends = [operation.end if operation.end is not None else float("inf") for operation in operations]
    must = sum(1 << i for i, operation in enumerate(operations) if operation.end is not None)
    start = _Place(0, initial, 0, None, -1)
    ways: list[tuple[int, int, int, _Place]] = [(0, 0, 0, start)]
    seen: dict[tuple[int, Hashable], list[int]] = {}
    best = (0, start)
    steps = 0
    while ways:
        _used, _placed, _order, place = heappop(ways)
        for i, state in _next(operations, ends, place, step):
            done = place.done | 1 << i
            used, count = done & ~must, done.bit_count()
            if done & must == must:
                return None
            known = seen.setdefault((done & must, state), [])
            if any(fewer & ~used == 0 for fewer in known):
                continue
            known.append(used)
            steps += 1
            if steps > limit:
                raise TooManyStates(f"{len(operations)} operations took more than {limit} steps")
            first = place.first
            while done >> first & 1:
                first += 1
            after = _Place(done, state, first, place, i)
            best = max(best, (count, after), key=lambda pair: pair[0])
            # The one that ends first is most often the right one.
            heappush(ways, (used.bit_count(), -count, -steps, after))
    return None if not must else best[1].way(operations)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the search stands: a bit for each operation placed, the state, and all before `first` are placed."""

    done: int
    state: Hashable
    first: int
    before: _Place | None
    last: int

    def way(self, operations: list[Operation]) -> list[Operation]:
        way: list[Operation] = []
        place: _Place | None = self
        while place is not None and place.before is not None:
            way.append(operations[place.last])
            place = place.before
        return way[::-1]


def _next(operations: list[Operation], ends: list[float], place: _Place, step: Step) -> list[tuple[int, Hashable]]:
    """What may be placed now, with the state that it leads to; what ends last comes first."""
    found: list[tuple[int, Hashable]] = []
    horizon = float("inf")
    for i in range(place.first, len(operations)):
        if place.done >> i & 1:
            continue
        operation = operations[i]
        if operation.start > horizon:
            break
        horizon = min(horizon, ends[i])
        answered = operation.end is not None
        fits, state = step(place.state, operation.input, operation.output, answered)
        if fits and (answered or state != place.state):
            found.append((i, state))
    found = [(i, state) for i, state in found if operations[i].start <= horizon]
    return sorted(found, key=lambda choice: -ends[choice[0]])
