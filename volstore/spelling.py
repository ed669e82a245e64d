"""Finds the known name that somebody meant, so that every "unknown key" can say so in the same way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is nearest to `word`, without regard to case, dashes and underscores; None if none is."""

    def plain(name: str) -> str:
        return name.replace("_", "").replace("-", "").lower()

    by_plain_name = {plain(name): name for name in known}
    close = difflib.get_close_matches(plain(word), by_plain_name, n=1, cutoff=0.7)
    return by_plain_name[close[0]] if close else None
