"""JSON that comes in, read strictly: what Go would guess at or silently repair is refused with its place named."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any, NoReturn, TypeVar

import msgspec

from volstore.core.errors import ApiError, shortened
from volstore.http.json.scan import DEEPEST, Outline, outline, too_deep, weight_at_most
from volstore.http.json.shape import INT64_MAX, INT64_MIN, Batch, Kind, Misshapen, printable
from volstore.http.json.typed import has_repeated_keys

T = TypeVar("T")

LONGEST_NUMBER = 64
"""Characters of a number; nothing that the API takes needs more than 20."""
LONGEST_TEXT = 1000
"""Characters of what is said about a body."""
PIECE_BYTES = 256 * 1024
PIECE_WEIGHT = 10_000
"""What is read in one turn of the loop, which takes 20 ms at most: a body, or one member of a batch. No row of the
state comes of more. The weight is `json_scan`'s."""
BODY_WEIGHT = 200_000
"""Of a batch in all: with it no body of 4 MiB takes more than 16 MiB of memory."""
_SURELY_LIGHT = PIECE_WEIGHT // 4
"""Bytes that can't weigh more than PIECE_WEIGHT."""


class InvalidBody(ApiError):
    """A body that must change before it can be taken; `validation:` keeps Terraform's provider from repeating it.

    `head` is what Go's decoder says of the same fault where its clients could know it.
    """

    def __init__(self, text: str, head: str = "") -> None:
        super().__init__(400, f"{head + ': ' if head else ''}validation: {shortened(text, LONGEST_TEXT)}")


class _NotJson(Misshapen):
    """`head` as InvalidBody's."""

    def __init__(self, text: str, head: str = "") -> None:
        super().__init__(text)
        self.head = head


def _told(error: Misshapen) -> InvalidBody:
    return InvalidBody(str(error), error.head if isinstance(error, _NotJson) else "")


class _Twice(Misshapen):
    """A key that is there twice, in the object of this place."""

    def __str__(self) -> str:
        return super().__str__() if self.path else f"the body: {self.text}"


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
        return _read(body, kind)
    except Misshapen as error:
        raise _told(error) from None


def in_one_turn(body: bytes) -> bool:
    """Whether it is surely small enough for `read_json`."""
    return len(body) <= _SURELY_LIGHT or (len(body) <= PIECE_BYTES and weight_at_most(body) <= PIECE_WEIGHT)


def read_batch(body: bytes, kind: Batch[T]) -> Generator[None, None, tuple[T, ...]]:
    """The members of a large body, read one by one, with a pause after each: it yields where others can have a turn.

    The body without its list must be a document too, and each member a small one: what is good here is good JSON with
    no key twice, as for `read_json`. Raises InvalidBody.
    """
    found, name = Outline(), kind.list_name
    try:
        yield from outline(body, found, BODY_WEIGHT, name, kind.most)
        around = _around(body, found, name)
        read: list[T] = []
        if around is body:
            return _read(body, kind)
        envelope = _read(around, _AS_IT_IS)
        if not isinstance(envelope, dict) or envelope.get(name) != []:
            raise Misshapen(f"expected an object with the array {name}")
        kind.names.exact(envelope)
        before = found.list_start + 1
        for number, (start, end) in enumerate(found.members):
            try:
                if body[before:start].strip(_SPACE_BYTES) != (b"," if number else b""):
                    raise Misshapen("expected objects with commas between them")
                if end - start > PIECE_BYTES:
                    raise Misshapen(f"{end - start} bytes are too long, at most {PIECE_BYTES} are taken")
                read.append(_read(body[start:end], kind.member))
            except Misshapen as error:
                raise error.inside(number).inside(name) from None
            before = end
            yield
        if body[before : found.list_end - 1].strip(_SPACE_BYTES):
            raise Misshapen("expected objects with commas between them").inside(len(read)).inside(name)
        return tuple(read)
    except Misshapen as error:
        raise _told(error) from None


