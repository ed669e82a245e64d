"""Reads literal HCL (no expressions) with python-hcl2 into values that know their lines, as Nomad's HCL 1 would.

python-hcl2 knows HCL 2, whose grammar differs from what Nomad's files may hold: attribute names in quotes
(`"topology.example/zone" = "a"`), and `${…}` or `%{…}` that mean nothing and stay as they are. So every quoted string
is first blanked out, at the same length, and its value is later read at its place in the original text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


class HclError(ValueError):
    """The text is not HCL of this kind; `line` is where, counted from 1, as far as it is known."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: what it means is for the field to say."""

    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """An attribute (`name = value`) or a block (`name "label" { … }`, whose value is its items) on a line."""

    name: str
    value: Value
    line: int | None = None
    labels: tuple[str, ...] = ()


Value = str | Number | bool | None | list["Value"] | tuple[Item, ...]

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_SKIPPED = re.compile(r"#[^\n]*|//[^\n]*|/\*.*?\*/|<<-?([A-Za-z][\w.-]*)\r?\n.*?^[ \t]*\1\b", re.DOTALL | re.MULTILINE)
_NAME_FOLLOWS = re.compile(r'[ \t]*(=(?!=)|\{|"[^"\n]*"[ \t]*[{"])')


def parse(text: str) -> tuple[Item, ...]:
    """The items of a file, in order. Raises HclError with the line."""
    import hcl2  # here: it takes longer to import than most commands take to run
    from lark import UnexpectedInput

    if text.startswith("\ufeff"):
        text = text[1:]
    blanked = _blank_strings(text)
    try:
        tree = hcl2.parses_to_tree(blanked)
    except UnexpectedInput as error:
        line, column = error.line, error.column
        if line < 1:  # lark's way of saying: at the end
            raise HclError("the file ends too early", text.count("\n") + 1) from None
        raise HclError(_describe(text, line, column), line) from None
    return _Reader(text).body(tree.children[0])


def _describe(text: str, line: int, column: int) -> str:
    """What is wrong there, without showing more than a character: the rest may be a secret."""
    lines = text.split("\n")
    rest = lines[line - 1][column - 1 :].strip() if line <= len(lines) else ""
    if rest:
        return f"unexpected {rest[0]!r}"
    place = "file" if line >= len(lines) else "line"
    return f"the {place} ends too early: a value, a quote or a brace is missing"


def _blank_strings(text: str) -> str:
    """`text` with the inside of each quoted string replaced by x's, and quoted names by plain ones; same length."""
    pieces: list[str] = []
    at, statement_starts = 0, True
    while at < len(text):
        character = text[at]
        if character == '"':
            end = _string_end(text, at)
            inside = "".join(c if c == "\n" else "x" for c in text[at + 1 : end - 1])
            is_name = statement_starts and _NAME_FOLLOWS.match(text, end)
            pieces.append(f"q{inside}q" if is_name else f'"{inside}"')
            at, statement_starts = end, False
        elif skipped := _SKIPPED.match(text, at):
            pieces.append(skipped[0])
            at = skipped.end()
        else:
            if not character.isspace() or character == "\n":
                statement_starts = character in "\n{}"
            pieces.append(character)
            at += 1
    return "".join(pieces)


def _string_end(text: str, start: int) -> int:
    """The position after the quote that closes the string at `start`; a quote within `${…}` closes nothing."""
    at, depth = start + 1, 0
    while at < len(text):
        character = text[at]
        if character == "\\" and depth == 0:
            at += 1
        elif character == '"' and depth == 0:
            return at + 1
        elif character == "\n" and depth == 0:
            break
        elif text.startswith("${", at):
            depth += 1
            at += 1
        elif character == "{" and depth:
            depth += 1
        elif character == "}" and depth:
            depth -= 1
        at += 1
    raise HclError("a quoted string is not closed on its line", text.count("\n", 0, start) + 1)


def _unescape(text: str, line: int) -> str:
    parts, at = [], 0
    while (found := text.find("\\", at)) >= 0:
        parts.append(text[at:found])
        marker = text[found + 1]
        width = _HEX_ESCAPES.get(marker)
        if width is not None:
            digits = text[found + 2 : found + 2 + width]
            if not re.fullmatch(rf"[0-9a-fA-F]{{{width}}}", digits):
                raise HclError(f"\\{marker} needs {width} hexadecimal digits after it", line)
            code = int(digits, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise HclError(f"\\{marker}{digits} is not a character", line)
            parts.append(chr(code))
            at = found + 2 + width
        elif marker in _ESCAPES:
            parts.append(_ESCAPES[marker])
            at = found + 2
        else:
            raise HclError(f'unknown escape "\\{marker}" in a string; a backslash itself is written \\\\', line)
    return "".join([*parts, text[at:]])


class _Reader:
    """Turns python-hcl2's raw tree into items. The tree is untyped (lark's), hence Any."""

    def __init__(self, text: str) -> None:
        self._text = text

    def body(self, tree: Any) -> tuple[Item, ...]:
        return tuple(
            self._attribute(child) if child.data == "attribute" else self._block(child)
            for child in tree.children
            if child.data in ("attribute", "block")
        )

    def _attribute(self, tree: Any) -> Item:
        name, _, expression = tree.children
        return Item(self._source(name), self._value(expression), name.meta.line)

    def _block(self, tree: Any) -> Item:
        name, *rest = tree.children
        trees = [child for child in rest if hasattr(child, "data")]
        labels = tuple(self._source(child) for child in trees if child.data in ("identifier", "string"))
        body = next(child for child in trees if child.data == "body")
        return Item(self._source(name), self.body(body), name.meta.line, labels)

    def _source(self, tree: Any) -> str:
        """The original text at `tree`; what was in quotes is unquoted."""
        text = self._text[tree.meta.start_pos : tree.meta.end_pos]
        return _unescape(text[1:-1], tree.meta.line) if text.startswith('"') else text

    def _value(self, tree: Any) -> Value:
        if tree.data == "expr_term" and len(tree.children) == 1:
            return self._value(tree.children[0])
        if tree.data == "string":
            return self._source(tree)
        if tree.data in ("int_lit", "float_lit", "unary_op"):
            source = self._source(tree)
            if re.fullmatch(r"-?[0-9][0-9.eE+-]*", source):
                return Number(source)
        if tree.data == "literal_value":
            return {"true": True, "false": False, "null": None}[self._source(tree)]
        if tree.data in ("heredoc_template", "heredoc_template_trim"):
            return self._heredoc(tree.children[0])
        if tree.data == "tuple":
            return [self._value(child) for child in tree.children if getattr(child, "data", "").endswith(_EXPRESSIONS)]
        if tree.data == "object":
            return tuple(self._element(child) for child in tree.children if getattr(child, "data", "") == "object_elem")
        raise HclError("a value here is not a plain string, number or list (strings need quotes)", tree.meta.line)

    def _element(self, tree: Any) -> Item:
        key, _, expression = tree.children
        return Item(self._source(key), self._value(expression), key.meta.line)

    def _heredoc(self, token: Any) -> str:
        """The lines between the markers; `<<-` takes away the indentation that all of them share."""
        first, *lines = str(token).rstrip("\r\n").split("\n")
        lines = [line.removesuffix("\r") for line in lines[:-1]]
        if first.startswith("<<-"):
            margin = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
            lines = [line[margin:] for line in lines]
        return "".join(line + "\n" for line in lines)


# What a list's elements are called in python-hcl2's tree, by the end of their names: the rest is punctuation.
_EXPRESSIONS = ("expr_term", "unary_op", "binary_op", "conditional")
