"""A log in memory for engines without a disk: what was written counts as synced once a test says so."""

from __future__ import annotations

from cluster.raft.storage import Entry
from cluster.storage.entries import EntryLog


class MemoryLog:
    """`cluster.raft.storage.LogStorage` in memory. `unsynced`: something was written since the last `sync`."""

    def __init__(self) -> None:
        self._entries = EntryLog()
        self.term = 0
        self.voted_for: str | None = None
        self.durable_index = 0
        self.unsynced = False

    @property
    def base_index(self) -> int:
        return self._entries.base_index

    @property
    def base_term(self) -> int:
        return self._entries.base_term

    @property
    def last_index(self) -> int:
        return self._entries.last_index

    @property
    def last_term(self) -> int:
        return self._entries.last_term

    def term_at(self, index: int) -> int | None:
        return self._entries.term_at(index)

    def entry(self, index: int) -> Entry:
        return self._entries.entry(index)

    def slice(self, start: int, stop: int, max_bytes: int) -> list[Entry]:
        return self._entries.slice(start, stop, max_bytes)

    def append(self, data: bytes, term: int) -> int:
        self.unsynced = True
        return self._entries.append(data, term)

    def truncate_from(self, index: int) -> None:
        if index > self.last_index:
            return
        self.unsynced = True
        self._entries.truncate_from(index)
        self.durable_index = min(self.durable_index, index - 1)

    def set_vote(self, term: int, voted_for: str | None) -> None:
        assert term > self.term or self.voted_for in (None, voted_for), "a vote was changed within its term"
        self.unsynced |= (term, voted_for) != (self.term, self.voted_for)
        self.term, self.voted_for = term, voted_for

    def drop_to(self, index: int) -> None:
        """A snapshot covers the log up to `index`, which stands in it."""
        self._entries.drop_to(index)

    def reset(self, base_index: int, base_term: int) -> None:
        """A snapshot that came from elsewhere takes the whole log's place."""
        self._entries.reset(base_index, base_term)
        self.unsynced = True

    def sync(self) -> None:
        self.unsynced = False
        self.durable_index = self.last_index
