"""The messages between members and their form; what doesn't fit is refused before anybody acts on it."""

from __future__ import annotations

from typing import Any

Frame = list[Any]

# Kind → the types of what follows. Entries, items and the like are checked one level deeper below.
_FORMS: dict[str, tuple[type | tuple[type, ...], ...]] = {
    # append_entries: term, round, previous index, previous term, commit index, [[term, data]], digest mark or None
    "app": (int, int, int, int, int, list, (list, type(None))),
    "commit": (int, int),  # term, commit index; needs no answer
    "ack": (int, int, bool, int),  # term, round echoed, whether the log matched, last index verified or where to try
    "vote?": (int, int, int, bool, bool),  # term, last index, last term, whether it is only asked, on a transfer
    "vote": (int, bool, bool),  # term, granted, whether it was only asked
    "now": (int,),  # term: stand for election at once
    "prop": (list,),  # items of sessions.py, to the leader
    "no": (list, str),  # [[session, number]] that were not taken, and why
    "read?": (int,),  # which question
    "ask": (int, bytes),  # which question, and what is asked of the leader's user
    "told": (int, (bytes, type(None))),  # which question, and the answer; None: ask again
    "read": (int, (int, type(None))),  # which question, the index to have applied
    # a piece of a snapshot: term, index, its term, file size, offset, data, digest, membership, extra
    "snap": (int, int, int, int, int, bytes, bytes, bytes, bytes),
    "snapack": (int, int, int, bool),  # term, snapshot index, bytes held, installed
    "gone": (int, int),  # term, log index: you were removed
}
_ITEMS: dict[str, tuple[type, ...]] = {"p": (bytes, int, int, bytes), "o": (str, bytes, bytes)}


def _fits(values: list[Any], form: tuple[type | tuple[type, ...], ...]) -> bool:
    return len(values) == len(form) and all(
        isinstance(value, type_) and (type_ is bool or not isinstance(value, bool))
        for value, type_ in zip(values, form, strict=True)
    )


def flaw(frame: Frame) -> str | None:
    """What is wrong with the frame's form; None if nothing is."""
    form = _FORMS.get(frame[0])
    if form is None:
        return f"unknown message {frame[0]!r}"
    if not _fits(frame[1:], form):
        return f"a {frame[0]!r} message of the wrong form"
    if frame[0] == "app" and not all(_fits(list(e), (int, bytes)) and e[1] for e in frame[6] if isinstance(e, list)):
        return "append_entries with an entry of the wrong form"
    if frame[0] == "app" and frame[7] is not None and not _fits(frame[7], (int, bytes)):
        return "append_entries with a digest of the wrong form"
    if frame[0] == "prop":
        for item in frame[1]:
            if not (isinstance(item, list) and item and item[0] in _ITEMS and _fits(item[1:], _ITEMS[item[0]])):
                return "a proposal of the wrong form"
    if frame[0] == "no" and not all(isinstance(p, list) and _fits(p, (bytes, int)) for p in frame[1]):
        return "a refusal of the wrong form"
    return None
