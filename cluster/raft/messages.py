"""The messages between members and their form; what doesn't fit is refused before anybody acts on it."""

from __future__ import annotations

from typing import Any

Frame = list[Any]

_NONE = type(None)
# Kind → the types of what follows, in each form that is allowed. The types are compared as they are: what a frame is
# decoded to has no subclasses, and True must not pass for a number. Entries, items and the like are checked below.
_FORMS: dict[Any, tuple[tuple[type, ...], ...]] = {
    # append_entries: term, round, previous index, previous term, commit index, [[term, data]], digest mark or None
    "app": ((int, int, int, int, int, list, _NONE), (int, int, int, int, int, list, list)),
    "commit": ((int, int),),  # term, commit index; needs no answer
    "ack": ((int, int, bool, int),),  # term, round echoed, whether the log matched, last index verified or where to try
    "vote?": ((int, int, int, bool, bool),),  # term, last index, last term, whether it is only asked, on a transfer
    "vote": ((int, bool, bool),),  # term, granted, whether it was only asked
    "now": ((int,),),  # term: stand for election at once
    "prop": ((list,),),  # items of sessions.py, to the leader
    "no": ((list, str),),  # [[session, number]] that were not taken, and why
    "read?": ((int,),),  # which question
    "read": ((int, int), (int, _NONE)),  # which question, the index to have applied
    "ask": ((int, bytes),),  # which question, and what is asked of the leader's user
    "told": ((int, bytes), (int, _NONE)),  # which question, and the answer; None: ask again
    # a piece of a snapshot: term, index, its term, file size, offset, data, digest, membership, extra
    "snap": ((int, int, int, int, int, bytes, bytes, bytes, bytes),),
    "snapack": ((int, int, int, bool),),  # term, snapshot index, bytes held, installed
    "gone": ((int, int),),  # term, log index: you were removed
    "known?": ((str, bytes),),  # a name and a disk: is it a member
    "known": ((int, str, bytes),),  # the index of a configuration, and a name and a disk that are in it
}
_MOST = 1 << 62
"""Of terms and the like: they are counted up from what messages say, and mustn't outgrow what can be written."""
_ITEMS: dict[Any, tuple[type, ...]] = {"p": (bytes, int, int, bytes), "o": (str, bytes, bytes)}


def _types(values: list[Any]) -> tuple[type, ...]:
    return tuple(map(type, values))


def flaw(frame: Frame) -> str | None:
    """What is wrong with the frame's form; None if nothing is."""
    kind = frame[0]
    forms = _FORMS.get(kind)
    if forms is None:
        return f"unknown message {kind!r}"
    if _types(frame[1:]) not in forms:
        return f"a {kind!r} message of the wrong form"
    if type(frame[1]) is int and not 0 <= frame[1] < _MOST:
        return f"a {kind!r} message with a number that can't be: {frame[1]}"
    if kind == "app":
        for entry in frame[6]:
            if type(entry) is not list or _types(entry) != (int, bytes) or not entry[1]:
                return "append_entries with an entry of the wrong form"
        if frame[7] is not None and _types(frame[7]) != (int, bytes):
            return "append_entries with a digest of the wrong form"
    elif kind == "prop":
        for item in frame[1]:
            if (
                type(item) is not list
                or not item
                or type(item[0]) is not str
                or _types(item[1:]) != _ITEMS.get(item[0])
            ):
                return "a proposal of the wrong form"
    elif kind == "no":
        for pair in frame[1]:
            if type(pair) is not list or _types(pair) != (bytes, int):
                return "a refusal of the wrong form"
    return None
