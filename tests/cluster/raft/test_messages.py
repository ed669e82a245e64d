"""What a peer may say: each message in its form, and nothing else, whatever a frame can be decoded to."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.node.node import Node
from cluster.raft.messages import KINDS, RAFT, flaw
from tests.cluster.raft.engines import lone_engine

GOOD: list[list[Any]] = [
    ["app", 1, 2, 3, 4, 5, [], None],
    ["app", 1, 2, 3, 4, 5, [[1, b"x"], [2, b"y"]], [7, b"digest"]],
    ["commit", 1, 2],
    ["ack", 1, 2, True, 3],
    ["vote?", 1, 2, 3, True, False],
    ["vote", 1, True, False],
    ["now", 1],
    ["prop", []],
    ["prop", [["p", b"s", 1, 1, b"c"], ["o", "n1", b"s", b""]]],
    ["no", [[b"s", 1]], "why"],
    ["read?", 1],
    ["read", 1, 2],
    ["read", 1, None],
    ["ask", 1, b"question"],
    ["told", 1, b"answer"],
    ["told", 1, None],
    ["snap", 1, 2, 3, 4, 5, b"a", b"b", b"c", b"d"],
    ["snapack", 1, 2, 3, True],
    ["gone", 1, 2],
    ["known?", "n1", b"disk"],
    ["known", 1, "n1", b"disk"],
]
OTHER: list[Any] = [None, True, 1, 1.5, "text", b"bytes", [], {}]


def test_every_kind_is_handled_and_tested_here() -> None:
    assert {frame[0] for frame in GOOD} == set(KINDS)
    assert set(Node._make_handlers(Node.__new__(Node))) == set(KINDS)
    assert set(lone_engine()._handlers) == set(RAFT)


@pytest.mark.parametrize("frame", GOOD, ids=lambda frame: f"{frame[0]}-{len(frame)}")
def test_a_message_in_its_form_has_no_flaw(frame: list[Any]) -> None:
    assert flaw(frame) is None


@pytest.mark.parametrize("frame", GOOD, ids=lambda frame: f"{frame[0]}-{len(frame)}")
def test_a_value_of_another_type_is_refused_in_every_place(frame: list[Any]) -> None:
    allowed = [{type(good[at]) for good in GOOD if good[0] == frame[0]} for at in range(len(frame))]
    for at in range(1, len(frame)):
        for other in OTHER:
            if type(other) not in allowed[at]:
                wrong = [*frame[:at], other, *frame[at + 1 :]]
                assert flaw(wrong) == f"a {frame[0]!r} message of the wrong form"


@pytest.mark.parametrize("frame", GOOD, ids=lambda frame: f"{frame[0]}-{len(frame)}")
def test_a_value_too_few_or_too_many_is_refused(frame: list[Any]) -> None:
    assert flaw(frame[:-1]) == f"a {frame[0]!r} message of the wrong form"
    assert flaw([*frame, 1]) == f"a {frame[0]!r} message of the wrong form"


@pytest.mark.parametrize("kind", ["append", "", 1, -5])
def test_an_unknown_kind_is_refused_by_its_name(kind: Any) -> None:
    assert flaw([kind, 1]) == f"unknown message {kind!r}"


@pytest.mark.parametrize("entry", [*OTHER, [1], [1, b""], [True, b"x"], [1, "x"], [1, b"x", 2], ["1", b"x"]])
def test_an_entry_of_the_wrong_form_is_refused(entry: Any) -> None:
    assert flaw(["app", 1, 2, 3, 4, 5, [[1, b"x"], entry], None]) == "append_entries with an entry of the wrong form"


@pytest.mark.parametrize("mark", [[], [1], [b"d", 1], [1, "d"], [True, b"d"], [1, b"d", 2]])
def test_a_digest_of_the_wrong_form_is_refused(mark: Any) -> None:
    assert flaw(["app", 1, 2, 3, 4, 5, [], mark]) == "append_entries with a digest of the wrong form"


@pytest.mark.parametrize(
    "item",
    [
        *OTHER,
        ["p"],
        ["p", b"s", 1, 1],
        ["p", b"s", True, 1, b"c"],
        ["o", b"n", b"s", b""],
        ["q", b"s"],
        [[], 1],
        [1, 2],
    ],
)
def test_a_proposal_of_the_wrong_form_is_refused(item: Any) -> None:
    assert flaw(["prop", [["p", b"s", 1, 1, b"c"], item]]) == "a proposal of the wrong form"


@pytest.mark.parametrize("pair", [*OTHER, [b"s"], [1, b"s"], [b"s", True], [b"s", 1, 1]])
def test_a_refusal_of_the_wrong_form_is_refused(pair: Any) -> None:
    assert flaw(["no", [[b"s", 1], pair], "why"]) == "a refusal of the wrong form"
