"""JSON that comes in, read strictly: what Go would guess at or silently repair is refused with its place named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import msgspec

from volstore.core.errors import ApiError
from volstore.http.json.shape import INT64_MAX, INT64_MIN, Kind, Misshapen, path_text, printable

T = TypeVar("T")

LONGEST_NUMBER = 64
"""Characters of a number; nothing that the API takes needs more than 20."""


class InvalidBody(ApiError):
    """A body that must change before it can be taken; `validation:` keeps Terraform's provider from repeating it.

    `head` is what Go's decoder says of the same fault where its clients could know it.
    """

    def __init__(self, text: str, head: str = "") -> None:
        super().__init__(400, f"{head + ': ' if head else ''}validation: {text}")


class _Repeated(Exception):
    pass


class _RepeatedKey(dict[str, object]):
    """An object that names `key` twice; only made by the second, slow reading that looks for the place."""

    key = ""


def read_json(body: bytes, kind: Kind[T]) -> T:
    """`body` as `kind` reads it. Raises InvalidBody naming the place and what was expected there.

    What follows the document is refused after the document itself was found good, as Go's clients expect the
    document's own faults first.
    """
    try:
        value = _read_quickly(body)
    except _NotQuickly:
        return _read_strictly(body, kind)
    try:
        return kind.read(value)
    except Misshapen as error:
        raise InvalidBody(str(error)) from None


class _NotQuickly(Exception):
    """It isn't good JSON, or can't be told to be good quickly."""


def _read_quickly(body: bytes) -> object:
    """What nearly all bodies are, in a quarter of the time: good JSON with no key twice and no number out of 64 bits.

    msgspec takes a key that is there twice, and rounds what is too large. But a document has a colon for each of its
    keys: when it has no more colons than there are different keys, none is there twice.
    """
    try:
        value = _quick_decoder.decode(body)
        if _keys(value) == body.count(b":"):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise _NotQuickly


def _keys(value: object) -> int:
    """How many keys all objects in it have. Raises _NotQuickly for numbers that are better read strictly."""
    if isinstance(value, dict):
        keys, members = len(value), list(value.values())
    elif isinstance(value, list):
        keys, members = 0, value
    elif isinstance(value, float) or (isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX):
        raise _NotQuickly
    else:
        return 0
    for member in members:
        if not isinstance(member, str):
            keys += _keys(member)
    return keys


def _read_strictly(body: bytes, kind: Kind[T]) -> T:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not UTF-8: byte {error.start} ({body[error.start]:#04x})") from None
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise InvalidBody("the body is empty, expected a JSON document", head="EOF")
    value, end = _parse(text, start)
    try:
        result = kind.read(value)
    except Misshapen as error:
        raise InvalidBody(str(error)) from None
    if text[end:].strip(_SPACE):
        raise InvalidBody(f"unexpected text after the JSON document, at character {end}")
    return result


_SPACE = " \t\r\n"


def _parse(text: str, start: int) -> tuple[object, int]:
    try:
        return _decoder.raw_decode(text, start)
    except _Repeated:
        value, _ = _slow_decoder.raw_decode(text, start)
        place, key = next(_repeated_keys(value))
        raise InvalidBody(f'{place}: the key "{printable(key)}" is there twice') from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip(_SPACE)) or error.msg.startswith("Unterminated string")
        if cut:
            raise InvalidBody(f"the JSON document ends early ({error.msg})", head="unexpected EOF") from None
        raise InvalidBody(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InvalidBody("the JSON document is nested too deeply") from None
    except Misshapen as error:
        raise InvalidBody(str(error)) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Repeated
    return result


def _marked(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = _RepeatedKey(pairs)
    if len(result) == len(pairs):
        return dict(result)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            result.key = key
        seen.add(key)
    return result


def _repeated_keys(value: object) -> Iterator[tuple[str, str]]:
    todo: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while todo:
        path, found = todo.pop()
        if isinstance(found, _RepeatedKey):
            yield path_text(path) or "the body", found.key
        if isinstance(found, dict):
            todo.extend(((*path, key), member) for key, member in found.items())
        elif isinstance(found, list):
            todo.extend(((*path, place), member) for place, member in enumerate(found))


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise Misshapen(f"a number of {len(digits)} digits is too long")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > LONGEST_NUMBER:
        raise Misshapen(f"a number of {len(digits)} characters is too long")
    return float(digits)


def _constant(name: str) -> NoReturn:
    raise Misshapen(f"{name} is not a JSON number")


def _decoder_with(hook: Any) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=hook, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
    )


_quick_decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder()
_decoder = _decoder_with(_unique)
_slow_decoder = _decoder_with(_marked)
