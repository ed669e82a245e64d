"""Checks whether a history is linearizable, by Wing and Gong's search with Lowe's memoization, object by object.

Pure: the simulator checks histories of simulated nodes with it, drills those of real nodes.
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

    `end` None: no answer came; the operation may have taken effect at any time after `start`, or never, and `output`
    means nothing. A history omits operations that are known to have had no effect.
    """

    start: float
    end: float | None
    input: Any
    output: Any = None


Step = Callable[[Hashable, Any, Any, bool], tuple[bool, Hashable]]
"""`step(state, input, output, answered)`: whether the object could give this output in that state; and its next
state."""


class TooManyStates(Exception):
    """The search was given up; the history is undecided."""


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
    """None if some order of the operations explains all answers, otherwise the longest prefix that can be explained.

    An operation may be placed next if it began before the end of every operation that is not placed yet. The search
    tries orders with the fewest unanswered operations first. It prunes an order that reaches the same answered
    operations and the same state as an earlier one with no fewer unanswered operations. Raises TooManyStates after
    `limit` steps.
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
            # The operation that ends first is usually the right one.
            heappush(ways, (used.bit_count(), -count, -steps, after))
    return None if not must else best[1].way(operations)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A node of the search: a bit for each placed operation, and the state.

    All operations before `first` are placed.
    """

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
    """The operations that may be placed next, with the states that follow; those that end last come first."""
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
