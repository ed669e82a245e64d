"""HCL 1's grammar and JSON's: what items a text has, and texts made to hurt."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.hcl import json_form, parser
from volstore.hcl.tree import DEEPEST, HclError, Item, Number, Value
from volstore.hcl.volume_file import VolumeFileError, parse


def simple(value: Value) -> Any:
    """A value in fewer brackets: an item is its keys and its value."""
    if isinstance(value, tuple):
        return {" ".join(item.keys): simple(item.value) for item in value}
    if isinstance(value, list):
        return [simple(element) for element in value]
    return float(value.text) if isinstance(value, Number) and value.is_float else value


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", {}),
        ("# only\n// comments /* \n/* of # all\nkinds **/", {}),
        ('a = "x", b = true,\nc = false', {"a": "x", "b": True, "c": False}),
        ("a { b = {}, } c {}", {"a": {"b": {}}, "c": {}}),
        ('"a b" "c" d { e = [] }', {"a b c d": {"e": []}}),
        ("a.b-c.d_ = <<X\nX\n", {"a.b-c.d_": ""}),
        ("ä_1 = .5", {"ä_1": 0.5}),
        ('a = [1.5, "x", true, {b = "c"}, ["d"], <<E\ne\nE\n,]', {"a": [1.5, "x", True, {"b": "c"}, ["d"], "e\n"]}),
        ("a = [,,]", {"a": []}),
        ('a = # why\n "b"', {"a": "b"}),
        ('a =\n\n"b"', {"a": "b"}),
        ('a="b"c="d"', {"a": "b", "c": "d"}),
        ("a{b{c{}}}", {"a": {"b": {"c": {}}}}),
        ('a = "${b "c" {"d"}}${}"', {"a": '${b "c" {"d"}}${}'}),
        ('a = "${b\n}"', {"a": "${b\n}"}),
        ('a = "$$ {} $"', {"a": "$$ {} $"}),
    ],
)
def test_a_text_has_these_items(text: str, items: dict[str, Any]) -> None:
    assert simple(parser.parse(text)) == items
    assert simple(parser.parse(text.replace("\n", "\r\n"))) == items


@pytest.mark.parametrize(
    "text",
    [
        "a", "a b", "= 1", "a =", "a = 1, , b = 2", "a = b", "a = [1 2]", "a = [b]", "a = [", "a {", "a { b = 1", "}",
        "a }", "{}", "a = }", "a b = {}", "a { b }", "1 = 2", "true = 1", "[] = 1", "a = -", "a = 0x", "a = 08",
        "a = 1.2.3", "a = 1e", "a = 1_000", "a = -.5", "a = +1", "a = @", "a / b", "/* *", 'a = "\n"', 'a = "\\',
        'a = "\\400"', 'a = "\\8"', "a = \"\\'\"", 'a = "\\/"', 'a = "${"', 'a = "${\\}"', "a = <<\n\n", "a = <<-\nx\n",
        "a = <E\nE\n", "a = <<E x\nE\n", "a = <<E\nE,\n", "a\0 = 1", "a\f= 1", "a; b", "a: 1", "\ufeffa = 1",
    ],
)  # fmt: skip
def test_what_is_no_hcl_is_refused(text: str) -> None:
    with pytest.raises(HclError):
        parser.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{]", '{"a"}', '{"a":}', '{"a":1,}', "{,}", '{"a":1 "b":2}', '{"a":01}', '{"a":.5}', '{"a":1.}',
        '{"a":+1}', '{"a":1e}', '{"a":NaN}', '{"a":nul}', '{"a":"\n"}', '{"a":"\\x41"}', '{"a":"\\ud800"}', "{} {}",
        "{'a':1}", '{"a":[1,]}', '{"a":[1 2]}', "[]", "1", '{"a":tru', "{\xa0}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(HclError):
        json_form.parse(text)


def test_places_are_those_of_the_names() -> None:
    items = parser.parse('a = 1\r\n\tb "x" {\n  # c\n  "d" = 2 }')
    (inner,) = items[1].value if isinstance(items[1].value, tuple) else ()
    assert [item.place for item in (*items, inner)] == [(1, 1), (2, 2), (4, 3)]
    (outer,) = json_form.parse('{\n "a": [{"b": 1}]}')
    assert outer == Item(("a",), [(Item(("b",), Number("1"), (2, 9)),)], (2, 2))


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def counted(value: Value) -> Any:
    """A JSON value as the standard library has it."""
    if isinstance(value, tuple):
        return {item.name: counted(item.value) for item in value}
    if isinstance(value, list):
        return [counted(element) for element in value]
    return json.loads(value.text) if isinstance(value, Number) else value


@given(jsons, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_reads_as_the_standard_library_reads_it(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert counted(json_form.parse_value(text)) == json.loads(text)


MANY = 60_000
BOMBS = {
    "blocks in blocks": 'a "b" {' * MANY,
    "lists in lists": "a = " + "[" * MANY,
    "objects in objects": "a = " + "{a=" * MANY,
    "JSON in JSON": '{"a":' * MANY,
    "JSON lists": "[" * MANY + "]" * MANY,
    "JSON blanks": "{" + " " * MANY + "}",
    "JSON backslashes": '{"' + "\\\\" * MANY,
    "JSON digits": '{"ID":' + "9" * MANY + "}",
    "labels": 'a "b" ' * MANY,
    "quotes": '"' * MANY,
    "backslashes": '"' + "\\\\" * MANY,
    "bytes": 'type = "' + "\\x41" * MANY,
    "interpolation": 'a = "' + "${" * MANY,
    "interpolations": 'type = "' + "${}" * MANY,
    "comments": "/*" * MANY,
    "comment ends": "/*" + "*" * MANY,
    "one comment after another": "/**/#\n" * MANY,
    "heredocs": "type = <<A\n" + "B\n" * MANY,
    "empty heredocs": "type = [" + "<<A\nA\n," * MANY,
    "indented heredoc": "type = <<-A\n" + " a\n" * MANY + " A\n",
    "half heredocs": "type = <<A\n" + "<<A\n" * MANY,
    "long anchors": "a = <<" + "A" * MANY,
    "blank lines": "type = <<A\n" + (" " * 1000 + "\n") * (MANY // 1000),
    "commas": "a = [" + "," * MANY,
    "names": "a" * MANY + ".",
    "dots": "a" + "." * MANY + "=",
    "numbers": "type = " + "9" * MANY,
    "hex": 'type = "csi" id = 0x' + "f" * MANY,
    "exponent": 'type = "csi" id = 1e' + "9" * MANY,
    "items": "a = 1\n" * MANY,
    "spaces": " " * MANY + "?",
    "many blocks": 'type = "csi"\n' + "capability { }\n" * (MANY // 10) + "x",
    "many secrets": 'type = "csi" secrets {' + "".join(f"a{n} = 1," for n in range(MANY // 10)),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.timeout(30)  # what isn't linear takes minutes
def test_a_text_made_to_hurt_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(VolumeFileError) as refused:
        parse(text, "v")
    assert len(str(refused.value)) < 2000


def test_the_depth_has_a_bound_that_is_told() -> None:
    deep = "{" * DEEPEST + "}" * DEEPEST
    assert parser.parse("a" + deep.replace("{}", "{ }").replace("{{", "{a {").replace("{{", "{a {"))
    with pytest.raises(HclError, match=f"at most {DEEPEST} levels"):
        parser.parse("a {" * (DEEPEST + 1) + "}" * (DEEPEST + 1))


words = st.lists(
    st.sampled_from(
        ['type="csi"', 'id="v"', "secrets", "topology_request", "required", "topology", "segments", "{", "}", "[", "]",
         "=", ",", '"', "${", "\\", "<<-E\n", "E\n", " ", "\n", "0x1", "1e3", "true", "#", "/*", "*/", "mount_options",
         "capability", "capacity_min", ":", "null", '{"Volumes":[{"ID":"a"', "é", "\0", "\ud800"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(words | st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    for read in (parser.parse, json_form.parse_value):
        try:
            read(text)
        except HclError as error:
            line, column = error.place
            assert 1 <= line <= text.count("\n") + 1
            assert 1 <= column <= len(text) + 1
    with suppress(VolumeFileError):
        parse(text, "v")
