"""What `volstore journal verify|dump` shows: a look at a stopped node's journal that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.ports import Disk


@dataclass(frozen=True, slots=True)
class Problem:
    """`file` is relative to the data directory, `offset` in bytes; `fatal`: a node would refuse to start."""

    file: str
    offset: int
    text: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Indexes are 0 when there are no entries; terms are those of the entries, ascending."""

    segments: int
    records: int
    first_index: int
    last_index: int
    base_index: int
    base_term: int
    term: int
    voted_for: str | None
    entry_terms: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def verify(disk: Disk) -> Report:
    """Read everything. BlockingIOError when a running node has the directory. Open `disk` with `create=False`."""
    raise NotImplementedError


def dump(disk: Disk) -> Iterator[dict[str, Any]]:
    """One JSON-able dict a record: segment, offset, kind, index, term; data as length and the start of its SHA-256."""
    raise NotImplementedError
