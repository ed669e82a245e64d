"""Regular expressions as Go's regexp takes them: RE2's, in time linear in the text, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable

import re2

from volstore.bexpr.literals import quote

Search = Callable[[bytes], object]

MOST_MEMORY = 1024 * 1024
"""Bytes that a compiled pattern may take; one that needs more is refused."""

_GO_TEXTS = (
    ("missing ): ", "missing closing ): `{}`"),
    ("missing ]: ", "missing closing ]: `{}`"),
    ("unexpected ): ", "unexpected ): `{}`"),
    ("no argument for repetition operator: ", "missing argument to repetition operator: `{}`"),
    ("bad repetition operator: ", "invalid nested repetition operator: `{}`"),
    ("invalid repetition size: ", "invalid repeat count: `{}`"),
    ("invalid escape sequence: ", "invalid escape sequence: `{}`"),
    ("invalid character class range: ", "invalid character class range: `{}`"),
    ("invalid perl operator: ", "invalid or unsupported Perl syntax: `{}`"),
    ("invalid named capture group: ", "invalid named capture: `{}`"),
    ("trailing \\", "trailing backslash at end of expression: ``"),
)


class BadPattern(ValueError):
    """A pattern that is none; its text is go-bexpr's."""


def compile_pattern(pattern: str) -> Search:
    """A search, anchored nowhere, in UTF-8. Raises BadPattern."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_MEMORY
    try:
        search: Search = re2.compile(pattern.encode(), options).search
    except re2.error as error:
        raise BadPattern(
            f"failed to compile regular expression {quote(pattern)}: error parsing regexp: {_go_text(error)}"
        ) from None
    return search


def _go_text(error: re2.error) -> str:
    told = error.args[0]
    text = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
    for prefix, shown in _GO_TEXTS:
        if text.startswith(prefix):
            return shown.format(text[len(prefix) :])
    return text
