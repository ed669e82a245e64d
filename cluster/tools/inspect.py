"""What `volstore journal verify|dump` shows: a look at a stopped node's journal that changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.ports import Disk
from cluster.storage.records import JournalDamaged, JournalError, Kind, Record, Segment, decode_vote
from cluster.storage.replay import list_segments, read_header, read_segment, recover, segment_file
from cluster.storage.sealing import key_name

_DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Problem:
    """`file` is relative to the data directory, `offset` in bytes; `fatal`: a node would refuse to start."""

    file: str
    offset: int
    text: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a node would find. Without entries, or when it would find nothing for a fatal problem, indexes are 0.

    `entry_terms` are those of the entries, in their order; `term` and `voted_for` are the member's own. `keys` names
    those that records are encrypted with.
    """

    segments: int
    records: int
    first_index: int
    last_index: int
    base_index: int
    base_term: int
    term: int
    voted_for: str | None
    entry_terms: tuple[int, ...]
    keys: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def verify(disk: Disk) -> Report:
    """Read all of the journal. BlockingIOError when a running node has the directory.

    Give it a `RealDisk(path, create=False)`, which leaves no trace.
    """
    disk.lock()
    try:
        return _verify(disk)
    finally:
        disk.unlock()


def dump(disk: Disk) -> Iterator[dict[str, Any]]:
    """Each record as a JSON-able dict: segment, offset, kind, index, term, and what its kind adds.

    Of an entry's data, which may hold secrets, only the length and the start of its SHA-256 are shown. Where records
    can't be read there is a `problem` instead, and the next segment follows. BlockingIOError as with `verify`.
    """
    disk.lock()
    try:
        numbers, _ = list_segments(disk)
        for number in numbers:
            records, problem = _read(disk, number, numbers)
            for record in records:
                yield {"segment": number, "offset": record.offset} | _shown(record)
            if problem is not None:
                yield {"segment": number, "offset": problem.offset, "problem": problem.text}
    finally:
        disk.unlock()


def _verify(disk: Disk) -> Report:
    numbers, _ = list_segments(disk)
    problems: list[Problem] = []
    count = 0
    keys: set[int] = set()
    for number in numbers:
        records, problem = _read(disk, number, numbers)
        count += len(records)
        keys.update(record.key_id for record in records if record.key_id)
        if problem is not None:
            problems.append(problem)
    named = tuple(key_name(key_id) for key_id in sorted(keys))
    try:
        recovered = recover(disk, lambda record, where: record.data)  # sealed or not: the checksums are over that
    except (JournalError, OSError) as error:
        if not any(problem.fatal for problem in problems):
            problems.append(_fatal(error, numbers[-1] if numbers else 1))
        return Report(len(numbers), count, 0, 0, 0, 0, 0, None, (), named, tuple(problems))
    problems.extend(
        Problem(name, 0, "left behind by a crash; the next start removes it", fatal=False)
        for name in recovered.leftovers
    )
    view = recovered.view
    entries = view.entries
    some = entries.last_index > entries.base_index
    return Report(
        len(numbers),
        count,
        entries.base_index + 1 if some else 0,
        entries.last_index if some else 0,
        entries.base_index,
        entries.base_term,
        view.term,
        view.voted_for,
        entries.terms(),
        named,
        tuple(problems),
    )


def _read(disk: Disk, number: int, numbers: list[int]) -> tuple[list[Record], Problem | None]:
    """The good records of a segment that count, and what is wrong after them."""
    last = number == numbers[-1]
    try:
        end = None if last or number + 1 not in numbers else read_header(disk, number + 1).previous_end
    except (JournalError, OSError):
        end = None  # told when it is that segment's turn
    try:
        _, found, size = read_segment(disk, number, end)
    except (JournalError, OSError) as error:
        return [], _fatal(error, number)
    if found.bad is None:
        return found.records, None
    if last and found.bad.blank and not found.bad.damage:
        return found.records, None
    if last and not found.bad.damage:
        text = f"a write that never completed, {size - found.end} bytes; the next start cuts it ({found.bad.problem})"
        return found.records, Problem(segment_file(number), found.bad.offset, text, fatal=False)
    return found.records, Problem(segment_file(number), found.bad.offset, found.bad.problem, fatal=True)


def _fatal(error: Exception, number: int) -> Problem:
    if isinstance(error, JournalDamaged):
        return Problem(error.file, error.offset, error.problem, fatal=True)
    return Problem(segment_file(number), 0, str(error), fatal=True)


def _shown(record: Record) -> dict[str, Any]:
    known = record.kind in Kind.__members__.values()
    kind = Kind(record.kind).name.lower() if known else f"unknown {record.kind}"
    shown: dict[str, Any] = {"kind": kind, "index": record.index, "term": record.term}
    if record.key_id:
        shown["key"] = key_name(record.key_id)
    if record.kind == Kind.VOTE and not record.key_id:
        shown["voted_for"] = decode_vote(record.data)
    elif record.kind == Kind.SEGMENT:
        header = Segment.decode(record.data)
        shown |= {"base_index": header.base_index, "base_term": header.base_term, "previous_end": header.previous_end}
    elif record.data:
        digest = hashlib.sha256(record.data).hexdigest()[:_DIGEST_CHARACTERS]
        shown |= {"bytes": len(record.data), "sha256": digest}
    return shown
