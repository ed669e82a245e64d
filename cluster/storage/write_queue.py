"""What was recorded in the journal and isn't written yet: encoded for the place it will have on the disk. Pure."""

from __future__ import annotations

from cluster.storage.records import Kind, encode, seed_of
from cluster.storage.replay import SegmentState, View, restart_from
from cluster.storage.sealing import Keyring, seal_entry
from cluster.storage.segments import Batch, start_of_segment


class Pending:
    """Encodes records for the end of the last segment, and plans another one when that is full.

    `segments` are all of the journal's, those that are only planned included. `view` is the journal as of the last
    record: it must be changed after the record that says so, since a segment that begins in between describes it.
    `changes` counts the records since the journal was opened. What entries hold is sealed where `keys` have a current
    one; the rest of the log (terms, votes, indexes) says nothing of it.
    """

    def __init__(self, view: View, segments: list[SegmentState], size: int, segment_bytes: int, keys: Keyring) -> None:
        """`size`: bytes that the last of the segments has, all of them synced."""
        self.segments = segments
        self.changes = 0
        self._view = view
        self._segment_bytes = segment_bytes
        self._keys = keys
        self._batches = [Batch(segments[-1].number)]
        self._seed = seed_of(segments[-1].number)
        self._position = self._synced = size

    def record(self, kind: Kind, index: int, term: int, data: bytes, key_id: int = 0, nonce: bytes = b"") -> None:
        if self._position >= self._segment_bytes:
            self._roll()
        record = encode(
            kind,
            index,
            term,
            data,
            seed=self._seed,
            offset=self._position,
            synced=self._synced,
            key_id=key_id,
            nonce=nonce,
        )
        self._position += len(record)
        self._batches[-1].records.append(record)
        self.changes += 1

    def entry(self, index: int, term: int, data: bytes) -> None:
        if self._keys.current:
            key_id, nonce, data = seal_entry(self._keys, index, term, data)
            self.record(Kind.ENTRY, index, term, data, key_id, nonce)
        else:
            self.record(Kind.ENTRY, index, term, data)
        last = self.segments[-1]
        last.last_index = max(last.last_index, index)

    def reset(self, index: int, term: int) -> None:
        self.record(Kind.RESET, index, term, b"")
        for segment in self.segments:
            segment.last_index = 0

    def take(self) -> list[Batch]:
        """Take the batches to write. The caller must sync them before any later record is written."""
        taken, self._batches = self._batches, [Batch(self.segments[-1].number)]
        self._synced = self._position
        return taken

    def superfluous(self) -> list[SegmentState]:
        """The oldest segments, but never the last one, that hold no entry after the base."""
        count = 0
        while count < len(self.segments) - 1 and self.segments[count].last_index <= self._view.base_index:
            count += 1
        return self.segments[:count]

    def _roll(self) -> None:
        """Go on in another segment: only planned here, it is made when what comes before it is synced."""
        number = self.segments[-1].number + 1
        start = start_of_segment(restart_from(self._view, number, self._position))
        self.segments.append(SegmentState(number))
        self._batches.append(Batch(number, start))
        self._seed = seed_of(number)
        self._position = self._synced = len(start)
