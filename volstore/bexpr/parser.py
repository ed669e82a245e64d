"""The grammar of filter expressions, rule by rule as go-bexpr has it: the order of alternatives decides what is said
of a text that isn't one.
"""

from __future__ import annotations

from typing import Any

from volstore.bexpr.errors import SyntaxFault
from volstore.bexpr.peg import FAIL, rule
from volstore.bexpr.terms import Terms
from volstore.bexpr.tree import And, Binding, Collection, Expression, Match, Not, Operator, Or

LONGEST = 16 * 1024
"""Bytes of an expression."""
DEEPEST = 12
"""Parentheses and blocks within each other; go-bexpr's parser gives up a little earlier."""

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


class _Parser(Terms):
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
