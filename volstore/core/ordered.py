"""Sorted keys with ranges: the one place that knows sortedcontainers, which has no types of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedList

_sorted: Callable[[Iterable[Any]], Any] = SortedList


class _Comparable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=_Comparable)


class Ordered(Generic[T]):
    """Distinct keys in ascending order; adding, removing and finding a place cost O(log n).

    Strings compare by code point, which is the order of their UTF-8 bytes too: what the contract calls bytewise.
    Keys must not be added or removed while a range is being read.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[T] = ()) -> None:
        self._keys = _sorted(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[T]:
        return iter(self._keys)

    def add(self, key: T) -> None:
        self._keys.add(key)

    def remove(self, key: T) -> None:
        """ValueError when it isn't there."""
        self._keys.remove(key)

    def starting(self, first: T, *, after: bool = False) -> Iterator[T]:
        """The keys from `first` on, without `first` itself when `after`."""
        found: Iterator[T] = self._keys.irange(first, None, (not after, True))
        return found


def with_prefix(keys: Ordered[str], prefix: str) -> Iterator[str]:
    """The keys that start with `prefix`, in order; costs what it yields."""
    for key in keys.starting(prefix):
        if not key.startswith(prefix):
            return
        yield key
