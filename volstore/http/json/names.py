"""Which member of an object a key names: Go's clients write it in any case, and nothing that says something is dropped.

A key that is exactly a member's name is that member. Otherwise one that differs in case alone is, as Go's decoder has
it, unless both are there. Any other key is a mistake, or says what volstore can't do: it is refused by name, but for
those that say nothing (null, zero or empty), as Go's clients send every field that they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from volstore.http.json.misshapen import Misshapen


class Names:
    """`members` are read; `passed` are known to clients and worked out by the registry itself, so they mean nothing."""

    __slots__ = ("_by_fold", "_members", "_passed", "_told")

    def __init__(self, members: Iterable[str], passed: Iterable[str] = ()) -> None:
        self._members, self._passed = frozenset(members), frozenset(passed)
        self._by_fold = {name.lower(): name for name in (*self._passed, *self._members)}
        self._told = ", ".join(sorted(self._members))

    def exact(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """`value` with the members alone, each under its own name. Raises Misshapen."""
        if value.keys() <= self._members:
            return value
        found: dict[str, Any] = {}
        for name, member in value.items():
            meant = name if name in self._members else self._by_fold.get(name.lower(), "")
            if not meant:
                if not _says_nothing(member):
                    raise Misshapen(f"unknown field, expected one of: {self._told}").inside(name)
            elif meant in self._members:
                if meant in found or (meant != name and meant in value):
                    raise Misshapen(f"the field {meant} is there twice, in two spellings").inside(name)
                found[meant] = member
        return found

    def any_of(self, value: Mapping[str, Any]) -> bool:
        """Whether a member is there, in whatever case."""
        return any(self._by_fold.get(name.lower(), "") in self._members for name in value)


def _says_nothing(value: object) -> bool:
    return not value


REQUESTS = ("Region", "SecretID")
"""What Go's clients put beside what they ask (WriteRequest): the region is checked in the query, and a token in a body
isn't looked at."""
