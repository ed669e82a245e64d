"""JSON in HCL's place, read into the same items, with their places; linear, and bounded in depth."""

from __future__ import annotations

import json
import re

from volstore.hcl.tree import DEEPEST, HclError, Item, Items, Lines, Number, Value

_BLANKS = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\.)*+"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[A-Za-z]\w*")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_KINDS = {"{": "LBRACE", "}": "RBRACE", "[": "LBRACK", "]": "RBRACK", ",": "COMMA", ":": "COLON", "": "EOF"}


def is_json(text: str) -> bool:
    """Whether Nomad would read `text` as JSON."""
    return text.lstrip(" \t\r\n")[:1] == "{"


def parse(text: str) -> Items:
    """The items of the object that `text` is. Raises HclError."""
    value = parse_value(text)
    if not isinstance(value, tuple):
        raise HclError((1, 1), "not valid JSON: an object { … } is needed", "root object must be an object")
    return value


def parse_value(text: str) -> Value:
    """What `text` holds: a tuple of items for an object. Raises HclError."""
    return _Reader(text).whole()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = Lines(text)
        self._at = 0

    def whole(self) -> Value:
        value = self._value(0)
        if self._peek():
            raise self._fault("more text after the end", "unexpected text after the end")
        return value

    def _value(self, depth: int) -> Value:
        if depth > DEEPEST:
            raise self._fault(f"it is nested too deeply: at most {DEEPEST} levels are taken", "nested too deeply")
        character = self._peek()
        if character == '"':
            return self._string()
        if character == "{":
            return self._object(depth)
        if character == "[":
            return self._list(depth)
        if found := _NUMBER.match(self._text, self._at):
            self._at = found.end()
            return Number(found[0])
        if (found := _WORD.match(self._text, self._at)) and found[0] in _WORDS:
            self._at = found.end()
            return _WORDS[found[0]]
        if found and found[0] in ("NaN", "Infinity"):
            raise self._fault(f"{found[0]} is not a JSON value", f"illegal value: {found[0]}")
        raise self._fault(f"a value is missing, {self._found()}", "Expecting value")

    def _object(self, depth: int) -> Items:
        items: list[Item] = []
        self._at += 1
        while self._peek() != "}" or items:
            if self._peek() != '"':
                got = _KINDS.get(self._peek(), "NUMBER" if self._peek().isdigit() else "ILLEGAL")
                raise self._fault(
                    f"a name in double quotes is missing, {self._found()}", f"expected: STRING got: {got}", placed=False
                )
            place = self._lines.place(self._at)
            name = self._string()
            self._expect(":")
            items.append(Item((name,), self._value(depth + 1), place))
            if self._peek() == "}":
                break
            self._expect(",")
        self._at += 1
        return tuple(items)

    def _list(self, depth: int) -> list[Value]:
        values: list[Value] = []
        self._at += 1
        while self._peek() != "]" or values:
            values.append(self._value(depth + 1))
            if self._peek() == "]":
                break
            self._expect(",")
        self._at += 1
        return values

    def _string(self) -> str:
        found = _STRING.match(self._text, self._at)
        if found is None:
            raise self._fault("a string is not closed on its line", "literal not terminated")
        try:
            text = str(json.loads(found[0]))
            text.encode()
        except ValueError:  # an unknown escape, or half a character
            raise self._fault("a string has an escape that means nothing", "illegal char escape") from None
        self._at = found.end()
        return text

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._fault(f"'{character}' is missing, {self._found()}", f"Expecting '{character}' delimiter")
        self._at += 1

    def _peek(self) -> str:
        """The next character past blanks, empty at the end."""
        if found := _BLANKS.match(self._text, self._at):
            self._at = found.end()
        return self._text[self._at : self._at + 1]

    def _found(self) -> str:
        character = self._peek()
        return f"found {character!r}" if character else "the file ends too early"

    def _fault(self, text: str, reference: str, *, placed: bool = True) -> HclError:
        return HclError(self._lines.place(self._at), f"not valid JSON: {text}", reference, placed=placed)
