"""The little of HCL 1 that policies are written in, and JSON in its place, read into fields; linear, and shallow.

Not `hcl.py`, which reads volume files: python-hcl2 takes a second for a few hundred KiB and more for some texts, and
policies are parsed by a server between heartbeats, whoever wrote them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

DEEPEST = 8
"""Levels of nesting; a policy needs two."""


class PolicySyntaxError(ValueError):
    """Not HCL of this kind; the message says where."""


@dataclass(frozen=True, slots=True)
class Field:
    """`a "b" { … }` has the keys a and b, `a = …` the key a. Its value: text, a list, or the fields of an object."""

    keys: tuple[str, ...]
    value: Value


Value = str | bool | list["Value"] | tuple[Field, ...] | None
Fields = tuple[Field, ...]

_SKIPPED = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)+")
_TOKEN = re.compile(
    r"""(?P<IDENT>[A-Za-z_][\w.-]*)
      | (?P<NUMBER>-?\d[\w.+-]*)
      | (?P<STRING>"(?:[^"\\\n]|\\.)*")
      | (?P<HEREDOC><<-?(?P<mark>[A-Za-z_]\w*)\r?\n)
      | (?P<LBRACE>\{) | (?P<RBRACE>\}) | (?P<LBRACK>\[) | (?P<RBRACK>\]) | (?P<ASSIGN>=) | (?P<COMMA>,)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(?:(["\\nrtabfv])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))', re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Fields:
    """The fields of a policy, in order. A text that begins with a brace is JSON. Raises PolicySyntaxError."""
    if "\0" in text:
        raise PolicySyntaxError("a null character can't be part of a policy")
    if text.lstrip()[:1] == "{":
        return _json_fields(text)
    return _Parser(text).file()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._next = self._scan(0)

    def file(self) -> Fields:
        fields = self._fields("EOF", 0)
        return tuple(fields)

    def _fields(self, end: str, depth: int) -> list[Field]:
        """Up to the token `end`, which is taken too."""
        fields: list[Field] = []
        while self._next.kind != end:
            fields.append(self._field(depth))
            if self._next.kind == "COMMA" and end == "RBRACE":
                self._take()
        if end != "EOF":
            self._take()
        return fields

    def _field(self, depth: int) -> Field:
        keys: list[str] = []
        while self._next.kind in ("IDENT", "STRING"):
            keys.append(self._key(self._take()))
        token = self._next
        if not keys:
            if depth and token.kind == "EOF":
                raise self._fault("object expected closing RBRACE got: EOF")
            raise self._fault(f"expected: IDENT | STRING got: {token.kind}")
        if token.kind == "LBRACE":
            self._take()
            return Field(tuple(keys), self._object(depth + 1))
        if token.kind != "ASSIGN" or len(keys) > 1:
            raise self._fault(f"expected: IDENT | STRING | ASSIGN | LBRACE got: {token.kind}")
        self._take()
        return Field(tuple(keys), self._value(depth + 1))

    def _object(self, depth: int) -> Fields:
        if depth > DEEPEST:
            raise self._fault("nested too deeply")
        return tuple(self._fields("RBRACE", depth))

    def _value(self, depth: int) -> Value:
        token = self._take()
        match token.kind:
            case "STRING" | "HEREDOC":
                return self._key(token)
            case "NUMBER":
                return None
            case "IDENT" if token.text in ("true", "false"):
                return token.text == "true"
            case "LBRACE":
                return self._object(depth)
            case "LBRACK":
                return self._list(depth)
            case _:
                raise self._fault(f"Unknown token: {token.kind} {token.text[:32]}", token)

    def _list(self, depth: int) -> list[Value]:
        if depth > DEEPEST:
            raise self._fault("nested too deeply")
        values: list[Value] = []
        while self._next.kind != "RBRACK":
            values.append(self._value(depth + 1))
            if self._next.kind == "COMMA":
                self._take()
            elif self._next.kind != "RBRACK":
                raise self._fault(f"error parsing list, expected comma or list end, got: {self._next.kind}")
        self._take()
        return values

    def _key(self, token: _Token) -> str:
        if token.kind != "STRING":
            return token.text
        return _ESCAPE.sub(lambda found: self._unescaped(found, token), token.text[1:-1])

    def _unescaped(self, found: re.Match[str], token: _Token) -> str:
        if found[1]:
            return _ESCAPES[found[1]]
        digits = found[2] or found[3] or found[4]
        code = int(digits, 16) if digits else -1
        if code < 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise self._fault("illegal char escape", token)
        return chr(code)

    def _take(self) -> _Token:
        token, self._next = self._next, self._scan(self._end)
        return token

    def _scan(self, at: int) -> _Token:
        """The token from `at` on; `_end` is where it ends."""
        skipped = _SKIPPED.match(self._text, at)
        at = skipped.end() if skipped else at
        if at >= len(self._text):
            self._end = at
            return _Token("EOF", "", at)
        found = _TOKEN.match(self._text, at)
        if found is None:
            shown = self._text[at] if self._text[at].isprintable() else "an unprintable character"
            what = "literal not terminated" if shown == '"' else f"illegal character: {shown}"
            raise self._fault(what, _Token("ILLEGAL", "", at))
        kind = str(found.lastgroup)
        self._end = found.end()
        if kind != "HEREDOC":
            return _Token(kind, found[0], at)
        end = re.compile(rf"^[ \t]*{found['mark']}[ \t]*\r?$", re.MULTILINE).search(self._text, self._end)
        if end is None:
            raise self._fault("heredoc not terminated", _Token("ILLEGAL", "", at))
        body, self._end = self._text[self._end : end.start()], end.end()
        return _Token(kind, body, at)

    def _fault(self, what: str, token: _Token | None = None) -> PolicySyntaxError:
        at = (token or self._next).at
        line = self._text.count("\n", 0, at) + 1
        return PolicySyntaxError(f"At {line}:{at - self._text.rfind(chr(10), 0, at)}: {what}")


# JSON, as HCL's own reader takes it.

_JSON_TOKENS = {"{": "LBRACE", "}": "RBRACE", "[": "LBRACK", "]": "RBRACK", ",": "COMMA", ":": "COLON", "": "EOF"}


def _json_fields(text: str) -> Fields:
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise PolicySyntaxError(_json_fault(error)) from None
    except RecursionError:
        raise PolicySyntaxError("nested too deeply") from None
    if not isinstance(value, tuple):
        raise PolicySyntaxError("root object must be an object")
    _check_depth(value)
    return value


def _json_fault(error: json.JSONDecodeError) -> str:
    """What HCL's reader says where a name is expected; elsewhere the place is told."""
    got = error.doc[error.pos : error.pos + 1]
    if error.msg.startswith("Expecting property name"):
        return f"expected: STRING got: {_JSON_TOKENS.get(got, 'NUMBER' if got.isdigit() else 'ILLEGAL')}"
    return f"At {error.lineno}:{error.colno}: {error.msg}"


def _object(pairs: list[tuple[str, Value]]) -> Fields:
    return tuple(Field((name,), value) for name, value in pairs)


def _check_depth(fields: Fields) -> None:
    todo: list[tuple[Value, int]] = [(fields, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > DEEPEST:
            raise PolicySyntaxError("nested too deeply")
        if isinstance(value, tuple):
            todo.extend((field.value, depth + 1) for field in value)
        elif isinstance(value, list):
            todo.extend((element, depth + 1) for element in value)


def _no_number(digits: str) -> None:
    """No field of a policy is a number, so what it says doesn't matter."""


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_no_number, parse_float=_no_number, parse_constant=_no_number
)
