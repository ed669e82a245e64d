"""The grammar of filter expressions, rule by rule as go-bexpr has it: the order of alternatives decides what is said
of a text that isn't one.
"""

from __future__ import annotations

import re
from typing import Any

from volstore.bexpr.errors import SyntaxFault
from volstore.bexpr.literals import unquote
from volstore.bexpr.peg import FAIL, Reader, rule
from volstore.bexpr.tree import And, Binding, Collection, Expression, Match, Not, Operator, Or, Selector

LONGEST = 16 * 1024
"""Bytes of an expression."""
DEEPEST = 12
"""Parentheses and blocks within each other; go-bexpr's parser gives up a little earlier."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FIRST_DIGITS = frozenset("123456789")
_MORE = re.compile(r"[a-zA-Z0-9_/]+")
_DIGITS = re.compile(r"[0-9]+")
_POINTER = re.compile(r"(?:[^\W_]|[-_.~:|])+")
"""Letters and numbers of any script, as Python tells them, and a few signs."""

_TOO_MUCH = "max number of expresssions parsed"
"""go-bexpr's words (and spelling) for an expression that takes its parser too many steps."""

_WITH_VALUE = (
    (Operator.EQUAL, "=="),
    (Operator.NOT_EQUAL, "!="),
    (Operator.IN, "contains"),
    (Operator.NOT_IN, "not contains"),
    (Operator.MATCHES, "matches"),
    (Operator.NOT_MATCHES, "not matches"),
)
_ALONE = (Operator.EMPTY, Operator.NOT_EMPTY, Operator.NIL, Operator.NOT_NIL)


def parse(text: str) -> Expression:
    """The tree of an expression. Raises SyntaxFault."""
    size = len(text.encode(errors="surrogatepass"))
    if size > LONGEST:
        raise SyntaxFault(f"the expression has {size} bytes, at most {LONGEST} are taken")
    parser = _Parser(text)
    expression = parser.input()
    parser.check(expression is not FAIL)
    found: Expression = expression
    return found


class _Parser(Reader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def input(self) -> Any:
        self.blanks()
        if self.literal("("):
            self.blanks()
            found = self.or_expression()
            if found is not FAIL:
                self.blanks()
                if self.literal(")"):
                    self.blanks()
                    if self.at_end():
                        return found
        self.pos = 0
        self.blanks()
        found = self.or_expression()
        if found is FAIL:
            return FAIL
        self.blanks()
        return found if self.at_end() else FAIL

    @rule
    def or_expression(self) -> Any:
        if self._depth >= DEEPEST:
            self.fault("grouping", _TOO_MUCH)
            return FAIL
        self._depth += 1
        try:
            return self._or()
        finally:
            self._depth -= 1

    def _or(self) -> Any:
        operands: list[Expression] = []
        while True:
            before = self.pos
            found = self.and_expression()
            if found is FAIL:
                found = self.collection()
                if found is FAIL:
                    break
                operands.append(found)
                end = self.pos
                break  # a block can't be the left side of an "or"
            operands.append(found)
            end = self.pos
            if not (self.words("or") and self.blanks()):
                break
        if not operands:
            self.pos = before
            return FAIL
        self.pos = end
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    @rule
    def and_expression(self) -> Any:
        operands: list[Expression] = []
        end = self.pos
        while (found := self.not_expression()) is not FAIL:
            operands.append(found)
            end = self.pos
            if not (self.words("and") and self.blanks()):
                break
        if not operands:
            return FAIL
        self.pos = end
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    @rule
    def not_expression(self) -> Any:
        places = [self.pos]
        while self.literal("not") and self.blanks():
            places.append(self.pos)
        for nots in range(len(places) - 1, -1, -1):  # the longest that goes: "not" may begin a selector too
            self.pos = places[nots]
            found = self.parenthesized()
            if found is not FAIL:
                return Not(found) if nots % 2 else found
        return FAIL

    @rule
    def parenthesized(self) -> Any:
        start = self.pos
        found = unclosed = FAIL
        if self.literal("("):
            self.blanks()
            found = self.or_expression()
            if found is not FAIL:
                self.blanks()
                if self.literal(")"):
                    return found
                unclosed, end = found, self.pos
        self.pos = start
        found = self.match()
        if found is FAIL and unclosed is not FAIL:
            self.pos = end
            self.fault("grouping", "Unmatched parentheses")
        return found

    @rule
    def match(self) -> Any:
        start = self.pos
        selector = self.selector()
        if selector is not FAIL:
            end = self.pos
            for operator, words in _WITH_VALUE:
                if self._operator(words) and (value := self.value()) is not FAIL:
                    return Match(selector, operator, value)
                self.pos = end
            for operator in _ALONE:
                if self.words(*operator.value.split()):
                    return Match(selector, operator)
        self.pos = start
        value = self.value()
        if value is FAIL:
            return FAIL
        for operator in (Operator.IN, Operator.NOT_IN):
            if self.words(*operator.value.split()) and self.blanks():
                selector = self.selector()
                if selector is not FAIL:
                    return Match(selector, operator, value)
                self.fault("match", "Invalid selector")
                return FAIL
        return FAIL

    def _operator(self, words: str) -> bool:
        if words[0] in "=!":
            self.blanks()
            found = self.literal(words)
            self.blanks()
            return found
        return self.words(*words.split()) and self.blanks()

    @rule
    def collection(self) -> Any:
        every = self.literal("all")
        if not (every or self.literal("any")) or not self.blanks():
            return FAIL
        selector = self.selector()
        if selector is FAIL or not (self.words("as") and self.blanks()):
            return FAIL
        binding = self.binding()
        if binding is FAIL:
            return FAIL
        self.blanks()
        if not self.literal("{"):
            return FAIL
        self.blanks()
        inner = self.or_expression()
        if inner is FAIL:
            return FAIL
        self.blanks()
        return Collection(every, selector, binding, inner) if self.literal("}") else FAIL

    @rule
    def binding(self) -> Any:
        if self.literal("_"):
            if self._comma() and (value := self.identifier()) is not FAIL:
                return Binding(value=value)
            return FAIL
        first = self.identifier()
        if first is FAIL:
            return FAIL
        end = self.pos
        if self._comma():
            if self.literal("_"):
                return Binding(index=first)
            second = self.identifier()
            if second is not FAIL:
                return Binding(index=first, value=second)
        self.pos = end
        return Binding(default=first)

    def _comma(self) -> bool:
        self.blanks()
        found = self.literal(",")
        if found:
            self.blanks()
        return found

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
