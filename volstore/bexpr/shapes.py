"""What rows look like to a filter: Go's types, with how their values are had from ours; and the walk along a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from volstore.bexpr.errors import EvaluationError
from volstore.bexpr.literals import Unconvertible, parse_int, quote

Getter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A plain value. `kind`: string, bool, int, int64, uint64 or float64, as Go calls it in its errors."""

    kind: str

    @property
    def type_name(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list or tuple; empty is nil, as no row of ours tells one from the other."""

    item: Shape
    kind = "slice"

    @property
    def type_name(self) -> str:
        return f"[]{self.item.type_name}"


@dataclass(frozen=True, slots=True)
class Table:
    """A dictionary with strings for keys."""

    item: Shape
    kind = "map"

    @property
    def type_name(self) -> str:
        return f"map[string]{self.item.type_name}"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A struct: by its fields' names, their shapes, and how each is had from a row."""

    fields: Mapping[str, tuple[Shape, Getter]]
    type_name: str = "struct"
    kind = "struct"


@dataclass(frozen=True, slots=True)
class Nullable:
    """What may be nil: a pointer. None is nil."""

    target: Shape

    @property
    def kind(self) -> str:
        return "ptr"

    @property
    def type_name(self) -> str:
        return f"*{self.target.type_name}"


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A JSON value, whose shape is what it happens to be."""

    kind = "interface"
    type_name = "interface {}"


Shape = Scalar | Sequence | Table | Record | Nullable | Dynamic

STRING, BOOL, INT, INT64, UINT64, FLOAT64 = (
    Scalar(kind) for kind in ("string", "bool", "int", "int64", "uint64", "float64")
)
DYNAMIC = Dynamic()
INVALID = Scalar("invalid")
"""The shape of nil."""

Found = tuple[Shape, Any]


class Missing(Exception):
    """The last step of a path names a key that its map hasn't got."""


def settled(shape: Shape, value: Any) -> Found:
    """Without pointers, and as what a dynamic value is."""
    while isinstance(shape, Nullable):
        if value is None:
            return INVALID, None
        shape = shape.target
    if isinstance(shape, Dynamic):
        return _dynamic(value), value
    return shape, value


def _dynamic(value: Any) -> Shape:
    match value:
        case None:
            return INVALID
        case bool():
            return BOOL
        case int():
            return INT64
        case float():
            return FLOAT64
        case str():
            return STRING
        case dict():
            return Table(DYNAMIC)
        case _:
            return Sequence(DYNAMIC)


def walk(found: Found, path: tuple[str, ...], start: int) -> Found:
    """From what the path's first `start` steps led to, to its end. Raises Missing and EvaluationError."""
    for place in range(start, len(path)):
        shape, value = settled(*found)
        part = path[place]
        match shape:
            case Record():
                field = shape.fields.get(part)
                if field is None:
                    raise unfound(path, place, f"couldn't find key: struct field with name {quote(part)}")
                found = field[0], field[1](value)
            case Table():
                if value is None or part not in value:
                    if place and place == len(path) - 1:
                        raise Missing
                    raise unfound(path, place, f"couldn't find key {quote(part)}")
                found = shape.item, value[part]
            case Sequence():
                found = shape.item, value[_index(path, place, value or ())]
            case _:
                raise EvaluationError(
                    f"error finding value in datum: {pointer(path)}: at part {place}, invalid value kind: {shape.kind}"
                )
    return found


def _index(path: tuple[str, ...], place: int, value: Any) -> int:
    try:
        index = parse_int(path[place])
    except Unconvertible:
        raise unfound(path, place, f"couldn't convert value {quote(path[place])} to type int") from None
    if not 0 <= index < len(value):
        raise unfound(path, place, f"index {index} is out of range (length = {len(value)})")
    return index


def unfound(path: tuple[str, ...], place: int, why: str) -> EvaluationError:
    return EvaluationError(f"error finding value in datum: {pointer(path)} at part {place}: {why}")


def pointer(path: tuple[str, ...]) -> str:
    """The path as a JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
