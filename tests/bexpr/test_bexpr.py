"""Filter expressions against what go-bexpr answers (measured: bexpr_vectors.jsonl), and what bounds them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volstore.bexpr import EvaluationError, FilterError, SyntaxFault, compile_filter, compiler, parse
from volstore.bexpr.compiler import MOST_STEPS_OF_ROW
from volstore.bexpr.literals import Unconvertible, parse_int, parse_uint, quote, unquote
from volstore.bexpr.parser import DEEPEST, LONGEST
from volstore.bexpr.shapes import BOOL, DYNAMIC, INT, INT64, STRING, UINT64, Nullable, Record, Sequence, Shape, Table
from volstore.bexpr.tree import And, Match, Or

VECTORS = [json.loads(line) for line in (Path(__file__).parent / "bexpr_vectors.jsonl").read_text().splitlines()]


def record(**fields: Shape) -> Record:
    return Record({name: (shape, itemgetter(name)) for name, shape in fields.items()})


ROW = record(
    ID=STRING,
    Name=STRING,
    Namespace=STRING,
    PluginID=STRING,
    Parameters=Table(STRING),
    Topologies=Sequence(Nullable(record(Segments=Table(STRING)))),
    RequestedCapabilities=Sequence(Nullable(record(AccessMode=STRING))),
    Schedulable=BOOL,
    NodesHealthy=INT,
    Capacity=INT64,
    CreateIndex=UINT64,
    Tags=Sequence(STRING),
    MountOptions=Nullable(record(FSType=STRING)),
    State=STRING,
    Reported=DYNAMIC,
)
NOTHING: dict[str, Any] = dict.fromkeys(ROW.fields)
V1 = {
    **NOTHING,
    "ID": "vol-1",
    "Name": "alpha",
    "Namespace": "default",
    "PluginID": "ebs",
    "Parameters": {"type": "gp3"},
    "Topologies": [{"Segments": {"rack": "R1"}}],
    "RequestedCapabilities": [{"AccessMode": "single-node-writer"}],
    "Schedulable": True,
    "NodesHealthy": 3,
    "Capacity": 1024,
    "CreateIndex": 7,
    "Tags": ["x", "y"],
    "State": "",
    "Reported": {"Tasks": [{"Name": "web", "Restarts": 2, "Failed": False}], "Ports": [80, "http", None]},
}
V2 = {
    **NOTHING,
    "ID": "vol-2",
    "Name": "beta",
    "Namespace": "prod",
    "PluginID": "efs",
    "Schedulable": False,
    "NodesHealthy": 0,
    "Capacity": 0,
    "CreateIndex": 9,
    "State": "",
}


def answer(text: str, *rows: dict[str, Any]) -> list[str]:
    test = compile_filter(text, ROW).begin()
    return [f"v{number}" for number, row in enumerate(rows or (V1, V2), 1) if test(row)]


@pytest.mark.parametrize("vector", VECTORS, ids=itemgetter("filter"))
def test_what_go_bexpr_answers_is_answered(vector: dict[str, Any]) -> None:
    if "rows" in vector:
        assert answer(vector["filter"]) == vector["rows"]
        return
    expected: type[FilterError] = SyntaxFault if "syntax" in vector else EvaluationError
    with pytest.raises(expected) as told:
        answer(vector["filter"])
    assert (vector.get("syntax") or vector["error"]) in str(told.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Name = x",
            '1:6 (5): no match found, expected: "!=", "==", "contains", "in", "is", "matches", "not" or [ \\t\\r\\n]',
        ),
        (
            "x == y\nor\n ü",
            '3:2 (11): no match found, expected: "(", "-", "0", "\\"", "`", "all", "any", "not", '
            "[ \\t\\r\\n], [1-9] or [a-zA-Z]",
        ),
        ("ID == vol-1", '1:10 (9): no match found, expected: ".", "[", [ \\t\\r\\n], [a-zA-Z0-9_/] or EOF'),
        ("Name == a b", '1:11 (10): no match found, expected: "and", "or", [ \\t\\r\\n] or EOF'),
        ('Parameters["a" == x', '1:16 (15): rule "index": Unclosed index expression'),
        ("Parameters[a] == x", '1:12 (11): rule "index": Invalid index'),
        ("x in 3", '1:6 (5): rule "match": Invalid selector'),
        (r'Name == "\q"', '1:9 (8): rule "string": invalid syntax'),
    ],
)
def test_what_is_wrong_with_a_text_is_told_as_pigeon_tells_it(text: str, told: str) -> None:
    with pytest.raises(SyntaxFault) as fault:
        parse(text)
    assert str(fault.value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Parameters.a.b == c", 'error finding value in datum: /Parameters/a/b at part 1: couldn\'t find key "a"'),
        ("Name.x == a", "error finding value in datum: /Name/x: at part 1, invalid value kind: string"),
        ("Tags.x == a", 'error finding value in datum: /Tags/x at part 1: couldn\'t convert value "x" to type int'),
        ("Tags.2 == a", "error finding value in datum: /Tags/2 at part 1: index 2 is out of range (length = 2)"),
        ("any Tags as i, _ { i.a == 0 }", "/i references a int so /i/a is invalid"),
        (
            "any Tags as t { t.a == 0 }",
            "error finding value in datum: /Tags/0/a: at part 2, invalid value kind: string",
        ),
        ("any Tags as a, a { a == 0 }", '"a" cannot be used as a placeholder for both the index and the value'),
        ("x in Topologies", 'unable to find suitable primitive comparison function for "in" comparison'),
        (
            "CreateIndex == -1",
            'error getting match value in expression: strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        (
            "Capacity == 9223372036854775808",
            'error getting match value in expression: strconv.ParseInt: parsing "9223372036854775808": '
            "value out of range",
        ),
        ("Tags matches x", "value of type []string is not convertible to []byte"),
        ("Parameters matches x", "value of type map[string]string is not convertible to []byte"),
        (
            'Name matches "(?!a)"',
            'failed to compile regular expression "(?!a)": error parsing regexp: invalid or unsupported Perl syntax: '
            "`(?!`",
        ),
    ],
)
def test_what_is_wrong_with_a_question_is_told_as_go_bexpr_tells_it(text: str, told: str) -> None:
    with pytest.raises(EvaluationError) as fault:
        answer(text, V1)
    assert str(fault.value) == told


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("not Name == alpha", ["v2"]),
        ("not not not Name == alpha", ["v2"]),
        ("Name == alpha and Foo == 1 or Namespace == prod", None),
        ("Name == gamma and Foo == 1 or Namespace == prod", ["v2"]),
        ("Name == alpha or Namespace == prod or Foo == 1", ["v1", "v2"]),
        ("any RequestedCapabilities as c { c.AccessMode matches `^single` }", ["v1"]),
        ("any Topologies as t { any t.Segments as k, v { k == rack and v == R1 } }", ["v1"]),
        ("any Topologies as _, t { t.Segments.rack == R1 }", ["v1"]),
        ("any Parameters as k { k == type }", ["v1"]),
        ("any Parameters.nope as k { k == type }", []),
        ("all Parameters as k, _ { k == type }", ["v1", "v2"]),
        ("Topologies.0.Segments.rack == R1 or Name == beta", None),
        ("Name == `alpha`", ["v1"]),
        ('Name == "\\x61lpha"', ["v1"]),
        ('Name == "/alpha"', ["v1"]),
        ("CreateIndex == 0b111", None),
        ('CreateIndex == "0b111"', ["v1"]),
        ('NodesHealthy == "1_0"', []),
        ("any Reported.Tasks as t { t.Restarts == 2 and t.Failed == false }", None),
        ("http in Reported.Ports", None),
        ("Name matches `L` or Name matches `(?i)L`", ["v1"]),
        ("  (Name == alpha)  ", ["v1"]),
        ("( Name == alpha ) or ( Name == beta )", ["v1", "v2"]),
        ("in == in", None),
    ],
)
def test_more_that_follows_from_the_grammar(text: str, rows: list[str] | None) -> None:
    """None: an error, of whichever kind."""
    if rows is None:
        with pytest.raises(FilterError):
            answer(text)
    else:
        assert answer(text) == rows


def test_json_values_have_the_types_that_they_happen_to_have() -> None:
    assert answer("any Reported.Tasks as t { t.Restarts == 2 and t.Failed == false and t.Name == web }", V1) == ["v1"]
    assert answer("80 in Reported.Ports", V1) == ["v1"]
    assert answer("http in Reported.Ports", V1) == ["v1"]
    assert answer("Reported is nil", V2) == ["v1"]


def test_a_long_chain_is_read_without_recursion() -> None:
    text = " or ".join(f"ID == vol{number}" for number in range(900))
    found = parse(text)
    assert isinstance(found, Or)
    assert len(found.operands) == 900
    chained = parse(text.replace(" or ", " and "))
    assert isinstance(chained, And)
    assert isinstance(parse("not " * 2000 + "a == b"), Match)


def test_size_and_depth_are_bounded() -> None:
    nested = DEEPEST - 1
    assert parse("(" * nested + "a == b" + ")" * nested)
    for deep in (nested + 2, 5000):
        with pytest.raises(SyntaxFault, match="max number of expresssions parsed"):
            parse("(" * deep + "a == b" + ")" * deep)
    with pytest.raises(SyntaxFault, match=f"at most {LONGEST} are taken"):
        parse(f"a == {'b' * LONGEST}")


def test_a_text_of_many_beginnings_is_read_in_time() -> None:
    """Without memory of what was read, each level would be read four times as often as the one around it."""
    began = time.perf_counter()
    for text in ("(a == b and " * 11 + "c == d" + ")" * 10, "((((((((((a", "not (" * 11 + "x", "a." * 4000, "[" * 4000):
        with pytest.raises(SyntaxFault):
            parse(text)
    assert time.perf_counter() - began < 2


def test_blocks_look_at_a_bounded_number_of_elements() -> None:
    row = {**V1, "Tags": ["x"] * 2000}
    assert answer("all Tags as t { t == x }", row) == ["v1"]
    with pytest.raises(EvaluationError, match=f"more than {MOST_STEPS_OF_ROW} elements of one row"):
        answer("all Tags as t { all Tags as s { s == t or s == x } }", row)


def test_no_pattern_takes_longer_than_its_text() -> None:
    row = {**V1, "Name": "a" * 60_000 + "!"}
    began = time.perf_counter()
    for pattern in ("^(a+)+$", "(a|a)*$", "(.*)*b", "^(a?){50}a{50}$"):
        answer(f"Name matches `{pattern}`", row)
    assert time.perf_counter() - began < 2
    with pytest.raises(EvaluationError, match="failed to compile regular expression"):
        answer("Name matches `((a{100}){100}){100}`", row)


def test_two_answers_made_in_turns_count_their_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "MOST_STEPS", 100)
    predicate = compile_filter("all Tags as t { t == x }", ROW)
    row = {**V1, "Tags": ["x"] * 10}
    first, second = predicate.begin(), predicate.begin()
    for _ in range(10):
        assert first(row) is second(row) is True
    with pytest.raises(EvaluationError, match="more than 100 elements"):
        first(row)
    assert predicate.begin()(row)


@given(st.text("(){}[]\"`'.,_=!<>&| \n\tanorditscemphly0123-/~xé", max_size=60))
@settings(max_examples=400, deadline=None)
def test_whatever_comes_is_an_expression_or_a_fault_with_a_place(text: str) -> None:
    try:
        parse(text)
        told = "1:1 (0)"
    except SyntaxFault as fault:
        told = str(fault)
    assert re.match(r"\d+:\d+ \(\d+\)", told)


@given(st.text(max_size=30))
def test_a_quoted_text_is_read_back(text: str) -> None:
    assert unquote(quote(text)) == text or any("\ud800" <= char < "\ue000" for char in text)


WHOLE: list[tuple[Callable[[str], int], str, int | None]] = [
    (parse_int, "010", 8),
    (parse_int, "0o17", 15),
    (parse_int, "-0x10", -16),
    (parse_int, "1_000", 1000),
    (parse_int, "0x_1", 1),
    (parse_int, "1__0", None),
    (parse_int, "08", None),
    (parse_int, " 1", None),
    (parse_int, "", None),
    (parse_int, "٣", None),
    (parse_uint, "18446744073709551615", 2**64 - 1),
    (parse_uint, "+1", None),
]


@pytest.mark.parametrize(("read", "text", "value"), WHOLE)
def test_numbers_are_read_as_go_reads_them(read: Callable[[str], int], text: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(Unconvertible):
            read(text)
    else:
        assert read(text) == value
