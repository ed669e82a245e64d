"""The wire format: what real drivers were sent and answered survives it, and garbage is told from messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.node import csi
from volstore.node.protobuf import BOOL, INT, MAP, STRING, Enum, Many, Message, WireError

INNER = Message(text=(1, STRING))
KIND = Enum("UNKNOWN", "FIRST", "SECOND")
EVERYTHING = Message(
    text=(1, STRING),
    number=(2, INT),
    flag=(3, BOOL),
    pairs=(4, MAP),
    kind=(5, KIND),
    inner=(6, INNER),
    texts=(7, Many(STRING)),
    numbers=(8, Many(INT)),
    inners=(16, Many(INNER)),
)
TEXT = st.text(st.characters(codec="utf-8"))
INTEGER = st.integers(-(2**63), 2**63 - 1)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXT.filter(bool),
        "number": INTEGER.filter(bool),
        "flag": st.just(True),
        "pairs": st.dictionaries(TEXT, TEXT, min_size=1),
        "kind": st.sampled_from(["FIRST", "SECOND"]) | st.integers(3, 2**31 - 1),
        "inner": st.just({}) | st.fixed_dictionaries({"text": TEXT.filter(bool)}),
        "texts": st.lists(TEXT, min_size=1),
        "numbers": st.lists(INTEGER, min_size=1),
        "inners": st.lists(st.just({}), min_size=1),
    },
)
GOLDEN = Path(__file__).parent / "wire.jsonl"
"""Made by Google's protobuf (see the file's first line)."""


@given(VALUES)
def test_what_is_encoded_is_decoded(value: dict[str, Any]) -> None:
    assert EVERYTHING.decode(EVERYTHING.encode(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for message in (EVERYTHING, csi.CALLS["CreateVolume"].response, csi.CALLS["ListVolumes"].response):
        try:
            value = message.decode(data)
        except WireError:
            continue
        assert isinstance(value, dict)


@given(VALUES, st.data())
def test_a_cut_message_is_never_taken_for_more_than_its_beginning(value: dict[str, Any], data: st.DataObject) -> None:
    whole = EVERYTHING.encode(value)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        part = EVERYTHING.decode(cut)
    except WireError:
        return
    assert part.keys() <= value.keys()


def test_unknown_fields_of_every_kind_are_skipped() -> None:
    newer = bytes.fromhex("a80601b1060102030405060708ba060161bd0601020304")
    assert EVERYTHING.decode(EVERYTHING.encode({"text": "x"}) + newer) == {"text": "x"}


def test_packed_and_single_numbers_are_the_same() -> None:
    assert EVERYTHING.decode(bytes.fromhex("4203010203")) == EVERYTHING.decode(bytes.fromhex("400140024003"))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("0a", "cut off"),
        ("0a05616263", "cut off"),
        ("08ffffffffffffffffffff01", "more than 64 bits"),
        ("0a01ff", "UTF-8"),
        ("0801", "wire type"),
        ("0b", "wire type 3"),
        ("00", "number 0"),
    ],
)
def test_what_is_no_message_is_refused(data: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        EVERYTHING.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    "value", [{"nosuch": 1}, {"number": 2**63}, {"number": "1"}, {"text": 1}, {"kind": "THIRD"}, {"inner": "x"}]
)
def test_a_value_that_does_not_fit_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        EVERYTHING.encode(value)


def test_googles_bytes_and_ours_mean_the_same() -> None:
    lines = GOLDEN.read_text().splitlines()[1:]
    assert len(lines) >= 40
    for line in lines:
        golden = json.loads(line)
        call = csi.CALLS[golden["call"]]
        message = call.request if golden["part"] == "request" else call.response
        data = bytes.fromhex(golden["hex"])
        assert message.decode(data) == golden["value"]
        assert message.decode(message.encode(golden["value"])) == golden["value"]
        assert len(message.encode(golden["value"])) == len(data)
