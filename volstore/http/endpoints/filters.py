"""`filter` on lists: what rows look like to an expression, and the choice of rows, in slices of time.

A filter sees what a read shows, under Nomad's names, and never a secret, a mount flag or a hash: whoever may list
would else learn them bit by bit. Who may list volumes of a namespace but not read them filters by what a list shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from volstore import bexpr
from volstore.bexpr import EvaluationError, Predicate, SyntaxFault
from volstore.bexpr.shapes import BOOL, DYNAMIC, FLOAT64, INT, INT64, STRING, UINT64, Getter, Nullable, Record, Shape
from volstore.bexpr.shapes import Sequence as ListShape
from volstore.bexpr.shapes import Table as MapShape
from volstore.core.errors import ApiError

T = TypeVar("T")

SLICE = 0.005
"""Seconds that rows are tested for before others have their turn."""
BETWEEN_LOOKS = 16
"""Rows that are tested between two looks at the clock."""
MOST_COMPARISONS = 20_000_000
"""Comparisons that one list's filter may take: its expression's, times the rows that it is asked of."""
KEPT = 256
"""Compiled filters that are kept."""

HIDDEN = frozenset(("Secrets", "MountFlags", "Hash", "SecretID", "Allocations"))
"""Fields that no filter sees: a caller could guess a secret, or an allocation it may not read, by what is listed."""

_BY_TYPE: dict[Any, Shape] = {
    str: STRING,
    bool: BOOL,
    float: FLOAT64,
    Any: DYNAMIC,
    NoneType: Nullable(DYNAMIC),
    None: Nullable(DYNAMIC),
}

TOPOLOGY = Record({"Segments": (MapShape(STRING), lambda seen: seen.get("Segments", seen))}, "structs.CSITopology")
_TOPOLOGIES = ListShape(Nullable(TOPOLOGY))
_BY_NAME: dict[str, Shape] = {
    **dict.fromkeys(("Topologies", "Required", "Preferred"), _TOPOLOGIES),
    "AccessibleTopology": Nullable(TOPOLOGY),
}


def compiled(text: str, shape: Record) -> Predicate:
    """The filter that a request names. Raises ApiError 400, in Nomad's words."""
    found = _compiled(text, shape)
    if isinstance(found, SyntaxFault):
        raise ApiError(400, f"failed to create result paginator: failed to read filter expression: {found}")
    return found


@lru_cache(KEPT)
def _compiled(text: str, shape: Record) -> Predicate | SyntaxFault:
    try:
        return bexpr.compile_filter(text, shape)
    except SyntaxFault as fault:
        return fault


async def chosen(rows: Sequence[T], test: Callable[[T], bool], comparisons: int, most: int) -> list[T]:
    """The first `most` rows that `test` takes; the rows must be frozen, as others have their turn meanwhile.

    `comparisons`: how many a row takes. Raises ApiError 400.
    """
    found: list[T] = []
    affordable = MOST_COMPARISONS // max(comparisons, 1)
    until = time.perf_counter() + SLICE
    try:
        for start in range(0, len(rows), BETWEEN_LOOKS):
            if start >= affordable:
                raise EvaluationError(
                    f"a filter may take {MOST_COMPARISONS} comparisons, and this one takes {comparisons} for each of "
                    f"{len(rows)} rows; ask for fewer by prefix, namespace or a shorter expression"
                )
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + SLICE
            for row in rows[start : start + BETWEEN_LOOKS]:
                if test(row):
                    found.append(row)
                    if len(found) == most:
                        return found
    except EvaluationError as error:
        raise ApiError(400, f"failed to read result page: {error}") from None
    return found


def shape_of(view: type[msgspec.Struct], name: str = "") -> Record:
    """A view's fields as Go has them; those that nobody may filter by are left out."""
    fields: dict[str, tuple[Shape, Getter]] = {}
    for field in msgspec.structs.fields(view):
        if field.encode_name not in HIDDEN:
            shape = _BY_NAME.get(field.encode_name) or _shape(field.type, field.encode_name)
            fields[field.encode_name] = shape, _getter(field.name, field.type)
    return Record(fields, name or f"structs.{view.__name__.removesuffix('View')}")


def _getter(name: str, type_: Any) -> Getter:
    get = attrgetter(name)
    if UnsetType not in get_args(type_):
        return get
    return lambda view: None if (found := get(view)) is UNSET else found


def _shape(type_: Any, name: str) -> Shape:
    if type_ is int:
        return _integer(name)
    if type_ in _BY_TYPE:
        return _BY_TYPE[type_]
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (UnionType, Union):
        (target,) = [argument for argument in arguments if argument not in (None, NoneType, UnsetType)]
        shape = _shape(target, name)
        return shape if isinstance(shape, ListShape | MapShape) else Nullable(shape)
    if origin in (list, tuple):
        return ListShape(_shape(arguments[0], name))
    if origin is dict:
        return MapShape(_shape(arguments[1], name))
    return Nullable(shape_of(type_))


def _integer(name: str) -> Shape:
    if name.endswith("Index"):
        return UINT64
    return INT64 if "Capacity" in name or name.endswith(("Time", "At")) else INT
