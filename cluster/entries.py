"""The entries of the log in memory: cheap to append to, to slice and to drop from, however long the log is."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One entry, in the order of pysyncobj's tuples."""

    data: bytes
    index: int
    term: int
