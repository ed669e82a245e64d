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


class Variable:
    """What a block's name stands for at the moment: an index or key, or the member of that key in what `base` names.

    `base` None: the name stands for the key itself.
    """

    __slots__ = ("base", "found", "key")

    def __init__(self, found: Found, base: tuple[str, ...] | None, key: Any) -> None:
        self.found = found
        self.base = base
        self.key = key

    @property
    def path(self) -> tuple[str, ...]:
        """From the row to the member."""
        return () if self.base is None else (*self.base, str(self.key))


def walk(found: Found, path: tuple[str, ...], start: Variable | None = None) -> Found:
    """From a row, or from what a variable stands for, along the path. Raises Missing and EvaluationError."""
    for place, part in enumerate(path):
        shape, value = settled(*found)
        match shape:
            case Record():
                field = shape.fields.get(part)
                if field is None:
                    raise _unfound(path, place, start, f"couldn't find key: struct field with name {quote(part)}")
                found = field[0], field[1](value)
            case Table():
                if value is None or part not in value:
                    if (place or start) and place == len(path) - 1:
                        raise Missing
                    raise _unfound(path, place, start, f"couldn't find key {quote(part)}")
                found = shape.item, value[part]
            case Sequence():
                members = value or ()
                found = shape.item, members[_index(path, place, start, len(members))]
            case _:
                whole, place = _whole(path, place, start)
                raise EvaluationError(
                    f"error finding value in datum: {pointer(whole)}: at part {place}, invalid value kind: {shape.kind}"
                )
    return found


def _index(path: tuple[str, ...], place: int, start: Variable | None, length: int) -> int:
    try:
        index = parse_int(path[place])
    except Unconvertible:
        raise _unfound(path, place, start, f"couldn't convert value {quote(path[place])} to type int") from None
    if not 0 <= index < length:
        raise _unfound(path, place, start, f"index {index} is out of range (length = {length})")
    return index


def _unfound(path: tuple[str, ...], place: int, start: Variable | None, why: str) -> EvaluationError:
    whole, place = _whole(path, place, start)
    return EvaluationError(f"error finding value in datum: {pointer(whole)} at part {place}: {why}")


def _whole(path: tuple[str, ...], place: int, start: Variable | None) -> tuple[tuple[str, ...], int]:
    before = () if start is None else start.path
    return (*before, *path), place + len(before)


def pointer(path: tuple[str, ...]) -> str:
    """The path as a JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
