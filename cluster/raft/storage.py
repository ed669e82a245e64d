"""The log that Raft's rules need: entries, term and vote, in memory at once and on a disk later.

`cluster.storage.journal.Journal` implements it. A call takes effect for the next call at once. The caller syncs the
disk before it sends a message that depends on it (`cluster.node.persistence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One entry of the log, in the order of pysyncobj's tuples."""

    data: bytes
    index: int  # type: ignore[assignment]  # tuple.index is of no use here
    term: int


class LogStorage(Protocol):
    """One member's log with its term and vote. Invariant: 0 <= base_index <= last_index."""

    @property
    def base_index(self) -> int:
        """The last entry that a snapshot covers; the log's own entries start after it."""

    @property
    def base_term(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    @property
    def last_term(self) -> int: ...

    @property
    def durable_index(self) -> int:
        """The highest entry of this log that is known to be on the disk."""

    @property
    def term(self) -> int: ...

    @property
    def voted_for(self) -> str | None: ...

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`, also at base_index; None outside the log."""

    def entry(self, index: int) -> Entry:
        """IndexError outside base_index + 1 .. last_index."""

    def slice(self, start: int, stop: int, max_bytes: int) -> Sequence[Entry]:
        """Entries `start` .. `stop` - 1: as many as fit `max_bytes`, but at least one if there is one."""

    def append(self, data: bytes, term: int) -> int:
        """Add an entry; returns its index. ValueError if it is too large or its term is below last_term."""

    def truncate_from(self, index: int) -> None:
        """Drop the entries from `index` on. ValueError if a snapshot covers `index`."""

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """ValueError if the term would go back, or a vote given in this term would change (Raft §5.2)."""
