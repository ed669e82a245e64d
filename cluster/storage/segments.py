"""The writing side of the journal's files; everything here blocks and runs in the disk's thread."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from cluster.ports import Disk, File
from cluster.storage.records import PREAMBLE_BYTES, SEGMENT_END, Kind, Segment, encode, encode_vote, preamble, seed_of
from cluster.storage.replay import FOLDER, Recovered, Restart, recover, segment_file
from cluster.storage.sealing import Keyring, open_entry

RESERVE = "reserve"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PIECE = 1 << 20


@dataclass(slots=True)
class Batch:
    """What one sync appends to segment `number`; `start` is the whole first content when the file must be made."""

    number: int
    start: bytes = b""
    records: list[bytes] = field(default_factory=list)


def start_of_segment(restart: Restart) -> bytes:
    """The bytes that a segment has when it gets its name: its header, term and vote, and what is carried over."""
    seed = seed_of(restart.number)
    vote = encode_vote(restart.voted_for)
    records = [encode(Kind.VOTE, 0, restart.term, vote, seed=seed, offset=SEGMENT_END, synced=0)]
    position = SEGMENT_END + len(records[0])
    for record in restart.carried:
        if record.kind == Kind.MARK:
            continue
        records.append(
            encode(
                record.kind,
                record.index,
                record.term,
                record.data,
                seed=seed,
                offset=position,
                synced=0,
                key_id=record.key_id,
                nonce=record.nonce,
            )
        )
        position += len(records[-1])
    header = Segment(restart.number, restart.base_index, restart.base_term, restart.previous_end, position)
    first = encode(
        Kind.SEGMENT,
        restart.next_index,
        restart.previous_term,
        header.encode(),
        seed=seed,
        offset=PREAMBLE_BYTES,
        synced=0,
    )
    return b"".join([preamble(), first, *records])


class SegmentWriter:
    """The segment that is being appended to. Methods raise OSError; after one, only `restart` and `close` are of use.

    A file of `reserve_bytes` keeps room on the disk; it is given up when the disk is full, so that a journal that is
    opened again without it can still be shrunk behind a snapshot.
    """

    def __init__(self, disk: Disk, reserve_bytes: int, keys: Keyring) -> None:
        self._disk = disk
        self._keys = keys
        self._reserve_bytes = reserve_bytes
        self._file: File | None = None
        self.has_reserve = False

    def restart(self, *, need_reserve: bool) -> tuple[Recovered, int]:
        """Read the journal, remove leftovers, begin a segment with all that isn't proven to be on the disk.

        Returns what was read, and the size of the new segment. With `need_reserve`, a disk without room for the
        reserve is an error (ENOSPC); otherwise the journal goes on without one.
        """
        self.close()
        if FOLDER not in self._disk.list():
            self._disk.make_folder(FOLDER)
            self._disk.sync_folder()
        recovered = recover(self._disk, lambda record, where: open_entry(self._keys, record, where))
        # What the next segment builds on must be sure of its name first: its own may otherwise outlive it in a crash.
        self._disk.sync_folder(FOLDER)
        for name in recovered.leftovers:
            self._disk.remove(name)
        self._keep_reserve(need_reserve)
        start = start_of_segment(recovered.restart)
        try:
            self._begin(recovered.restart.number, start)
        except OSError as error:
            if need_reserve or not self._give_up_reserve(error):
                raise
            self._begin(recovered.restart.number, start)
        if recovered.segments:
            self._trim(recovered.segments[-1].number, recovered.restart.previous_end)
        return recovered, len(start)

    def write(self, batches: list[Batch]) -> None:
        """Append all and sync. A full segment is synced before the next one gets its name."""
        if self._file is None:
            raise RuntimeError("there is no open segment")
        try:
            for batch in batches:
                if batch.start:
                    self._file.sync()
                    self._begin(batch.number, batch.start)
                if batch.records:
                    self._file.append(b"".join(batch.records))
            self._file.sync()
        except OSError as error:
            self._give_up_reserve(error)
            raise

    def remove(self, number: int) -> None:
        self._disk.remove(segment_file(number))

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _begin(self, number: int, start: bytes) -> None:
        """Make a segment that is whole and synced before it has its name, and durable before it is written to."""
        new = f"{FOLDER}/{number:016d}.tmp"
        file = self._disk.open(new, create=True)
        try:
            file.truncate(0)
            file.append(start)
            file.sync()
            self._disk.rename(new, segment_file(number))
            self._disk.sync_folder(FOLDER)
        except BaseException:
            file.close()
            raise
        self.close()
        self._file = file

    def _trim(self, number: int, size: int) -> None:
        """Give back what follows the part of an older segment that counts."""
        file = self._disk.open(segment_file(number))
        try:
            if file.size() > size:
                file.truncate(size)
        finally:
            file.close()

    def _keep_reserve(self, needed: bool) -> None:
        self.has_reserve = RESERVE in self._disk.list()
        if self.has_reserve:
            return
        # Twice its size: a disk on the brink would be full again with the first write.
        if self._disk.free_bytes() < 2 * self._reserve_bytes:
            if needed:
                raise OSError(errno.ENOSPC, f"no room on the disk for a reserve of {self._reserve_bytes} bytes")
            return
        new = RESERVE + ".tmp"
        file = self._disk.open(new, create=True)
        try:
            file.truncate(0)
            for offset in range(0, self._reserve_bytes, _PIECE):
                file.append(bytes(min(_PIECE, self._reserve_bytes - offset)))
            file.sync()
        except OSError as error:
            self._disk.remove(new)
            if needed or error.errno not in _FULL:
                raise
            return
        finally:
            file.close()
        self._disk.rename(new, RESERVE)
        self.has_reserve = True

    def _give_up_reserve(self, error: OSError) -> bool:
        """Whether the error is a full disk and there was a reserve, which is gone now."""
        if error.errno not in _FULL or not self.has_reserve:
            return False
        self._disk.remove(RESERVE)
        self.has_reserve = False
        return True
