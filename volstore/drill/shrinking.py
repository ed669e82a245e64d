"""Shrinks a volume's history that can't be explained to a small one that still can't.

A removal must never make the rest unexplainable by itself. So it may remove reads; the end of the history; its
beginning, if the initial value is then unknown; and a write together with the reads that saw it, if no deregister
depends on whether the volume existed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from volstore.drill.linearizability import Operation, TooManyStates, linearizable, register

T = TypeVar("T")

_ANYTHING = "\0anything"
"""The state of a register with an unknown value."""
LIMIT = 100_000
"""Steps before a search is given up: some seconds. Real drills take about one step per operation."""


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """An operation on one volume, and the `source` that represents it in the result.

    ("forget",) is a delete whose output is ignored.
    """

    operation: Operation
    source: T


def explained(history: Sequence[Known[T]]) -> bool:
    """Whether some order of the operations explains all answers about a volume that didn't exist at first.

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


def shrink(history: Sequence[Known[T]]) -> list[T]:
    """The sources of a small part of `history` that can't be explained, in the order of their starts."""
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
    """Whether it certainly can't be explained. A search that takes too long counts as explained."""
    operations = [known.operation for known in history]
    try:
        return linearizable(operations, _step, _ANYTHING if free else None, limit=LIMIT) is not None
    except TooManyStates:
        return False


def _cut_end(history: list[Known[T]]) -> list[Known[T]]:
    """Cut after the first answer that breaks the history. Operations in flight at that time count as unanswered."""

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
    """Remove the early answers, if the rest is broken whatever the volume was before. Returns whether that worked.

    An operation that began before the cut may have happened among the removed ones, so it counts as unanswered.
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
    """Mark every operation that doesn't stay as unanswered, and remove such reads."""
    return [
        known if stays(known.operation) else replace(known, operation=replace(known.operation, end=None, output=None))
        for known in history
        if stays(known.operation) or known.operation.input[0] != "read"
    ]


def _loosen(history: list[Known[T]], free: bool) -> list[Known[T]]:
    """Ignore the output of deregisters where the history is broken without it."""
    left = list(history)
    for place, known in enumerate(left):
        if known.operation.input == ("delete",) and known.operation.output is not False:
            looser = replace(known, operation=replace(known.operation, input=("forget",), output=None))
            changed = [*left[:place], looser, *left[place + 1 :]]
            if _broken(changed, free):
                left = changed
    return left


def _without(history: list[Known[T]], known: Known[T]) -> list[Known[T]] | None:
    """The history without `known` and what depends on it; None if it may not be removed."""
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
