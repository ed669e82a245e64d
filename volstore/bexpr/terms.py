"""The grammar's lower half: selectors, and the values that they are compared with."""

from __future__ import annotations

import re
from typing import Any

from volstore.bexpr.literals import unquote
from volstore.bexpr.peg import FAIL, Reader, rule
from volstore.bexpr.tree import Selector

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FIRST_DIGITS = frozenset("123456789")
_MORE = re.compile(r"[a-zA-Z0-9_/]+")
_DIGITS = re.compile(r"[0-9]+")
_POINTER = re.compile(r"(?:[^\W_]|[-_.~:|])+")
"""Letters and numbers of any script, as Python tells them, and a few signs."""


class Terms(Reader):
    @rule
    def selector(self) -> Any:
        start = self.pos
        first = self.identifier()
        if first is not FAIL:
            path = [first]
            while (step := self.step()) is not FAIL:
                path.append(step)
            return Selector(tuple(path))
        self.pos = start
        if not self.literal('"'):
            return FAIL
        segments = []
        while (segment := self.segment()) is not FAIL:
            segments.append(segment)
        if not self.literal('"'):
            return FAIL
        return Selector(tuple(segments) or ("",), pointer=True)

    @rule
    def segment(self) -> Any:
        if not self.literal("/"):
            return FAIL
        start = self.pos
        if not self.run(_POINTER, r"[\pL\pN-_.~:|]"):
            return FAIL
        return self.text[start : self.pos].replace("~1", "/").replace("~0", "~")

    @rule
    def step(self) -> Any:
        start = self.pos
        if self.literal("."):
            found = self.identifier()
            if found is not FAIL:
                return found
        self.pos = start
        found = self.index()
        if found is not FAIL:
            return found
        self.pos = start
        return self._digits() if self.literal(".") else FAIL

    def _digits(self) -> Any:
        start = self.pos
        return self.text[start : self.pos] if self.run(_DIGITS, "[0-9]") else FAIL

    @rule
    def index(self) -> Any:
        if not self.literal("["):
            return FAIL
        self.blanks()
        key = self.string()
        if key is FAIL:
            self.fault("index", "Invalid index")
            return FAIL
        self.blanks()
        if self.literal("]"):
            return key
        self.fault("index", "Unclosed index expression")
        return FAIL

    @rule
    def identifier(self) -> Any:
        start = self.pos
        if not self.one_of(_LETTERS, "[a-zA-Z]"):
            return FAIL
        self.run(_MORE, "[a-zA-Z0-9_/]")
        return self.text[start : self.pos]

    @rule
    def value(self) -> Any:
        selector = self.selector()
        if selector is not FAIL:
            return str(selector)
        number = self.number()
        return number if number is not FAIL else self.string()

    @rule
    def number(self) -> Any:
        start = self.pos
        self.literal("-")
        if not self.literal("0"):
            if not self.one_of(_FIRST_DIGITS, "[1-9]"):
                return FAIL
            self._digits()
        end = self.pos
        if self.literal(".") and self._digits() is not FAIL:
            end = self.pos
        self.pos = end
        ends = self.blanks() or self.at_end() or self.literal(")")
        self.pos = end
        if ends:
            return self.text[start:end]
        self.fault("number", "Invalid number literal")
        return FAIL

    @rule
    def string(self) -> Any:
        start = self.pos
        for quote in ("`", '"'):
            if self.literal(quote):
                self.anything_until(quote)
                if self.literal(quote):
                    text = unquote(self.text[start : self.pos])
                    if text is None:
                        self.fault("string", "invalid syntax", start)
                        return ""
                    return text
                self.fault("string", "Unterminated string literal")
                return FAIL
        return FAIL
