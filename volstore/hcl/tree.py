"""What a text is read into: items with their places, and the one error of all readers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

DEEPEST = 32
"""Levels of nesting; a volume file needs five, an API answer with allocations and their events twelve."""

Place = tuple[int, int]
"""Line and column, counted from 1."""


class HclError(ValueError):
    """The text can't be read at `place`.

    The message says what was found and what would be right, without a part of the text that may be a secret.
    `reference` is what Nomad's parser says there; `placed` tells whether its parser names the place too.
    """

    def __init__(self, place: Place, text: str, reference: str, *, placed: bool = True) -> None:
        super().__init__(text)
        self.place = place
        self.reference = reference
        self.placed = placed


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its meaning depends on the field."""

    text: str

    @property
    def is_float(self) -> bool:
        return not self.text.lower().lstrip("-").startswith("0x") and any(c in self.text for c in ".eE")


@dataclass(frozen=True, slots=True)
class Item:
    """`a "b" { … }` has the keys a and b, `a = …` the key a. A block's value is the tuple of its items."""

    keys: tuple[str, ...]
    value: Value
    place: Place

    @property
    def name(self) -> str:
        return self.keys[0]


Value = str | Number | bool | None | list["Value"] | tuple[Item, ...]
Items = tuple[Item, ...]


class Lines:
    """Finds the line and column of an offset in a text."""

    def __init__(self, text: str) -> None:
        starts = [0]
        while found := text.find("\n", starts[-1]) + 1:
            starts.append(found)
        self._starts = starts

    def place(self, at: int) -> Place:
        line = bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1
