"""A register's body goes straight into structs, to the very volumes that the table of kinds reads from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.bench.bodies import as_go_sends_it
from volstore.http.endpoints.volume_body import _COMPUTED, REGISTER, VOLUME, _typed
from volstore.http.json.reader import InvalidBody, read_json
from volstore.http.json.shape import Object, Text
from volstore.http.json.typed import Typed, Untypable

NAMES = [*VOLUME.members, *_COMPUTED, "id", "Other", "Name ", "Segments", "Required", "FSType"]
TEXTS = ["", "v", "a:b", ":", "x" * 256, "x" * 257, "x" * 1024, "x" * 1025, "é", "\x7f", "\u2028", 'a"b', "a\\b", "\n"]

texts = st.sampled_from(TEXTS) | st.text(max_size=5)
numbers = st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**70, 0.5, 1.0, 1e300])
plain = texts | st.none() | st.booleans() | numbers
nested = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=3),
    max_leaves=6,
)
spelled = st.builds(lambda value, ascii_: json.dumps(value, ensure_ascii=ascii_), nested, st.booleans())
values = spelled | st.sampled_from(
    ['"\x01"', '"\\u0041"', '"\\u003a"', '"\\u003A"', "1.0", "-0", '"open', "NaN", "1e999"]
)
objects = st.lists(st.tuples(st.sampled_from(NAMES), values, st.sampled_from(["", " ", "\n"])), max_size=6).map(
    lambda members: "{" + ",".join(f'"{name}"{space}:{value}' for name, value, space in members) + "}"
)
likely = st.fixed_dictionaries(
    {"ID": texts},
    optional={
        "Namespace": texts | st.none(),
        "Capacity": numbers | st.none(),
        "Topologies": st.none()
        | st.lists(
            st.dictionaries(texts, texts, max_size=2)
            | st.fixed_dictionaries({"Segments": st.none() | texts | st.dictionaries(texts, texts, max_size=2)})
        ),
        "MountOptions": st.none()
        | st.fixed_dictionaries({}, optional={"FSType": texts, "MountFlags": st.lists(texts)}),
        "Secrets": st.none() | st.dictionaries(texts, texts | st.none(), max_size=2),
        "RequestedCapabilities": st.none()
        | st.lists(st.dictionaries(st.sampled_from(["AccessMode", "AttachmentMode", "X"]), texts, max_size=2)),
        "RequestedTopologies": st.none() | st.fixed_dictionaries({}, optional={"Required": st.none(), "X": texts}),
        "ResourceExhausted": st.just("0001-01-01T00:00:00Z"),
        "Schedulable": plain,
    },
).map(json.dumps)
bodies = st.builds(
    lambda volumes, more: ('{"Volumes":[' + ",".join(volumes) + "]" + more + "}").encode(),
    st.lists(objects | likely, max_size=3),
    st.sampled_from(
        [
            "",
            "",
            "",
            ',"Volumes":[]',
            ',"Other":[]',
            ',"Other":1',
            " ",
            ',"Region":"","Namespace":""',
            ',"Namespace":"a"',
            ',"region":"a"',
        ]
    ),
)


def by_the_table(body: bytes) -> object:
    try:
        return read_json(body, REGISTER)
    except InvalidBody as error:
        return error.text


@given(bodies)
@example(b'{"Volumes":[{"ID" :"a","ID":":"}]}')
@example(b'{"Volumes":[{"ID" :"\\u003a","ID":"a"}]}')
@example(b'{"Volumes":[{"ID" :"a"}],"Region":{"a":{}}}')
@example(b'{"Volumes":[{"ID":"a","Name":null,"Name":null}]}')
@example(b'{"Volumes":[{"ID":"a","Secrets":{"k":"v","k":"w"}}]}')
@example(b'{"Volumes":[{"ID":"a","Capacity":null,"Capacity":5}]}')
@example(b'{"Volumes":[{"ID":"a","Topologies":[{"Segments":{"a":"b"},"X":{"a":"b","a":"c"}}]}]}')
@example(b'{"Volumes":[{"ID":"a"}],"Volumes":[{"ID":"b"}]}')
@example(b'{"Volumes":[{"ID":"a"}],"Namespace":"a","Namespace":"b"}')
@example(b'{"Volumes":[{"ID":"a"}],"Namespace":"a"}')
@example(b'{"Volumes":[{"ID":"a","Namespace":"a"}],"Namespace":""}')
@example(b'{"Volumes":[{"ID":"a","namespace":"a"}]}')
@example(b'{"Volumes":[{"ID":"a","namespace":"a","Namespace":"b"}]}')
def test_what_is_read_into_structs_is_what_the_table_reads(body: bytes) -> None:
    found = _typed.read(body)
    if found is not None:
        assert found == by_the_table(body)


@pytest.mark.parametrize(
    "body",
    [
        as_go_sends_it("v"),
        as_go_sends_it("v").replace(b'"x', b'"arn:aws:ec2:\\u0026:x'),
        b'{"Volumes":[{"ID":"v"}]}',
        b'{"Volumes":[{"Name":"v"}]}',
        b'{"Volumes":[{"ID":"v","Namespace":"team"}],"Namespace":""}',
        b'{"Volumes":[{"ID":"v","Secrets":{"a":"b"},"MountOptions":{}}]}',
        b' { "Volumes" : [ {"ID" : "v", "Name":":"} , {"PluginID":"p","ID":"w"} ] }\n',
        json.dumps({"Volumes": [dict.fromkeys(NAMES[:6], "x"), {"ExternalID": "x" * 1024, "ID": "v" * 1024}]}).encode(),
        b'{"Volumes":[{"ID":"v","Topologies":[{"Segments":{"a":"b"}},{"rack":"R1"},{}]}]}',
    ],
)
def test_what_clients_send_is_read_into_structs(body: bytes) -> None:
    found = _typed.read(body)
    assert found is not None
    assert found == by_the_table(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"Volumes":[]}',
        b'{"Volumes":[null]}',
        b'{"Volumes":[{"ID":"v","Other":"x"}]}',
        b'{"Volumes":[{"id":"v"}]}',
        b'{"Volumes":[{"ID":"v"}],"Namespace":"team"}',
        b'{"Volumes":[{"ID":"v","ID":"v"}]}',
        b'{"Volumes":[{"ID":"v","Schedulable":[]}]}',
        b'{"Volumes":[{"ID":"v"}],"Other":[]}',
        b'{"Volumes":[{"ID":"v\\n"}]}',
        b'{"Volumes":[{"ID":"v\x7f"}]}',
        b'{"Volumes":[{"ID":"v\x01"}]}',
        '{"Volumes":[{"ID":"é"}]}'.encode(),
        b'{"Volumes":[{"ID":"v","PluginID":"' + b"x" * 257 + b'"}]}',
        b'{"Volumes":[{"ID":"v","Capacity":9223372036854775808}]}',
        b'{"Volumes":[{"ID":"v","Capacity":1.0}]}',
        b'{"Volumes":[{"ID":"v","Capacity":true}]}',
        b'{"Volumes":[{"ID":"v","Topologies":[{"Segments":{"a":"b"},"X":' + b"[" * 40 + b"]" * 40 + b"}]}]}",
        b'{"Volumes":[{"ID":"v"}]} x',
        b'{"Volumes":[{"ID":"v"}',
        b"[" * 200_000,
    ],
)
def test_anything_else_is_left_to_the_table(body: bytes) -> None:
    assert _typed.read(body) is None


def test_every_member_that_a_struct_drops_is_a_repeat_or_unknown() -> None:
    """The count of colons: one key less in what was decoded is one colon less, whatever the texts have in them."""
    for name in (*VOLUME.members, *_COMPUTED):
        body = json.dumps({"Volumes": [{"ID": "a:b", name: None}]})
        twice = body.replace(f'"{name}": null', f'"{name}": null, "{name}": null')
        assert _typed.read(twice.encode()) is None, name


def test_a_kind_without_a_struct_is_refused_when_it_is_declared() -> None:
    class Anything:
        def read(self, value: object) -> object:
            return value

        def schema(self) -> dict[str, Any]:
            return {}

    with pytest.raises(Untypable):
        Typed("Things", Object(dict, {"A": ("a", Text()), "B": ("b", Anything())}), 10)


def test_both_benches_send_the_same_body() -> None:
    script = (Path(__file__).parents[2] / "bench" / "register.lua").read_text()
    texts = "".join(re.findall(r"'([^']*)'", script[script.index("local before_id") : script.index("local thread")]))
    sent = texts.replace('"ID":"', '"ID":"v', 1).replace('"Name":"', '"Name":"v', 1).replace("\\n", "\n")
    assert sent.replace('"ExternalID":"', '"ExternalID":"x', 1).encode() == as_go_sends_it("v")
