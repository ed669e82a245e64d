"""A register's body of mere texts is read in one pass, to the very volumes that the table of kinds reads from it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from volstore.http.endpoints.volume_body import REGISTER, VOLUME, _read_plainly
from volstore.http.json.reader import InvalidBody, read_json

NAMES = [*VOLUME.members, "id", "Other", "Name "]
TEXTS = ["", "v", "a:b", ":", "x" * 256, "x" * 257, "x" * 1024, "x" * 1025, "é", "\x7f", "\u2028", 'a"b', "a\\b", "\n"]

texts = st.sampled_from(TEXTS) | st.text(max_size=5)
values = texts.map(lambda text: json.dumps(text, ensure_ascii=False)) | st.sampled_from(
    ['"\x01"', '"\\u0041"', "null", "true", "5", "1.0", "[]", "{}", '{"a":"b"}', '"open']
)
objects = st.lists(st.tuples(st.sampled_from(NAMES), values, st.sampled_from(["", " ", "\n"])), max_size=6).map(
    lambda members: "{" + ",".join(f'"{name}"{space}:{value}' for name, value, space in members) + "}"
)
plain = st.lists(st.tuples(st.sampled_from(["ID", "Name", "PluginID"]), texts), max_size=4).map(
    lambda members: "{" + ",".join(f'"{name}":{json.dumps(text)}' for name, text in members) + "}"
)
bodies = st.builds(
    lambda volumes, more: ('{"Volumes":[' + ",".join(volumes) + "]" + more + "}").encode(),
    st.lists(objects | plain, max_size=3),
    st.sampled_from(["", "", "", ',"Volumes":[]', ',"Other":[]', ',"Other":1', " "]),
)


def by_the_table(body: bytes) -> object:
    try:
        return read_json(body, REGISTER)
    except InvalidBody as error:
        return error.text


@given(bodies)
@example(b'{"Volumes":[{"ID" :"a","ID":":"}]}')
@example(b'{"Volumes":[{"ID":"a"}],"Volumes":[{"ID":"b"}]}')
def test_what_is_read_plainly_is_what_the_table_reads(body: bytes) -> None:
    found = _read_plainly(body)
    if found is not None:
        assert found == by_the_table(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Volumes":[{"ID":"v"}]}',
        b' { "Volumes" : [ {"ID" : "v", "Name":""} , {"PluginID":"p","ID":"w"} ] }\n',
        json.dumps({"Volumes": [dict.fromkeys(NAMES[:6], "x"), {"ExternalID": "x" * 1024, "ID": "v" * 1024}]}).encode(),
    ],
)
def test_texts_alone_are_read_plainly(body: bytes) -> None:
    assert _read_plainly(body) == by_the_table(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"Volumes":[]}',
        b'{"Volumes":[{}]}',
        b'{"Volumes":[{"Name":"v"}]}',
        b'{"Volumes":[null]}',
        b'{"Volumes":[{"ID":"v","Name":null}]}',
        b'{"Volumes":[{"ID":"v","Secrets":{}}]}',
        b'{"Volumes":[{"ID":"v","Other":"x"}]}',
        b'{"Volumes":[{"ID":"v","ID":"v"}]}',
        b'{"Volumes":[{"ID":"v"}],"Other":[]}',
        b'{"Other":[{"ID":"v"}]}',
        b'{"Volumes":[{"ID":"a:b"}]}',
        b'{"Volumes":[{"ID":"v\\n"}]}',
        b'{"Volumes":[{"ID":"v\x7f"}]}',
        b'{"Volumes":[{"ID":"v\x01"}]}',
        '{"Volumes":[{"ID":"é"}]}'.encode(),
        b'{"Volumes":[{"ID":"v","PluginID":"' + b"x" * 257 + b'"}]}',
        b'{"Volumes":[{"ID":"v","Name":"' + b"x" * 1025 + b'"}]}',
        b'{"Volumes":[{"ID":"v"}]} x',
        b'{"Volumes":[{"ID":"v"}',
        b'{"ID":"v"}',
    ],
)
def test_anything_else_is_left_to_the_table(body: bytes) -> None:
    assert _read_plainly(body) is None
