"""The messages between members: one table of their fields. What doesn't fit is refused before anybody acts on it.

What is done with each kind is in two tables beside it: `Node` has one for all kinds, `Engine` one for those of Raft.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

Frame = list[Any]

_NONE = type(None)
_MOST = 1 << 62
"""Of terms and the like: they are counted up from what messages say, and mustn't outgrow what can be written."""
_ITEMS: dict[Any, tuple[type, ...]] = {"p": (bytes, int, int, bytes), "o": (str, bytes, bytes)}
"""Kind of an item (`cluster.node.sessions`) → the types of what follows."""


class Kind(NamedTuple):
    """`fields` follow the kind in a frame, in this order. `forms` has each allowed combination of their types.

    Types are compared as they are: what a frame is decoded to has no subclasses, and True must not pass for a number.
    `contents` looks into the lists among the fields: what is wrong with them, None if nothing is.
    """

    fields: tuple[str, ...]
    forms: frozenset[tuple[type, ...]]
    contents: Callable[[Frame], str | None] | None


def _kind(_contents: Callable[[Frame], str | None] | None = None, /, **fields: type | tuple[type, ...]) -> Kind:
    choices = (types if isinstance(types, tuple) else (types,) for types in fields.values())
    return Kind(tuple(fields), frozenset(product(*choices)), _contents)


def _types(values: list[Any]) -> tuple[type, ...]:
    return tuple(map(type, values))


def _entries_and_mark(frame: Frame) -> str | None:
    for entry in frame[6]:
        if type(entry) is not list or _types(entry) != (int, bytes) or not entry[1]:
            return "append_entries with an entry of the wrong form"
    if frame[7] is not None and _types(frame[7]) != (int, bytes):
        return "append_entries with a digest of the wrong form"
    return None


def _items(frame: Frame) -> str | None:
    for item in frame[1]:
        if type(item) is not list or not item or type(item[0]) is not str or _types(item[1:]) != _ITEMS.get(item[0]):
            return "a proposal of the wrong form"
    return None


def _pairs(frame: Frame) -> str | None:
    for pair in frame[1]:
        if type(pair) is not list or _types(pair) != (bytes, int):
            return "a refusal of the wrong form"
    return None


RAFT: dict[Any, Kind] = {
    # append_entries. entries: [[term, data]]; mark: the leader's [log index, state digest].
    "app": _kind(
        _entries_and_mark,
        term=int, round=int, previous_index=int, previous_term=int, commit_index=int, entries=list, mark=(list, _NONE),
    ),
    # The commit index alone, which needs no answer.
    "commit": _kind(term=int, commit_index=int),
    # Answer to "app". index: the last one verified if the log matched, otherwise the one to try next.
    "ack": _kind(term=int, round=int, matched=bool, index=int),
    # pre: only asked whether it could win (PreVote); on_transfer: the leader hands over.
    "vote?": _kind(term=int, last_index=int, last_term=int, pre=bool, on_transfer=bool),
    "vote": _kind(term=int, granted=bool, pre=bool),
    # The leader hands over: stand for election at once.
    "now": _kind(term=int),
}  # fmt: skip
"""The messages of Raft's own rules, which `Engine.receive` takes."""

KINDS: dict[Any, Kind] = RAFT | {
    # Proposals, to the leader.
    "prop": _kind(_items, items=list),
    # Proposals that the leader didn't take: [[session, number]].
    "no": _kind(_pairs, pairs=list, reason=str),
    # A read index is asked for, and answered; None for "not known, ask again".
    "read?": _kind(number=int),
    "read": _kind(number=int, index=(int, _NONE)),
    # The leader's application is asked, and answers; None for "not yet, ask again".
    "ask": _kind(number=int, question=bytes),
    "told": _kind(number=int, answer=(bytes, _NONE)),
    # A piece of a snapshot, and its acknowledgement. size, offset, held: bytes of the whole file.
    "snap": _kind(
        term=int, index=int, snapshot_term=int, size=int, offset=int,
        data=bytes, digest=bytes, membership=bytes, extra=bytes,
    ),
    "snapack": _kind(term=int, index=int, held=int, installed=bool),
    # You were removed from the cluster by the configuration at this log index.
    "gone": _kind(term=int, index=int),
    # Is this disk a member under this name? The answer: it is, in the configuration at this log index.
    "known?": _kind(name=str, incarnation=bytes),
    "known": _kind(index=int, name=str, incarnation=bytes),
}  # fmt: skip
"""All messages."""


def flaw(frame: Frame) -> str | None:
    """What is wrong with the frame's form; None if nothing is."""
    name = frame[0]
    kind = KINDS.get(name)
    if kind is None:
        return f"unknown message {name!r}"
    if _types(frame[1:]) not in kind.forms:
        return f"a {name!r} message of the wrong form"
    if type(frame[1]) is int and not 0 <= frame[1] < _MOST:
        return f"a {name!r} message with a number that can't be: {frame[1]}"
    return kind.contents(frame) if kind.contents is not None else None
