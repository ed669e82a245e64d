"""The log, term and vote of one member: in memory for Raft, and on disk before anything depends on them."""

from __future__ import annotations

from cluster.entries import Entry
from cluster.ports import Disk
from cluster.records import JournalDamaged, JournalError

__all__ = ["Entry", "Journal", "JournalDamaged", "JournalError", "JournalFailed"]


class JournalFailed(JournalError):
    """A write or a sync failed; nothing is believed until `Journal.reopen`. `cause` is the disk's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"the journal can't be written: {cause}")
        self.cause = cause


class Journal:
    """Skeleton: the final signatures; the bodies follow."""

    base_index: int
    base_term: int
    last_index: int
    last_term: int
    term: int
    voted_for: str | None
    durable_index: int
    unsynced: bool
    last_sync_seconds: float
    sync_started_at: float | None
    failed: OSError | None
    recovered_bytes_cut: int
    has_reserve: bool

    @classmethod
    def open(cls, disk: Disk, *, segment_bytes: int = 16 << 20, reserve_bytes: int = 4 << 20) -> Journal:
        raise NotImplementedError

    def entry(self, index: int) -> Entry:
        """IndexError outside base_index + 1 .. last_index."""
        raise NotImplementedError

    def slice(self, start: int, stop: int, max_bytes: int) -> list[Entry]:
        """Entries start .. stop - 1 up to the end of the log; as many as fit in max_bytes of data, at least one."""
        raise NotImplementedError

    def term_at(self, index: int) -> int | None:
        raise NotImplementedError

    def append(self, data: bytes, term: int) -> int:
        raise NotImplementedError

    def truncate_from(self, index: int) -> None:
        raise NotImplementedError

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """ValueError when the term goes back, or a vote given in this term would change."""
        raise NotImplementedError

    def reset(self, base_index: int, base_term: int) -> None:
        raise NotImplementedError

    def drop_to(self, index: int) -> None:
        raise NotImplementedError

    async def sync(self) -> None:
        raise NotImplementedError

    async def reopen(self, *, need_reserve: bool = True) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
