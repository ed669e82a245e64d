"""How the parser reads and fails: go-bexpr's is made by pigeon, whose reports name what was expected farthest on.

Of every terminal that fails the farthest place counts, with all that was expected there; under a `!` a terminal that
matches is the failure, and is named with a `!`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from volstore.bexpr.errors import SyntaxFault

FAIL: Any = object()
"""What a rule gives that doesn't match; the place is then where it began."""

_BLANKS = re.compile(r"[ \t\r\n]+")
_BLANK_CLASS = r"[ \t\r\n]"


class Reader:
    """A place in a text, and what went wrong so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.memo: dict[tuple[str, int], tuple[Any, int]] = {}
        self._inverted = False
        self._farthest = 0
        self._expected: set[tuple[str, bool, bool]] = set()
        self._faults: list[str] = []

    # Terminals.

    def literal(self, word: str) -> bool:
        found = self.text.startswith(word, self.pos)
        if found is self._inverted:
            self._note(word)
        if found:
            self.pos += len(word)
        return found

    def one_of(self, chars: frozenset[str], shown: str) -> bool:
        """One character of a class."""
        found = self.pos < len(self.text) and self.text[self.pos] in chars
        if found is self._inverted:
            self._note(shown, quoted=False)
        if found:
            self.pos += 1
        return found

    def run(self, pattern: re.Pattern[str], shown: str) -> bool:
        """As many characters of a class as there are, at least one; never under a `!`. It ends where one fails."""
        found = pattern.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
        self._note(shown, quoted=False)
        return found is not None

    def blanks(self) -> bool:
        return self.run(_BLANKS, _BLANK_CLASS)

    def anything_until(self, quote: str) -> None:
        """Up to a quote or the end: `(!quote .)*`."""
        end = self.text.find(quote, self.pos)
        self.pos = len(self.text) if end < 0 else end
        if end < 0:
            self._note(".", quoted=False)
        else:
            self._inverted = True
            self._note(quote)
            self._inverted = False

    # Predicates.

    def at_end(self) -> bool:
        """`!.`"""
        if self.pos == len(self.text):
            return True
        self._inverted = True
        self._note(".", quoted=False)
        self._inverted = False
        return False

    def words(self, *words: str) -> bool:
        """Each with blanks before it; nothing is taken when one lacks."""
        start = self.pos
        for word in words:
            if not (self.blanks() and self.literal(word)):
                self.pos = start
                return False
        return True

    # Reports.

    def _note(self, wanted: str, *, quoted: bool = True) -> None:
        if self.pos < self._farthest:
            return
        if self.pos > self._farthest:
            self._farthest = self.pos
            self._expected.clear()
        self._expected.add((wanted, quoted, self._inverted))

    def fault(self, rule: str, text: str, place: int | None = None) -> None:
        """A fault that is told whatever else matches."""
        fault = f'{self._place(self.pos if place is None else place)}: rule "{rule}": {text}'
        if fault not in self._faults:
            self._faults.append(fault)

    def check(self, matched: bool) -> None:
        """Raises SyntaxFault if there is a fault, or where nothing matched."""
        if self._faults:
            raise SyntaxFault("\n".join(self._faults))
        if not matched:
            shown = {
                ("!" if inverted else "") + (json.dumps(wanted) if quoted else wanted)
                for wanted, quoted, inverted in self._expected
            }
            expected = sorted(shown - {"!."}, key=lambda wanted: wanted.encode())
            if "!." in shown:
                expected.append("EOF")
            listed = ", ".join(expected[:-1]) + " or " + expected[-1] if len(expected) > 1 else "".join(expected)
            raise SyntaxFault(f"{self._place(self._farthest)}: no match found, expected: {listed}")

    def _place(self, pos: int) -> str:
        """`line:column (byte)`; a newline is column 0 of the line that it begins."""
        line = self.text.count("\n", 0, pos + 1) + 1
        column = pos - self.text.rfind("\n", 0, pos + 1)
        return f"{line}:{column} ({len(self.text[:pos].encode())})"


R = TypeVar("R", bound=Reader)


def rule(read: Callable[[R], Any]) -> Callable[[R], Any]:
    """A rule's reading at a place, remembered, so that alternatives that begin alike cost nothing; a failed one takes
    nothing.
    """

    name = read.__name__

    @wraps(read)
    def remembered(self: R) -> Any:
        start = self.pos
        key = name, start
        known = self.memo.get(key)
        if known is None:
            value = read(self)
            known = self.memo[key] = value, start if value is FAIL else self.pos
        value, self.pos = known
        return value

    return remembered
