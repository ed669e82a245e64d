"""How the parser reads and fails: go-bexpr's is made by pigeon, whose reports name what was expected farthest on.

Of every terminal that fails the farthest place counts, with all that was expected there; under a `!` a terminal that
matches is the failure, and is named with a `!`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from volstore.bexpr.errors import SyntaxFault

FAIL: Any = object()
"""What a rule gives that doesn't match; the place is then where it began."""

_BLANKS = " \t\r\n"
_BLANK_CLASS = r"[ \t\r\n]"


class Reader:
    """A place in a text, and what went wrong so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.memo: dict[tuple[str, int, bool], tuple[Any, int]] = {}
        self._inverted = False
        self._farthest = 0
        self._expected: set[str] = set()
        self._faults: list[str] = []

    # Terminals.

    def literal(self, word: str) -> bool:
        found = self.text.startswith(word, self.pos)
        self._note(found, json.dumps(word))
        if found:
            self.pos += len(word)
        return found

    def one_of(self, takes: Callable[[str], bool], shown: str) -> bool:
        """One character of a class."""
        found = self.pos < len(self.text) and takes(self.text[self.pos])
        self._note(found, shown)
        if found:
            self.pos += 1
        return found

    def anything(self) -> bool:
        return self.one_of(lambda char: True, ".")

    def blanks(self) -> bool:
        """At least one."""
        start = self.pos
        while self.one_of(lambda char: char in _BLANKS, _BLANK_CLASS):
            pass
        return self.pos > start

    # Predicates.

    def absent(self, rule: Callable[[], Any]) -> bool:
        """`!rule`; nothing is taken."""
        start = self.pos
        self._inverted = not self._inverted
        found = rule()
        self._inverted = not self._inverted
        self.pos = start
        return found is FAIL or found is False

    def at_end(self) -> bool:
        return self.absent(self.anything)

    def words(self, *words: str) -> bool:
        """Each with blanks before it; nothing is taken when one lacks."""
        start = self.pos
        for word in words:
            if not (self.blanks() and self.literal(word)):
                self.pos = start
                return False
        return True

    # Reports.

    def _note(self, found: bool, wanted: str) -> None:
        if found is not self._inverted or self.pos < self._farthest:
            return
        if self.pos > self._farthest:
            self._farthest = self.pos
            self._expected.clear()
        self._expected.add("!" + wanted if self._inverted else wanted)

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
            expected = sorted(self._expected - {"!."}, key=lambda wanted: wanted.encode())
            if "!." in self._expected:
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

    @wraps(read)
    def remembered(self: R) -> Any:
        start = self.pos
        key = read.__name__, start, self._inverted
        known = self.memo.get(key)
        if known is None:
            value = read(self)
            known = self.memo[key] = value, start if value is FAIL else self.pos
        value, self.pos = known
        return value

    return remembered
