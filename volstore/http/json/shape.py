"""Kinds of JSON value that a request may bring: each reads one, and says in a JSON schema what it reads.

`null` reads as the kind's empty value everywhere, as Go's clients send it for what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from volstore.http.json.misshapen import Misshapen as Misshapen
from volstore.http.json.misshapen import path_text as path_text
from volstore.http.json.misshapen import printable as printable
from volstore.http.json.names import REQUESTS, Names

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

MOST_MEMBERS = 1000
"""Of one object with free keys, and of one array: Nomad's own have a few dozen."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Kind(Protocol[T_co]):
    """Reads one JSON value. `read` raises Misshapen; `schema` is a JSON schema (draft 2020-12) of what it takes."""

    def read(self, value: object) -> T_co: ...

    def schema(self) -> dict[str, Any]: ...


def expected(what: str, value: object) -> Misshapen:
    return Misshapen(f"expected {what}, got {_name(value)}")


def too_many(what: str, most: int) -> Misshapen:
    return Misshapen(f"{what} are too many, at most {most} are taken")


def _name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


@dataclass(frozen=True, slots=True)
class Text:
    """A string of at most `longest` bytes of UTF-8. `one_line` forbids control characters: names and IDs."""

    longest: int = 65_536
    one_line: bool = False
    one_of: tuple[str, ...] = ()
    """For the schema alone: which values there are is a rule, checked where the rules are."""

    def read(self, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise expected("a string", value)
        if len(value) <= self.longest and value.isascii() and (not self.one_line or value.isprintable()):
            return value
        if not value.isascii():
            try:
                size = len(value.encode())
            except UnicodeEncodeError as error:
                raise Misshapen(f"half a surrogate pair (character {error.start}) is not text") from None
        else:
            size = len(value)
        if size > self.longest:
            raise Misshapen(f"{size} bytes are too long, at most {self.longest} are taken")
        if self.one_line and not value.isprintable() and (found := _CONTROL.search(value)):
            raise Misshapen(f"control character U+{ord(found[0]):04X} is not allowed here")
        return value

    def schema(self) -> dict[str, Any]:
        if self.one_of:
            return {"type": "string", "enum": list(self.one_of)}
        return {"type": ["string", "null"], "maxLength": self.longest}


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number of 64 bits, as Go's clients can hold."""

    minimum: int = INT64_MIN
    maximum: int = INT64_MAX

    def read(self, value: object) -> int:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            raise Misshapen("expected a whole number") if isinstance(value, float) else expected("a number", value)
        if not self.minimum <= value <= self.maximum:
            raise Misshapen(f"{value} is out of range, expected {self.minimum} to {self.maximum}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["integer", "null"], "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Boolean:
    def read(self, value: object) -> bool:
        if value is None:
            return False
        if not isinstance(value, bool):
            raise expected("true or false", value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "null"]}


@dataclass(frozen=True, slots=True)
class MapOf(Generic[T]):
    """An object with free keys."""

    member: Kind[T]
    key: Text = field(default_factory=lambda: Text(longest=1024, one_line=True))
    most: int = MOST_MEMBERS

    def read(self, value: object) -> dict[str, T]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise expected("an object", value)
        if len(value) > self.most:
            raise too_many(f"{len(value)} keys", self.most)
        result = {}
        for name, member in value.items():
            try:
                result[self.key.read(name)] = self.member.read(member)
            except Misshapen as error:
                raise error.inside(name) from None
        return result

    def schema(self) -> dict[str, Any]:
        return {
            "type": ["object", "null"],
            "additionalProperties": self.member.schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    member: Kind[T]
    most: int = MOST_MEMBERS

    def read(self, value: object) -> tuple[T, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise expected("an array", value)
        if len(value) > self.most:
            raise too_many(f"{len(value)} elements", self.most)
        result = []
        for place, member in enumerate(value):
            try:
                result.append(self.member.read(member))
            except Misshapen as error:
                raise error.inside(place) from None
        return tuple(result)

    def schema(self) -> dict[str, Any]:
        return {"type": ["array", "null"], "items": self.member.schema(), "maxItems": self.most}


@dataclass(frozen=True, slots=True)
class Object(Generic[T]):
    """An object with known members: JSON name → (argument of `build`, kind). Absent ones keep `build`'s default.

    `passed`: names of what else may be there (names.py); None: anything.
    """

    build: Callable[..., T]
    members: Mapping[str, tuple[str, Kind[Any]]]
    passed: Collection[str] | None = ()
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", Names(self.members, self.passed or ()))

    def read(self, value: object) -> T:
        if value is None:
            return self.build()
        if not isinstance(value, dict):
            raise expected("an object", value)
        return self.build(**self.arguments(value))

    def arguments(self, value: Mapping[str, object]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        members = self.members
        if self.passed is not None and not value.keys() <= members.keys():
            value = self.names.exact(value)
        try:
            for name, given in value.items():
                if name in members:
                    argument, kind = members[name]
                    found[argument] = kind.read(given)
            return found
        except Misshapen:
            pass  # Read again, in our own order: of several faults the same is told, however the client sorts them.
        for name, (argument, kind) in members.items():
            if name in value:
                try:
                    found[argument] = kind.read(value[name])
                except Misshapen as error:
                    raise error.inside(name) from None
        return found

    def schema(self) -> dict[str, Any]:
        return {
            "type": ["object", "null"],
            "properties": {name: kind.schema() for name, (_, kind) in self.members.items()},
        }


@dataclass(frozen=True, slots=True)
class Nullable(Generic[T]):
    """`kind`, but null stays None."""

    kind: Kind[T]

    def read(self, value: object) -> T | None:
        return None if value is None else self.kind.read(value)

    def schema(self) -> dict[str, Any]:
        return self.kind.schema()


@dataclass(frozen=True, slots=True)
class FlatOrWrapped(Generic[T]):
    """A body that is a thing of this kind, or an object with it as the member `name`."""

    name: str
    kind: Kind[T]
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", Names((self.name,), REQUESTS))

    def read(self, value: object) -> T:
        if not isinstance(value, dict):
            raise expected("an object", value)
        if not self.names.any_of(value):
            return self.kind.read(value)
        value = self.names.exact(value)
        try:
            return self.kind.read(value[self.name])
        except Misshapen as error:
            raise error.inside(self.name) from None

    def schema(self) -> dict[str, Any]:
        thing = {**self.kind.schema(), "type": "object"}
        return {
            "anyOf": [
                {"type": "object", "properties": {self.name: thing}, "required": [self.name]},
                {**thing, "not": {"required": [self.name]}},
            ]
        }


class Batch(Kind[tuple[T, ...]], Protocol[T]):
    """A body with a list of things, each of which can be read by itself: `{list_name: [member, …]}`."""

    list_name: str
    member: Kind[T]
    most: int
    names: Names
    """Of what is beside the list."""
