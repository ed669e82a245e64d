"""The smallest part of a volume's history that still can't be explained, found by taking away what it doesn't need.

What is taken away must not make the rest unexplainable by itself: reads may always go; the end of the history may
go; its beginning, if the register may then hold anything at first; a write only along with the reads that saw it, and
only where no deregister depends on whether something was there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from volstore.drill.linearizability import Operation, TooManyStates, linearizable, register

T = TypeVar("T")

_ANYTHING = "\0anything"
"""The state of a register of which nothing is known yet."""
LIMIT = 100_000
"""Steps of a search before it is given up: some seconds. Those of real drills take about one for each operation."""


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """An operation on one volume, and whatever stands for it where it is shown. ("forget",) is a delete of which it
    isn't looked at whether it found anything."""

    operation: Operation
    source: T


def explained(history: Sequence[Known[T]]) -> bool:
    """Whether an order of the operations explains all answers about a volume that wasn't there at first.

    Raises TooManyStates.
    """
    return linearizable([known.operation for known in history], _step, limit=LIMIT) is None


def _step(state: Hashable, input: Any, output: Any, answered: bool) -> tuple[bool, Hashable]:
    if input[0] == "forget":
        return True, None
    if state == _ANYTHING and input[0] == "read":
        return True, output if answered else state
    if state == _ANYTHING and input[0] == "delete":
        return True, None
    return register(state, input, output, answered)


def shortest(history: Sequence[Known[T]]) -> list[T]:
    """The sources of what remains of a `history` that is not explained, in the order of their starts."""
    left = _cut_end(sorted(history, key=lambda known: known.operation.start))
    left, free = _cut_beginning(left)
    left = _loosen(left, free)
    smaller = True
    while smaller:
        smaller = False
        for known in left:
            rest = _without(left, known)
            if rest is not None and rest != left and _broken(rest, free):
                left, smaller = rest, True
                break
    return [known.source for known in left]


def _broken(history: Sequence[Known[T]], free: bool) -> bool:
    """Whether it is known not to be explained: what takes too long to search isn't."""
    operations = [known.operation for known in history]
    try:
        return linearizable(operations, _step, _ANYTHING if free else None, limit=LIMIT) is not None
    except TooManyStates:
        return False


def _cut_end(history: list[Known[T]]) -> list[Known[T]]:
    """Up to the first answer with which it is broken: what was not answered by then counts as unanswered."""

    def until(instant: float) -> list[Known[T]]:
        begun = (known for known in history if known.operation.start < instant)
        return _unanswered_unless(begun, lambda operation: operation.end is not None and operation.end <= instant)

    ends = sorted(known.operation.end for known in history if known.operation.end is not None)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _broken(until(ends[middle]), False):
            high = middle
        else:
            low = middle + 1
    cut = until(ends[low])
    return cut if _broken(cut, False) else list(history)


def _cut_beginning(history: list[Known[T]]) -> tuple[list[Known[T]], bool]:
    """Without what was answered early, if the rest is broken whatever the volume was before.

    What had begun by then may have happened before what is left out, and then says nothing of the rest.
    """

    def since(instant: float) -> list[Known[T]]:
        left = (known for known in history if known.operation.end is None or known.operation.end > instant)
        return _unanswered_unless(left, lambda operation: operation.start > instant)

    ends = sorted(known.operation.end for known in history if known.operation.end is not None)
    best: list[Known[T]] | None = None
    low, high = 0, len(ends) - 1
    while low <= high:
        middle = (low + high) // 2
        if _broken(rest := since(ends[middle]), True):
            best, low = rest, middle + 1
        else:
            high = middle - 1
    return (best, True) if best is not None else (history, False)


def _unanswered_unless(history: Iterable[Known[T]], stays: Callable[[Operation], bool]) -> list[Known[T]]:
    """What does not stay as it is may have happened or not; reads that may not have, say nothing."""
    return [
        known if stays(known.operation) else replace(known, operation=replace(known.operation, end=None, output=None))
        for known in history
        if stays(known.operation) or known.operation.input[0] != "read"
    ]


def _loosen(history: list[Known[T]], free: bool) -> list[Known[T]]:
    """Without looking at whether deregisters found something, where that isn't what is wrong."""
    left = list(history)
    for place, known in enumerate(left):
        if known.operation.input == ("delete",) and known.operation.output is not False:
            looser = replace(known, operation=replace(known.operation, input=("forget",), output=None))
            changed = [*left[:place], looser, *left[place + 1 :]]
            if _broken(changed, free):
                left = changed
    return left


def _without(history: list[Known[T]], known: Known[T]) -> list[Known[T]] | None:
    """What is left when one goes, with what must go with it; None where it may not go."""
    input = known.operation.input
    if input[0] == "read" or (input[0] == "delete" and known.operation.output is False):
        return [other for other in history if other is not known]
    if input[0] == "write":
        if any(other.operation.input[0] == "delete" and other.operation.output is not False for other in history):
            return None
        saw = ("read",), input[1]
        return [o for o in history if o is not known and (o.operation.input, o.operation.output) != saw]
    if input[0] == "forget":
        return [o for o in history if o is not known and not _saw_nothing(o)]
    return None


def _saw_nothing(known: Known[T]) -> bool:
    operation = known.operation
    return operation.output is False or (operation.output is None and operation.input == ("read",))
