"""Turns the items of a block into the API's fields by a schema: a table of names and of what each one holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from volstore.hcl.scalars import decoded, written
from volstore.hcl.tree import Item, Items, Number, Place, Value
from volstore.text import did_you_mean
from volstore.units import parse_size

Convert = Callable[[list[Item]], Any]
Schema = dict[str, tuple[str, Convert]]
"""A file's name → the API's name, and what turns all items of that name into the field's value."""

Scalar = Callable[[Value], str | None]


class FieldError(Exception):
    """What is wrong with a field, and where, if the place is known."""

    def __init__(self, text: str, place: Place | None = None) -> None:
        super().__init__(text)
        self.place = place


def read_fields(items: Items, schema: Schema, what: str, *, any_case: bool = False) -> dict[str, Any]:
    """`items` by the API's names. Raises FieldError for a name that isn't in `schema`, or comes twice where it can't.

    A block may come several times if its converter takes many items (`blocks`, `merged`). JSON's null sets nothing.
    """
    grouped: dict[str, list[Item]] = {}
    for item in items:
        name = item.name.lower() if any_case else item.name
        if name not in schema:
            raise unknown(item, schema, what)
        if len(item.keys) > 1:
            raise FieldError(f"{item.name} takes no label: write {item.name} {{ … }}", item.place)
        if item.value is not None:
            grouped.setdefault(name, []).append(item)
    fields: dict[str, Any] = {}
    for name, group in grouped.items():
        api_name, convert = schema[name]
        fields[api_name] = convert(group)
    return fields


def unknown(item: Item, known: Iterable[str], what: str) -> FieldError:
    """The refusal of a key, with the one that was probably meant."""
    known = sorted(known)
    meant = did_you_mean(item.name, known)
    hint = f"; did you mean {meant}?" if meant else f"; {what} has {', '.join(known)}"
    return FieldError(f"unexpected key {cut(item.name)}{hint}", item.place)


_LONGEST_SHOWN = 128
"""Characters of a name or value in a message."""


def cut(text: str) -> str:
    """A text as far as a message shows it."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def show(value: Value) -> str:
    """A value in a message: scalars as they are, the rest by its kind."""
    match value:
        case Number(number):
            return cut(number)
        case str() | bool() | None:
            return cut(json.dumps(value, ensure_ascii=False))
        case list():
            return "a list"
        case _:
            return "a block"


def kind(value: Value) -> str:
    """What a value is, without its content: it may be a secret."""
    match value:
        case str():
            return "a string"
        case Number():
            return "a number"
        case _:
            return show(value)


def one(group: list[Item]) -> Item:
    """The only item of a name. Raises FieldError if there are two."""
    if len(group) > 1:
        raise FieldError(f"{group[0].name} is there twice (first on line {group[0].place[0]})", group[1].place)
    return group[0]


def text(group: list[Item]) -> str:
    """A text, as Nomad's mapstructure makes it of scalars."""
    item = one(group)
    return _scalar(item.name, item.value, item.place, decoded)


def written_text(group: list[Item]) -> str:
    """A text, with scalars as they are written."""
    item = one(group)
    return _scalar(item.name, item.value, item.place, written)


def _scalar(name: str, value: Value, place: Place, scalar: Scalar) -> str:
    try:
        found = scalar(value)
    except ValueError as error:
        raise FieldError(f"{name}: {error}", place) from None
    if found is None:
        raise FieldError(f"{name} must be a string, not {show(value)}", place)
    return found


def texts(group: list[Item]) -> list[str]:
    """A list of texts, as they are written."""
    item = one(group)
    if not isinstance(item.value, list):
        raise FieldError(f"{item.name} must be a list of strings, not {show(item.value)}", item.place)
    return [_scalar(f"{item.name}[{n}]", value, item.place, written) for n, value in enumerate(item.value)]


def size(group: list[Item]) -> int:
    """Bytes; an empty text is 0, as it is to Nomad."""
    item = one(group)
    match item.value:
        case str(found) | Number(found):
            try:
                return parse_size(found) if found else 0
            except ValueError as error:
                raise FieldError(f"{item.name}: {error}", item.place) from None
        case _:
            raise FieldError(f'{item.name} must be a size like "10GiB", not {show(item.value)}', item.place)


def blocks(group: list[Item]) -> list[Items]:
    """The blocks of one name: written one by one, or as a list of objects."""
    found: list[Items] = []
    for item in group:
        for value in item.value if isinstance(item.value, list) else [item.value]:
            if not isinstance(value, tuple):
                raise FieldError(f"{item.name} must be a block ({item.name} {{ … }}), not {kind(value)}", item.place)
            found.append(value)
    return found


def merged(group: list[Item]) -> Items:
    """The items of all blocks of one name, as if they were one block."""
    return tuple(item for block in blocks(group) for item in block)


def text_map(group: list[Item]) -> dict[str, str]:
    """Blocks of any names, each with a text, as Nomad's mapstructure makes it of scalars; null is an empty one."""
    return map_of(group[0].name, merged(group), decoded)


def map_of(name: str, items: Items, scalar: Scalar) -> dict[str, str]:
    """`items` as a map; `name` is for messages. Raises FieldError for a key that is there twice."""
    mapping: dict[str, str] = {}
    for item in items:
        full = f"{name}.{cut(item.name)}"
        if item.name in mapping:
            raise FieldError(f"{full} is there twice", item.place)
        if len(item.keys) > 1:
            raise FieldError(f"{full} must be a string, not a block", item.place)
        mapping[item.name] = "" if item.value is None else _scalar(full, item.value, item.place, scalar)
    return mapping
