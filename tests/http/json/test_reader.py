"""The quick way of reading JSON takes nothing that the strict one refuses, and reads everything alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from volstore.http.json import reader as json_input
from volstore.http.json.reader import InvalidBody, read_json
from volstore.http.json.shape import Misshapen


class Anything:
    def read(self, value: object) -> object:
        return value

    def schema(self) -> dict[str, Any]:
        return {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)
documents = st.builds(
    lambda value, ascii_, spaced: json.dumps(
        value, ensure_ascii=ascii_, separators=(" , ", " : ") if spaced else (",", ":")
    ).encode(errors="surrogatepass"),
    values,
    st.booleans(),
    st.booleans(),
)
broken = st.builds(
    lambda document, place, piece: document[: place % (len(document) + 1)] + piece + document[place:],
    documents,
    st.integers(0, 60),
    st.sampled_from([b"", b":", b'"', b",", b"{", b"}", b"\\", b"0", b"-", b"\x00", b"\xff", b'"a":1,', b"e9", b" "]),
)


def outcome(body: bytes, quickly: bool) -> tuple[str, object]:
    try:
        read = read_json(body, Anything()) if quickly else json_input._read_strictly(body, Anything())
    except InvalidBody as error:
        return "refused", error.text
    except Misshapen as error:
        return "refused", json_input._told(error).text
    return "read", repr(read)


@given(documents | broken | st.binary(max_size=20))
@example(b'{"a":"1","a":"2"}')
@example(b'{"a" :"1","a":":"}')
@example(b'{"a":{"b":null,"b":null}}')
@example(b'[{"a":1},{"a":1}]')
@example(b'{"a":9223372036854775808}')
@example(b'{"a":-0}')
@example(b'{"a":1e999}')
@example(b'{"a":"\\ud800"}')
@example(b"[" * 5000)
@example(b"[" * 900 + b"]" * 900)
@example(b'\xef\xbb\xbf{"a":1}')
@example(b'{"a":1} {"a":1}')
@example(b'{"a":NaN}')
@example(b'{"a":"\t"}')
@example(b'{"a":01}')
@example(b"")
def test_the_quick_way_reads_and_refuses_as_the_strict_one(body: bytes) -> None:
    assert outcome(body, quickly=True) == outcome(body, quickly=False)


@pytest.mark.parametrize(
    "body", [b'{"Volumes":[{"ID":"a","Secrets":{"k":"v"},"Capacity":5,"Topologies":null}]}', b'{"a" : {}, "b" : []}']
)
def test_common_bodies_go_the_quick_way(body: bytes) -> None:
    assert json_input._read_quickly(body) == json.loads(body)


def test_a_colon_in_a_text_costs_only_time() -> None:
    assert outcome(b'{"a":"b:c"}', quickly=True) == ("read", "{'a': 'b:c'}")
