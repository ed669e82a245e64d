"""Bodies straight into structs: msgspec checks the kinds of the members while it parses.

A table of kinds takes seven times as long, so it only reads what a struct can't: text beyond ASCII or with escapes in
it, members of unknown names, and all that is wrong, whose place and fault the table words.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from volstore.http.json.shape import Boolean, Integer, Kind, ListOf, MapOf, Misshapen, Nullable, Object, Text

T = TypeVar("T")

_Take = Callable[[Any], Any] | None
"""Makes of a decoded value what its kind reads; None where it is that already."""
_BACKSLASH, _DELETE = b"\\\x7f"


class Untypable(Exception):
    """A kind that has no struct."""


def has_repeated_keys(body: bytes, encoded: bytes) -> bool:
    """Whether `body` may have a key twice; `encoded` is what was decoded from it, encoded again.

    Each key has a colon behind it, and a decoder that drops a key drops its colon. Colons in texts are in both, unless
    they are escaped.
    """
    return body.count(b":") != encoded.count(b":") or (
        _BACKSLASH in body and (b"\\u003a" in body or b"\\u003A" in body)
    )


class Typed(Generic[T]):
    """Reads `{name: [member, ...]}`, the members as `kind` does.

    `ignored` and `ignored_around` are the members that clients send for nothing, in a member and around the list: they
    may have any scalar value; `empty_around` those around the list that must be empty. Members with other names are
    left to the table.
    """

    def __init__(
        self,
        name: str,
        kind: Object[T],
        most: int,
        ignored: tuple[str, ...] = (),
        ignored_around: tuple[str, ...] = (),
        empty_around: tuple[str, ...] = (),
    ) -> None:
        member, take = _object(kind, ignored)
        list_of = Annotated[list[member], Meta(min_length=1, max_length=most)]  # type: ignore[valid-type]
        around: list[tuple[str, Any] | tuple[str, Any, Any]] = [(name, list_of)]
        around.extend((other, _SCALAR | UnsetType, UNSET) for other in ignored_around)
        around.extend((other, _EMPTY | UnsetType, UNSET) for other in empty_around)
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Body", around, gc=False))
        self._take = take

    def read(self, body: bytes) -> tuple[T, ...] | None:
        """None for a body that the table must read, good or bad. It must be one that may be read in one turn."""
        try:
            found = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        encoded = _encode(found)
        # Text of printable ASCII has as many bytes as characters, and is one line.
        if _BACKSLASH in encoded or _DELETE in encoded or not encoded.isascii() or has_repeated_keys(body, encoded):
            return None
        try:
            return tuple(map(self._take, astuple(found)[0]))
        except Misshapen:
            return None


_encode = msgspec.json.Encoder().encode
_SCALAR = bool | int | str | None
_EMPTY = Literal["", None]


def _typed(kind: Kind[Any]) -> tuple[Any, _Take]:
    """The type that a struct has for a member of this kind. Wherever `null` is a kind's empty value, so is "absent"."""
    match kind:
        case Text():
            return Annotated[str, Meta(max_length=kind.longest)], None
        case Integer():
            return Annotated[int, Meta(ge=kind.minimum, le=kind.maximum)], None
        case Boolean():
            return bool, None
        case Nullable():
            return _typed(kind.kind)
        case Object():
            return _object(kind)
        case ListOf():
            member, take = _typed(kind.member)
            list_of = Annotated[list[member], Meta(max_length=kind.most)]  # type: ignore[valid-type]
            return list_of, tuple if take is None else lambda found: tuple(map(take, found))
        case MapOf():
            key, _ = _typed(kind.key)
            member, take = _typed(kind.member)
            if take is not None:
                raise Untypable(kind)
            return Annotated[dict[key, member], Meta(max_length=kind.most)], None  # type: ignore[valid-type]
        case _ if (typed := getattr(kind, "typed", None)) is not None:
            return typed, kind.read
        case _:
            raise Untypable(kind)


def _object(kind: Object[T], ignored: tuple[str, ...] = ()) -> tuple[Any, Callable[[Any], T]]:
    """A struct of the members' names, and how the kind's own value is made of one."""
    fields: list[tuple[str, Any, Any]] = []
    names: list[str] = []
    takes: list[tuple[str, Callable[[Any], Any]]] = []
    for name, (argument, member) in kind.members.items():
        typed, take = _typed(member)
        fields.append((name, typed | UnsetType | None, UNSET))
        names.append(argument)
        if take is not None:
            takes.append((argument, take))
    fields.extend((name, _SCALAR | UnsetType, UNSET) for name in ignored)
    build = kind.build

    def made(found: Any) -> T:
        # What isn't there, null, and what is empty are the defaults of `build`.
        values = astuple(found)
        arguments = dict(compress(zip(names, values, strict=False), values))
        for argument, take in takes:
            if argument in arguments:
                arguments[argument] = take(arguments[argument])
        return build(**arguments)

    return msgspec.defstruct("Typed", fields, gc=False), made
