"""The syntax tree of a filter expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Operator(Enum):
    """What a comparison asks. `if_absent` is its answer where the selector names a key that a map hasn't got."""

    if_absent: bool

    def __new__(cls, word: str, if_absent: bool) -> Operator:
        member = object.__new__(cls)
        member._value_ = word
        member.if_absent = if_absent
        return member

    EQUAL = "==", False
    NOT_EQUAL = "!=", True
    IN = "in", False
    NOT_IN = "not in", True
    EMPTY = "is empty", True
    NOT_EMPTY = "is not empty", False
    NIL = "is nil", True
    NOT_NIL = "is not nil", False
    MATCHES = "matches", False
    NOT_MATCHES = "not matches", True


@dataclass(frozen=True, slots=True)
class Selector:
    """A path into a row. `pointer`: it was written as a JSON pointer, which shows in how it reads as text."""

    path: tuple[str, ...]
    pointer: bool = False

    def __str__(self) -> str:
        return ("/" if self.pointer else ".").join(self.path)


@dataclass(frozen=True, slots=True)
class Match:
    selector: Selector
    operator: Operator
    value: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """The names of a block's variables. `default`: an element of a list, a key of a map."""

    default: str = ""
    index: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """`any SELECTOR as x { inner }`; `every` for `all`."""

    every: bool
    selector: Selector
    binding: Binding
    inner: Expression


Expression = Match | Not | And | Or | Collection
