"""The checker itself: it accepts what a register can do, and nothing else."""

from __future__ import annotations

import itertools
import random

import pytest

from volstore.drill.linearizability import Operation, TooManyStates, linearizable, register


def write(start: float, end: float | None, value: object) -> Operation:
    return Operation(start, end, ("write", value), True)


def read(start: float, end: float | None, value: object) -> Operation:
    return Operation(start, end, ("read",), value)


GOOD = {
    "nothing happened": [],
    "one after the other": [write(0, 1, "a"), read(2, 3, "a"), write(4, 5, "b"), read(6, 7, "b")],
    "a read beside a write may see it": [write(0, 10, "a"), read(1, 2, "a")],
    "a read beside a write may miss it": [write(0, 10, "a"), read(1, 2, None)],
    "writes beside each other take any order": [write(0, 10, "a"), write(0, 10, "b"), read(11, 12, "a")],
    "a write without an answer may have happened": [write(0, None, "a"), read(5, 6, "a")],
    "a write without an answer may never happen": [write(0, None, "a"), read(5, 6, None)],
    "a write without an answer may happen late": [write(0, None, "a"), read(5, 6, None), read(7, 8, "a")],
    "a deletion says whether there was anything": [
        write(0, 1, "a"),
        Operation(2, 3, ("delete",), True),
        Operation(4, 5, ("delete",), False),
    ],
    "a lost deletion explains an empty register": [
        write(0, 1, "a"),
        Operation(2, None, ("delete",)),
        read(4, 5, None),
    ],
    "a comparison that fails changes nothing": [
        write(0, 1, "a"),
        Operation(2, 3, ("cas", "b", "c"), False),
        read(4, 5, "a"),
    ],
}
BAD = {
    "a read from the past": [write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")],
    "a read of nothing ever written": [read(0, 1, "a")],
    "a read of a write that hasn't begun": [read(0, 1, "a"), write(2, 3, "a")],
    "reads that go back": [write(0, 10, "a"), read(1, 2, "a"), read(3, 4, None)],
    "an acknowledged write that is lost": [write(0, 1, "a"), read(2, 3, None)],
    "a write that happened twice": [write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "b"), read(6, 7, "a")],
    "a write that took effect before it began": [read(0, 1, "b"), write(2, None, "b")],
    "two that both won a comparison": [
        Operation(0, 9, ("cas", None, "a"), True),
        Operation(0, 9, ("cas", None, "b"), True),
    ],
    "two observers that disagree on the order": [
        write(0, 10, "a"),
        write(0, 10, "b"),
        read(11, 12, "a"),
        read(13, 14, "b"),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_register_can_do_is_accepted(name: str) -> None:
    assert linearizable(GOOD[name], register) is None


@pytest.mark.parametrize("name", BAD)
def test_what_no_register_can_do_is_refused(name: str) -> None:
    assert linearizable(BAD[name], register) is not None


def brute_force(history: list[Operation]) -> bool:
    """Every subset with all answered ones, in every order."""
    lost = [o for o in history if o.end is None]
    answered = [o for o in history if o.end is not None]
    for kept in itertools.product((False, True), repeat=len(lost)):
        chosen = answered + [o for o, keep in zip(lost, kept, strict=True) if keep]
        for order in itertools.permutations(chosen):
            if any(b.end is not None and b.end < a.start for i, a in enumerate(order) for b in order[i + 1 :]):
                continue
            state: object = None
            for operation in order:
                fits, state = register(state, operation.input, operation.output, operation.end is not None)
                if not fits:
                    break
            else:
                return True
    return False


def test_it_agrees_with_trying_every_order() -> None:
    draw = random.Random(11)
    verdicts = set()
    for _ in range(1500):
        history = []
        for _ in range(draw.randint(1, 5)):
            start = draw.randint(0, 8)
            end = None if draw.random() < 0.2 else start + draw.choice((0.5, 1.5, 4.5))
            kind = draw.choice(("read", "write", "delete", "cas"))
            value, other = draw.choice(("a", "b", None)), draw.choice(("a", "b"))
            if kind == "read":
                history.append(Operation(start, end, ("read",), value))
            elif kind == "write":
                history.append(Operation(start, end, ("write", other), True))
            elif kind == "delete":
                history.append(Operation(start, end, ("delete",), draw.random() < 0.5))
            else:
                history.append(Operation(start, end, ("cas", value, other), draw.random() < 0.5))
        expected = brute_force(history)
        assert (linearizable(history, register) is None) == expected, history
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_many_lost_writes_don_t_make_it_slow() -> None:
    history = [write(i, None, i) for i in range(30)]
    history += [read(100 + i, 100 + i + 0.5, 7 + i) for i in range(20)]
    assert linearizable(history, register) is None
    assert linearizable([*history, read(200, 201, 7)], register) is not None


def test_a_search_without_end_is_given_up() -> None:
    history = [write(0, 100, i) for i in range(24)] + [read(101, 102, "never")]
    with pytest.raises(TooManyStates):
        linearizable(history, register, limit=1000)
