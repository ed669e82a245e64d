"""What the files of a journal say: reads all segments and replays their records. Changes nothing on the disk."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cluster.ports import Disk
from cluster.storage.entries import EntryLog
from cluster.storage.records import (
    PREAMBLE_BYTES,
    SEGMENT_END,
    BadPreamble,
    JournalDamaged,
    JournalError,
    Kind,
    NewerFormat,
    Record,
    Scan,
    Segment,
    check_preamble,
    decode_vote,
    scan,
)
from cluster.storage.sealing import SealBroken

FOLDER = "journal"
_PAGE = 4096


def segment_file(number: int) -> str:
    return f"{FOLDER}/{number:016d}.segment"


@dataclass(slots=True)
class View:
    """A journal's contents. `entries` may reach further back than `base_index` until the replay is over."""

    entries: EntryLog = field(default_factory=EntryLog)
    base_index: int = 0
    base_term: int = 0
    term: int = 0
    voted_for: str | None = None


@dataclass(slots=True)
class SegmentState:
    """A segment on the disk; when no entry after `last_index` counts any more in it, the file may go."""

    number: int
    last_index: int = 0


@dataclass(frozen=True, slots=True)
class Restart:
    """Where the next segment goes on: after `previous_end` bytes of the last one, with the journal as it was there.

    `carried` are the records after that place. They could be read, but nothing proves that the disk has them: after
    a failed fsync, the page cache shows what the disk never got.
    """

    number: int
    previous_end: int
    next_index: int
    previous_term: int
    base_index: int
    base_term: int
    term: int
    voted_for: str | None
    carried: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that a journal needs to go on. `cut` counts the bytes of a write that never completed."""

    view: View
    segments: list[SegmentState]
    restart: Restart
    leftovers: list[str]
    cut: int


def list_segments(disk: Disk) -> tuple[list[int], list[str]]:
    """The segments' numbers, ascending, and the other files of the journal's folder (left by a crash)."""
    numbers, others = [], []
    try:
        names = disk.list(FOLDER)
    except FileNotFoundError:
        return [], []
    for name in names:
        stem, _, suffix = name.partition(".")
        if suffix == "segment" and stem.isdecimal() and len(stem) == 16:
            numbers.append(int(stem))
        else:
            others.append(f"{FOLDER}/{name}")
    return sorted(numbers), others


def read_segment(disk: Disk, number: int, end: int | None = None) -> tuple[Segment, Scan, int]:
    """The header, the records within the first `end` bytes (default: all) and the file's size.

    Raises JournalDamaged when it doesn't begin as a segment must, JournalError when a newer version wrote it.
    """
    name = segment_file(number)
    file = disk.open(name)
    try:
        size = file.size()
        if end is not None and size < end:
            raise JournalDamaged(name, size, f"the file should have at least {end} bytes, it has {size}")
        data = file.read(0, size if end is None else end)
    finally:
        file.close()
    try:
        check_preamble(data)
    except BadPreamble as error:
        raise JournalDamaged(name, 0, str(error)) from None
    except NewerFormat as error:
        raise JournalError(f"{name}: {error}") from None
    found = scan(data, number)
    if not found.records or found.records[0].kind != Kind.SEGMENT:
        problem = found.bad.problem if found.bad else "the first record should be the segment's header"
        raise JournalDamaged(name, PREAMBLE_BYTES, problem)
    try:
        header = Segment.decode(found.records[0].data)
    except struct.error:
        raise JournalDamaged(name, PREAMBLE_BYTES, "the segment's header has a wrong length") from None
    if header.number != number:
        raise JournalDamaged(name, PREAMBLE_BYTES, f"this is segment {header.number} under the name of {number}")
    return header, found, size


def read_header(disk: Disk, number: int) -> Segment:
    """The header alone, raising as `read_segment` does."""
    return read_segment(disk, number, SEGMENT_END)[0]


def read_segments(disk: Disk, numbers: list[int]) -> Iterator[tuple[int, Segment, Scan, int]]:
    """Each segment of a run without gaps, with how many bytes after its end count no more.

    Raises JournalDamaged for every bad record but those at the end of the last segment that may be a torn write.
    """
    ends: dict[int, int] = {}
    for number in numbers[1:]:
        ends[number - 1] = read_header(disk, number).previous_end
    for number in numbers:
        header, found, size = read_segment(disk, number, ends.get(number))
        if found.bad and (number in ends or found.bad.damage):
            raise JournalDamaged(segment_file(number), found.bad.offset, found.bad.problem)
        yield number, header, found, size - found.end


Open = Callable[[Record, str], bytes]
"""Gives the data of an entry's record, sealed or not, in the place that the text says."""


