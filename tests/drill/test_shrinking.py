"""What is shown of a broken history is broken by itself, is short, and holds what is wrong."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from volstore.drill.linearizability import Operation
from volstore.drill.shrinking import Known, explained, shrink


def simulated(seed: int, count: int) -> list[Known[int]]:
    """A history that a register really had: operations take effect one by one, within times that overlap."""
    random = Random(seed)
    state: str | None = None
    history = []
    for number in range(count):
        start, end = number - 3 * random.random(), number + 3 * random.random()
        lost = random.random()
        kind = random.choice(("write", "read", "read", "delete"))
        if kind == "read":
            operation = Operation(start, end, ("read",), state)
        elif lost < 0.1:
            operation = Operation(start, None, ("write", f"v{number}") if kind == "write" else ("delete",))
        else:
            output = True if kind == "write" else state is not None
            answered = end if lost > 0.25 else None
            operation = Operation(
                start,
                answered,
                ("write", f"v{number}") if kind == "write" else ("delete",),
                output if answered is not None else None,
            )
            state = f"v{number}" if kind == "write" else None
        history.append(Known(operation, number))
    return history


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_what_a_register_really_did_is_explained(seed: int, count: int) -> None:
    assert explained(simulated(seed, count))


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 30), draw=st.integers(0, 2**32))
def test_the_one_read_that_is_wrong_is_always_shown(seed: int, count: int, draw: int) -> None:
    """Without it all is explained: whatever was taken away, if rightly, leaves it there."""
    history = simulated(seed, count)
    reads = [place for place, known in enumerate(history) if known.operation.input == ("read",)]
    if not reads:
        return
    place = reads[draw % len(reads)]
    values = [None, *(known.operation.input[1] for known in history if known.operation.input[0] == "write")]
    wrong = replace(history[place].operation, output=Random(draw).choice(values))
    history[place] = Known(wrong, history[place].source)
    if explained(history):
        return
    left = shrink(history)
    assert place in left
    assert len(left) <= len(history)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 30), draw=st.integers(0, 2**32))
def test_a_deregister_that_found_nothing_and_should_have_is_always_shown(seed: int, count: int, draw: int) -> None:
    history = simulated(seed, count)
    deletes = [n for n, known in enumerate(history) if known.operation.input == ("delete",) and known.operation.output]
    if not deletes:
        return
    place = deletes[draw % len(deletes)]
    history[place] = Known(replace(history[place].operation, output=False), history[place].source)
    if explained(history):
        return
    # It did happen, so that others may be wrong without it; but then something is shown at least.
    assert shrink(history)


def test_of_a_long_history_only_what_is_wrong_is_left() -> None:
    history = []
    for number in range(40):
        history.append(Known(Operation(3 * number, 3 * number + 1, ("write", f"v{number}"), True), f"write {number}"))
        value = f"v{number}" if number != 30 else "v28"
        history.append(Known(Operation(3 * number + 1.5, 3 * number + 2, ("read",), value), f"read {number}"))
    assert shrink(history) == ["write 30", "read 30"] or shrink(history) == ["write 28", "write 30", "read 30"]


def test_a_lost_write_is_shown_as_the_write_and_the_read_that_misses_it() -> None:
    history = [
        Known(Operation(0, 1, ("write", "v1"), True), "v1"),
        Known(Operation(2, 3, ("read",), "v1"), "read v1"),
        Known(Operation(4, 5, ("delete",), True), "delete"),
        Known(Operation(6, 7, ("write", "v2"), True), "v2"),
        Known(Operation(6.5, None, ("write", "v3")), "v3"),
        Known(Operation(8, 9, ("read",), None), "read none"),
    ]
    assert shrink(history) == ["v2", "read none"]