def _around(body: bytes, found: Outline, name: str) -> bytes:
    """`body` with nothing in its list."""
    around = body
    if found.list_start >= 0:
        if found.list_end < 0:
            raise _NotJson(f"the JSON document ends early, in {name}", head="unexpected EOF")
        if body[found.list_end - 1 : found.list_end] != b"]":
            raise _NotJson(f"not JSON: {name} ends with another bracket than it began with")
        around = body[: found.list_start] + b"[]" + body[found.list_end :]
    if len(around) > PIECE_BYTES:
        raise Misshapen(f"{len(around)} bytes are too long, at most {PIECE_BYTES} are taken beside the array {name}")
    return around


class _AsItIs:
    def read(self, value: object) -> object:
        return value

    def schema(self) -> dict[str, Any]:
        return {}


_AS_IT_IS = _AsItIs()


def _read(body: bytes, kind: Kind[T]) -> T:
    """Raises Misshapen; _NotJson where it is none."""
    try:
        value = _read_quickly(body)
    except _NotQuickly:
        return _read_strictly(body, kind)
    return kind.read(value)


class _NotQuickly(Exception):
    """It isn't good JSON, or can't be told to be good quickly."""


def _read_quickly(body: bytes) -> object:
    """What nearly all bodies are, in a quarter of the time: good JSON with no key twice and no number out of 64 bits.

    msgspec takes a key that is there twice, and rounds what is too large.
    """
    if not in_one_turn(body):
        raise _NotQuickly
    try:
        value = _quick_decoder.decode(body)
        _check(value, DEEPEST)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _NotQuickly from None
    if has_repeated_keys(body, msgspec.json.encode(value)):
        raise _NotQuickly
    return value


def _check(value: object, levels: int) -> None:
    """Raises _NotQuickly for large numbers, and for more than `levels` of objects and arrays: to be read strictly."""
    if isinstance(value, dict):
        members: Iterable[object] = value.values()
    elif isinstance(value, list):
        members = value
    elif isinstance(value, float) or (isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX):
        raise _NotQuickly
    else:
        return
    if not levels:
        raise _NotQuickly
    for member in members:
        if member is not None and not isinstance(member, str):
            _check(member, levels - 1)


def _read_strictly(body: bytes, kind: Kind[T]) -> T:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _NotJson(f"the body is not UTF-8: byte {error.start} ({body[error.start]:#04x})") from None
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise _NotJson("the body is empty, expected a JSON document", head="EOF")
    for _ in outline(body, Outline(), PIECE_WEIGHT):
        pass
    value, end = _parse(text, start)
    result = kind.read(value)
    if text[end:].strip(_SPACE):
        raise _NotJson(f"unexpected text after the JSON document, at character {end}")
    return result


_SPACE = " \t\r\n"
_SPACE_BYTES = _SPACE.encode()


def _parse(text: str, start: int) -> tuple[object, int]:
    try:
        try:
            return _decoder.raw_decode(text, start)
        except _Repeated:
            # What is wrong behind the repeated key is only found now.
            value, _ = _slow_decoder.raw_decode(text, start)
            raise _repeated(value) from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip(_SPACE)) or error.msg.startswith("Unterminated string")
        if cut:
            raise _NotJson(f"the JSON document ends early ({error.msg})", head="unexpected EOF") from None
        raise _NotJson(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise too_deep() from None


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


def _repeated(value: object) -> Misshapen:
    """Names the first object in `value` that has a key twice. It remembers where it is, nothing of where it was."""
    path: list[str | int] = []
    todo: list[Iterable[tuple[str | int, object]]] = [iter(((0, value),))]
    while todo:
        for step, found in todo[-1]:
            if isinstance(found, _RepeatedKey):
                error = _Twice(f'the key "{printable(found.key)}" is there twice')
                error.path = (*path[1:], step) if path else ()
                return error
            if isinstance(found, dict | list):
                path.append(step)
                todo.append(iter(found.items() if isinstance(found, dict) else enumerate(found)))
                break
        else:
            todo.pop()
            del path[-1:]
    raise AssertionError("no key is there twice")


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
