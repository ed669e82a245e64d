"""A syntax tree and the shape of rows, to a test of rows: what can be looked up once isn't looked up for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from volstore.bexpr.errors import EvaluationError
from volstore.bexpr.matching import Matcher
from volstore.bexpr.parser import parse
from volstore.bexpr.shapes import (
    INT,
    STRING,
    Dynamic,
    Found,
    Missing,
    Nullable,
    Record,
    Sequence,
    Table,
    Variable,
    pointer,
    settled,
    walk,
)
from volstore.bexpr.tree import And, Collection, Expression, Match, Not, Or

MOST_STEPS_OF_ROW = 4000
MOST_STEPS = 2_000_000
"""Elements of lists and maps that the blocks of a filter may look at, in one row, and in all rows of one answer."""


Scope = dict[str, Variable]
Test = Callable[[Any, Scope], bool]
_NO_NAMES: Scope = {}


class Steps:
    """Counts what the blocks of a filter look at: for the row that is being tested, and for the answer so far."""

    __slots__ = ("answer", "row")

    def __init__(self) -> None:
        self.row = 0
        self.answer = [0]

    def take(self) -> None:
        self.row += 1
        self.answer[0] += 1
        if self.row > MOST_STEPS_OF_ROW:
            raise EvaluationError(f"the filter's blocks look at more than {MOST_STEPS_OF_ROW} elements of one row")
        if self.answer[0] > MOST_STEPS:
            raise EvaluationError(f"the filter's blocks look at more than {MOST_STEPS} elements")


class Predicate:
    """A compiled filter. `comparisons`: how many a row takes at most, blocks aside."""

    __slots__ = ("_steps", "_test", "comparisons")

    def __init__(self, test: Test, steps: Steps, comparisons: int) -> None:
        self._test = test
        self._steps = steps
        self.comparisons = comparisons

    def begin(self) -> Callable[[Any], bool]:
        """The test of a row for one answer, whose steps are counted from here. It raises EvaluationError.

        Answers may be made in turns by one filter: each counts its own steps.
        """
        test, steps, spent = self._test, self._steps, [0]

        def tested(row: Any) -> bool:
            steps.row, steps.answer = 0, spent
            return test(row, _NO_NAMES)

        return tested


def compile_filter(text: str, shape: Record) -> Predicate:
    """Raises SyntaxFault. What is wrong with a field or a value shows when a row is tested, as in go-bexpr."""
    steps = Steps()
    compiler = _Compiler(shape, steps)
    test = compiler.compiled(parse(text), frozenset())
    return Predicate(test, steps, compiler.comparisons)


class _Compiler:
    def __init__(self, shape: Record, steps: Steps) -> None:
        self._shape = shape
        self._steps = steps
        self.comparisons = 0

    def compiled(self, node: Expression, names: frozenset[str]) -> Test:
        """`names`: the variables of the blocks around."""
        match node:
            case Not():
                operand = self.compiled(node.operand, names)
                return lambda row, scope: not operand(row, scope)
            case And():
                return self._all([self.compiled(operand, names) for operand in node.operands])
            case Or():
                return self._any([self.compiled(operand, names) for operand in node.operands])
            case Match():
                return self._match(node, names)
            case Collection():
                return self._collection(node, names)

    @staticmethod
    def _all(tests: list[Test]) -> Test:
        def every(row: Any, scope: Scope) -> bool:
            for test in tests:  # noqa: SIM110 (a generator for each row costs more than the tests)
                if not test(row, scope):
                    return False
            return True

        return every

    @staticmethod
    def _any(tests: list[Test]) -> Test:
        def either(row: Any, scope: Scope) -> bool:
            for test in tests:  # noqa: SIM110
                if test(row, scope):
                    return True
            return False

        return either

    def _match(self, node: Match, names: frozenset[str]) -> Test:
        self.comparisons += 1
        test = Matcher(node)
        path = node.selector.path
        if path[0] not in names and len(path) == 1 and path[0] in self._shape.fields:
            shape, get = self._shape.fields[path[0]]
            if not isinstance(shape, Nullable | Dynamic):
                prepared = test.prepared(shape)
                return lambda row, scope: prepared(get(row))
        look = self._looking(path, names)
        absent = node.operator.if_absent

        def matches(row: Any, scope: Scope) -> bool:
            try:
                found = look(row, scope)
            except Missing:
                return absent
            return test.of(*found)

        return matches

    def _looking(self, path: tuple[str, ...], names: frozenset[str]) -> Callable[[Any, Scope], Found]:
        root, (name, *more) = self._shape, path
        if name not in names:
            return lambda row, scope: walk((root, row), path)
        rest = tuple(more)

        def from_name(row: Any, scope: Scope) -> Found:
            variable = scope[name]
            if not rest:
                return variable.found
            if variable.base is None:
                kind = variable.found[0]
                raise EvaluationError(f"/{name} references a {kind.type_name} so {pointer(path)} is invalid")
            return walk(variable.found, rest, variable)

        return from_name

    def _collection(self, node: Collection, names: frozenset[str]) -> Test:
        binding, every, path = node.binding, node.every, node.selector.path
        bound = frozenset(name for name in (binding.default, binding.index, binding.value) if name)
        inner, look, take = self.compiled(node.inner, names | bound), self._looking(path, names), self._steps.take
        same = bool(binding.index) and binding.index == binding.value
        named = names

        def over(row: Any, scope: Scope) -> bool:
            try:
                shape, value = settled(*look(row, scope))
            except Missing:
                return every
            if not isinstance(shape, Sequence | Table):
                raise EvaluationError(f"{node.selector} is not a list or a map")
            base = path if path[0] not in named else (*scope[path[0]].path, *path[1:])
            table = isinstance(shape, Table)
            kind = STRING if table else INT
            members = (value or {}).items() if table else enumerate(value or ())
            for key, member in members:
                take()
                if same:
                    raise EvaluationError(
                        f'"{binding.index}" cannot be used as a placeholder for both the index and the value'
                    )
                inside = dict(scope)
                if binding.index or (table and binding.default):
                    inside[binding.index or binding.default] = Variable((kind, key), None, key)
                if binding.value or (not table and binding.default):
                    inside[binding.value or binding.default] = Variable((shape.item, member), base, key)
                if inner(row, inside) is not every:
                    return not every
            return every

        return over
