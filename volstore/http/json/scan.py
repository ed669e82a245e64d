"""Estimates the cost of a JSON document before it is decoded: its depth, its values, the places of a list's members.

A decoder makes objects of up to thirty times the size of their text, and can't be stopped on the way. So the text is
looked at first, by the fast searches of `bytes` and in pieces of CHUNK bytes, between which others can have a turn.
Whether the text is JSON isn't judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from volstore.http.json.shape import Misshapen, too_many

DEEPEST = 32
"""Levels of objects and arrays in a document."""
CONTAINER_WEIGHT = 3
"""An object or array counts as so many values: it takes some 200 bytes of memory, a short string 50."""
CHUNK = 8 * 1024
"""Bytes that are looked at in one turn: 2 ms for the worst."""

_BRACKET = re.compile(rb"[\[\]{}]")


def too_heavy(most: int) -> Misshapen:
    return Misshapen(
        f"too many values: at most {most} are taken (an object or an array counts as {CONTAINER_WEIGHT} of them)"
    )


def too_deep() -> Misshapen:
    return Misshapen(f"the JSON document is nested too deeply: at most {DEEPEST} levels are taken")


def weight_at_most(body: bytes) -> int:
    """An upper bound of what `Outline.weight` would be, much faster: it counts inside strings too."""
    return body.count(b",") + CONTAINER_WEIGHT * (body.count(b"[") + body.count(b"{")) + 1


@dataclass(slots=True)
class Outline:
    """What was found. `weight` counts the values, an object or array as CONTAINER_WEIGHT.

    `list_start` and `list_end` are where the list that was looked for begins and ends (-1 where it doesn't), and
    `members` where the objects and arrays in it do.
    """

    weight: int = 1
    list_start: int = -1
    list_end: int = -1
    members: list[tuple[int, int]] = field(default_factory=list)


def outline(body: bytes, found: Outline, most: int, name: str = "", most_members: int = 0) -> Iterator[None]:
    """Fill `found`, with a pause after each CHUNK. `name`: look for that member of the outermost object, an array.

    Raises Misshapen where the document is deeper than DEEPEST or heavier than `most`, or that array has more than
    `most_members`.
    """
    # Where the name is spelled otherwise, or there are two, the second stays unfound: the reader sees it as it is.
    key = re.compile(rb'(?<!\\)"%s"[ \t\r\n]*:[ \t\r\n]*\Z' % re.escape(name.encode())) if name else None
    start, inside, depth, strings, first = 0, False, 0, 0, -1
    while start < len(body):
        chunk = body[start : start + CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:
            chunk = body[start : start + CHUNK + 1]  # what is escaped belongs to its backslash
        blank, inside, quotes = _without_texts(chunk, inside)
        found.weight += blank.count(b",") + CONTAINER_WEIGHT * (blank.count(b"[") + blank.count(b"{"))
        strings += (quotes + 1) // 2
        for bracket in _BRACKET.finditer(blank):
            at = start + bracket.start()
            if bracket[0] in b"[{":
                depth += 1
                if depth > DEEPEST:
                    raise too_deep()
                if depth == _MEMBER:
                    first = at
                elif (
                    depth == _LIST
                    and bracket[0] == b"["
                    and key is not None
                    and found.list_start < 0
                    and key.search(body[max(0, at - len(name) - _MOST_SPACE) : at])
                ):
                    found.list_start = at
            else:
                depth -= 1
                if found.list_start < 0 or found.list_end >= 0:
                    continue
                if depth == _LIST:
                    if len(found.members) == most_members:
                        raise too_many(f"more than {most_members} elements", most_members).inside(name)
                    found.members.append((first, at + 1))
                elif depth < _LIST:
                    found.list_end = at + 1
        # Good JSON has at most two strings, a key and a value, for each value.
        if found.weight > most or strings > 2 * most + len(body) // CHUNK:
            raise too_heavy(most)
        start += len(chunk)
        yield


_LIST, _MEMBER = 2, 3
"""The depths of a list that is a member of the outermost object, and of what is in it."""
_MOST_SPACE = 64
"""Bytes around the colon before the list."""


def _without_texts(chunk: bytes, inside: bool) -> tuple[bytes, bool, int]:
    """`chunk` with zeros for what is in strings; whether its end is inside of one; and how many quotes it has.

    `inside`: whether its beginning is.
    """
    if b"\\" in chunk:
        chunk = chunk.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    pieces = chunk.split(b'"')
    first = 0 if inside else 1
    pieces[first::2] = map(bytes, map(len, pieces[first::2]))
    return b'"'.join(pieces), inside ^ (len(pieces) % 2 == 0), len(pieces) - 1