def recover(disk: Disk, open_entry: Open) -> Recovered:
    """Read the journal as it is on the disk. Raises JournalDamaged, JournalError, or OSError from the disk."""
    numbers, leftovers = list_segments(disk)
    # A crash while old segments were removed may leave any of them: only the run that ends with the last counts,
    # if it reaches back to the base (checked below).
    start = len(numbers)
    while start > 0 and (start == len(numbers) or numbers[start - 1] == numbers[start] - 1):
        start -= 1
    run = numbers[start:]
    replay = Replay(open_entry)
    restart = restart_from(replay.view, 1, 0)
    cut = 0
    for number, header, found, rest in read_segments(disk, run):
        replay.begin(number, header, found.records[0])
        if number != run[-1]:
            replay.apply(found.records[1:])
            continue
        cut = rest if found.bad and not found.bad.blank else 0
        # A write that failed may have spoilt the page in which it began, so all of that page is written again.
        page = found.synced - found.synced % _PAGE
        proven = [record for record in found.records[1:] if record.end <= page]
        carried = found.records[1 + len(proven) :]
        replay.apply(proven)
        previous_end = proven[-1].end if proven else SEGMENT_END
        restart = restart_from(replay.view, number + 1, previous_end, tuple(carried))
        replay.apply(carried)
    replay.finish(numbers, run)
    leftovers.extend(segment_file(number) for number in numbers[:start])
    return Recovered(replay.view, replay.segments, restart, leftovers, cut)


def restart_from(view: View, number: int, previous_end: int, carried: tuple[Record, ...] = ()) -> Restart:
    """A segment that begins now, with the journal as `view` shows it; see `Restart`."""
    entries = view.entries
    return Restart(
        number,
        previous_end,
        entries.last_index + 1,
        entries.last_term,
        view.base_index,
        view.base_term,
        view.term,
        view.voted_for,
        carried,
    )


class Replay:
    """Builds the view from records in the order in which they were written."""

    def __init__(self, open_entry: Open) -> None:
        self.view = View()
        self._open_entry = open_entry
        self.segments: list[SegmentState] = []
        self._file = ""

    def begin(self, number: int, header: Segment, record: Record) -> None:
        """Enter the next segment: it must go on where the one before ended."""
        self._file = segment_file(number)
        view, entries = self.view, self.view.entries
        if not self.segments:
            entries.reset(record.index - 1, record.term)
            view.base_index, view.base_term = header.base_index, header.base_term
        elif (record.index, header.base_index) != (entries.last_index + 1, view.base_index):
            raise JournalDamaged(
                self._file,
                record.offset,
                f"this segment goes on with entry {record.index} after base {header.base_index}, "
                f"the one before ends with entry {entries.last_index} after base {view.base_index}",
            )
        self.segments.append(SegmentState(number))

    def apply(self, records: list[Record]) -> None:
        view, entries, segment = self.view, self.view.entries, self.segments[-1]
        for record in records:
            kind = record.kind
            if kind == Kind.ENTRY:
                if record.index != entries.last_index + 1:
                    raise self._out_of_order(record, f"entry {entries.last_index + 1} should follow")
                entries.append(self._opened(record), record.term)
                segment.last_index = max(segment.last_index, record.index)
            elif kind == Kind.VOTE:
                view.term, view.voted_for = record.term, decode_vote(record.data)
            elif kind == Kind.TRUNCATE:
                if record.index > entries.last_index:
                    raise self._out_of_order(record, f"the log ends at {entries.last_index}")
                if record.index > entries.base_index:
                    entries.truncate_from(record.index)
                else:
                    # The entries that it dropped were in segments that are gone since; so are those that came
                    # before, which `finish` checks against the base.
                    entries.reset(record.index - 1, 0)
            elif kind == Kind.BASE:
                if record.index > entries.last_index or record.index < view.base_index:
                    raise self._out_of_order(record, f"base is {view.base_index}, the log ends at {entries.last_index}")
                view.base_index, view.base_term = record.index, record.term
            elif kind == Kind.RESET:
                view.base_index, view.base_term = record.index, record.term
                entries.reset(record.index, record.term)
                for earlier in self.segments:
                    earlier.last_index = 0
            elif kind != Kind.MARK:
                raise JournalError(
                    f"{self._file}, byte {record.offset}: a record of kind {kind} is not known to this version; "
                    "a newer one wrote it"
                )

    def finish(self, numbers: list[int], run: list[int]) -> None:
        """Forget what the snapshot covers. Raises JournalDamaged when entries after the base are missing."""
        view, entries = self.view, self.view.entries
        if entries.base_index > view.base_index:
            missing = run[0] - 1
            found = "" if numbers == run else f" (there is segment {numbers[len(numbers) - len(run) - 1]} before it)"
            raise JournalDamaged(
                segment_file(missing),
                0,
                f"segment {missing} is missing{found}: entries {view.base_index + 1} to {entries.base_index} "
                "should be there",
            )
        if entries.last_index < view.base_index:
            raise JournalDamaged(self._file, 0, f"the log ends at {entries.last_index}, before base {view.base_index}")
        if view.base_index == entries.base_index:
            # Where a truncation reached below the oldest segment, only the base knows its term.
            entries.base_term = view.base_term
            if entries.last_index == view.base_index:
                entries.last_term = view.base_term
        else:
            entries.drop_to(view.base_index)

    def _opened(self, record: Record) -> bytes:
        try:
            return self._open_entry(record, f"{self._file}, byte {record.offset}:")
        except SealBroken:
            raise JournalDamaged(self._file, record.offset, "the entry isn't what was sealed there") from None

    def _out_of_order(self, record: Record, expected: str) -> JournalDamaged:
        what = Kind(record.kind).name
        return JournalDamaged(self._file, record.offset, f"{what} of index {record.index} is out of order: {expected}")
