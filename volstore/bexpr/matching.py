"""The operators: what each asks of a value, by the value's type, and what it says of a type that it isn't for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from volstore.bexpr.errors import EvaluationError
from volstore.bexpr.literals import COERCIONS, Unconvertible, quote
from volstore.bexpr.patterns import BadPattern, Search, compile_pattern
from volstore.bexpr.shapes import STRING, Dynamic, Nullable, Scalar, Sequence, Shape, Table, settled
from volstore.bexpr.tree import Match, Operator

_NEGATED = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_EMPTY: Operator.EMPTY,
    Operator.NOT_NIL: Operator.NIL,
    Operator.NOT_MATCHES: Operator.MATCHES,
}

Test = Callable[[Any], bool]


class Matcher:
    """One comparison. What its value is as each type, it finds out once."""

    def __init__(self, node: Match) -> None:
        self._raw = node.value
        self._selector = str(node.selector)
        self._operator = _NEGATED.get(node.operator, node.operator)
        self._negated = node.operator in _NEGATED
        self._tests: dict[Shape, Test] = {}

    def prepared(self, shape: Shape) -> Test:
        """The test of values of one shape, which is neither a pointer nor dynamic. What it says is the same each time,
        also when that is an error.
        """
        test = self._tests.get(shape)
        if test is None:
            test = self._tests[shape] = self._negating(self._made(shape))
        return test

    def of(self, shape: Shape, value: Any) -> bool:
        """The answer for a value. Raises EvaluationError."""
        if self._operator is Operator.NIL and isinstance(shape, Nullable):
            return (value is None) is not self._negated
        shape, value = settled(shape, value)
        return self.prepared(shape)(value)

    def _negating(self, test: Test) -> Test:
        return (lambda value: not test(value)) if self._negated else test

    def _made(self, shape: Shape) -> Test:
        try:
            match self._operator:
                case Operator.EQUAL:
                    return self._equal(shape)
                case Operator.IN:
                    return self._in(shape)
                case Operator.EMPTY:
                    if isinstance(shape, Sequence | Table) or shape == STRING:
                        return lambda value: not value
                    raise self._cannot("is-empty", shape)
                case Operator.NIL:
                    if isinstance(shape, Sequence | Table):
                        return lambda value: not value
                    if shape.kind == "invalid":
                        return lambda value: True
                    raise self._cannot("is-nil", shape)
                case _:
                    return self._matches(shape)
        except EvaluationError as error:
            return _failing(str(error))

    def _cannot(self, operation: str, shape: Shape) -> EvaluationError:
        return EvaluationError(
            f"cannot perform {operation} operations on type {shape.kind} for selector: {quote(self._selector)}"
        )

    def _coerced(self, kind: str) -> Any:
        try:
            return COERCIONS[kind](self._raw)
        except Unconvertible as error:
            raise EvaluationError(f"error getting match value in expression: {error}") from error

    def _equal(self, shape: Shape) -> Test:
        if not isinstance(shape, Scalar) or shape.kind not in COERCIONS:
            raise EvaluationError("unable to find suitable primitive comparison function for matching")
        wanted = self._coerced(shape.kind)
        return lambda value: bool(value == wanted)

    def _in(self, shape: Shape) -> Test:
        raw = self._raw
        match shape:
            case Table():
                return lambda value: bool(value) and raw in value
            case Sequence():
                return self._among(shape.item)
            case Scalar() if shape == STRING:
                return lambda value: raw in value
            case Scalar() if shape.kind in COERCIONS:
                self._coerced(shape.kind)
        raise self._cannot("in/contains", shape)

    def _among(self, item: Shape) -> Test:
        while isinstance(item, Nullable):
            item = item.target
        if isinstance(item, Dynamic):
            return self._among_any
        if not isinstance(item, Scalar):
            raise EvaluationError('unable to find suitable primitive comparison function for "in" comparison')
        wanted = self._coerced(item.kind)
        return lambda value: bool(value) and wanted in value

    def _among_any(self, value: Any) -> bool:
        """Elements of any type: those that the filter's value is none of are passed over."""
        for element in value or ():
            shape, _ = settled(Dynamic(), element)
            if shape.kind not in COERCIONS:
                raise EvaluationError(
                    'unable to find suitable primitive comparison function for "in" comparison in interface slice: '
                    f"{shape.kind}"
                )
            try:
                if COERCIONS[shape.kind](self._raw) == element:
                    return True
            except Unconvertible:
                continue
        return False

    def _matches(self, shape: Shape) -> Test:
        if shape != STRING:
            raise EvaluationError(f"value of type {shape.type_name} is not convertible to []byte")
        try:
            search: Search = compile_pattern(self._raw)
        except BadPattern as error:
            raise EvaluationError(str(error)) from None
        return lambda value: search(value.encode(errors="surrogatepass")) is not None


def _failing(text: str) -> Test:
    def fails(value: Any) -> bool:
        raise EvaluationError(text)

    return fails
