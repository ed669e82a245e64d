"""Go's strconv, as far as filters show it: string literals, and text as numbers and booleans."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(
    r'\\(?:(?P<plain>[abfnrtv\\"])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})'
    r"|(?P<octal>[0-7]{3}))"
)
_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)"
)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity)|nan", re.IGNORECASE)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class Unconvertible(ValueError):
    """Text that is no value of the type; its text is Go's."""


def unquote(literal: str) -> str | None:
    """What a Go string literal with its quotes stands for; None where it is no literal of Go's."""
    inner = literal[1:-1]
    if literal[0] == "`":
        return inner.replace("\r", "")
    if "\n" in inner:
        return None
    if "\\" not in inner:
        return inner
    parts = bytearray()
    place = 0
    while place < len(inner):
        if inner[place] != "\\":
            parts += inner[place].encode()
            place += 1
            continue
        found = _ESCAPE.match(inner, place)
        if found is None:
            return None
        place = found.end()
        if found["plain"]:
            parts += _ESCAPES[found["plain"]].encode()
        elif found["x"] or found["octal"]:
            byte = int(found["x"], 16) if found["x"] else int(found["octal"], 8)
            if byte > 255:
                return None
            parts.append(byte)
        else:
            code = int(found["u"] or found["U"], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                return None
            parts += chr(code).encode()
    return parts.decode(errors="replace")


def quote(text: str) -> str:
    """As Go's %q."""
    shown = []
    for char in text:
        if char in '"\\':
            shown.append("\\" + char)
        elif char.isprintable():
            shown.append(char)
        elif (name := {value: key for key, value in _ESCAPES.items()}.get(char)) is not None:
            shown.append("\\" + name)
        elif ord(char) < 0x80:
            shown.append(f"\\x{ord(char):02x}")
        else:
            shown.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(shown) + '"'


def parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Unconvertible(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def parse_int(text: str) -> int:
    """Of 64 bits, in any of Go's bases."""
    return _integer(text, "ParseInt", -(2**63), 2**63 - 1)


def parse_uint(text: str) -> int:
    return _integer(text, "ParseUint", 0, 2**64 - 1)


def parse_float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise Unconvertible(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    return float(text)


def _integer(text: str, function: str, least: int, most: int) -> int:
    if not _INTEGER.fullmatch(text) or (least == 0 and text[0] in "+-"):
        raise Unconvertible(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    digits = text.replace("_", "").lstrip("+-")
    octal = digits[0] == "0" and digits.isdigit()
    number = int(digits, 8 if octal else 0)
    number = -number if text[0] == "-" else number
    if not least <= number <= most:
        raise Unconvertible(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return number


COERCIONS: dict[str, Callable[[str], Any]] = {
    "bool": parse_bool,
    "int": parse_int,
    "int64": parse_int,
    "uint64": parse_uint,
    "float64": parse_float,
    "string": str,
}
"""By kind of Go's: a filter's value, which is text, as a value of it. Raises Unconvertible."""
