"""Log matching: what an append_entries may change in a follower's log (Raft §5.3, §5.4).

pysyncobj drops and commits more than that: `engine.py` lets it see only what is verified here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class SafetyViolation(Exception):
    """Something that Raft proves impossible: a defect or a lying disk. The node must stop and keep its data."""


class LogView(Protocol):
    @property
    def base_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...


class Verified(NamedTuple):
    """An append_entries, cut down to what the log lacks.

    The log holds the leader's entries up to `previous`; `entries` (term, data) come after it, and replace what is
    there. `upto` is the last index that this message showed to be the leader's: the most that may be acknowledged
    or committed on its strength.
    """

    previous: int
    previous_term: int
    entries: tuple[tuple[int, bytes], ...]
    upto: int

    def may_commit(self, commit: int) -> int:
        """How much of what the leader has committed the follower may commit: what this message verified (hole 2)."""
        return min(commit, self.upto)


class Rejected(NamedTuple):
    """The log doesn't hold what the message builds on; `hint` is where the leader should try next."""

    hint: int


def verify_append(
    log: LogView, previous: int, previous_term: int, entries: list[tuple[int, bytes]], committed: int
) -> Verified | Rejected:
    """Judge an append_entries whose first entry has index `previous` + 1 (Raft §5.3).

    Entries that are there in index and term stay untouched, so that a late or repeated message never drops what was
    acknowledged; only a conflict truncates. Raises SafetyViolation for a conflict at or below `committed`.
    """
    upto = previous + len(entries)
    if previous == log.last_index and previous_term == log.last_term:
        # As nearly always: it goes on where this log ends.
        return Verified(previous, previous_term, tuple(entries), upto)
    if previous < log.base_index:
        # What a snapshot covers was committed, hence is the leader's (Leader Completeness, Raft §5.4.3).
        skipped = log.base_index - previous
        if len(entries) <= skipped:
            return _nothing_new(log, upto)
        entries = entries[skipped:]
        previous = log.base_index
    elif (term := log.term_at(previous)) is None:
        return Rejected(log.last_index + 1)
    elif term != previous_term:
        if previous <= committed:
            raise SafetyViolation(
                f"committed entry {previous} has term {term} here and term {previous_term} on the leader"
            )
        return Rejected(_first_of_term(log, previous, term))
    for position, (entry_term, _data) in enumerate(entries):
        index = previous + 1 + position
        term_here = log.term_at(index)
        if term_here == entry_term:
            continue
        if term_here is not None and index <= committed:
            raise SafetyViolation(
                f"committed entry {index} has term {term_here} here and term {entry_term} on the leader"
            )
        before = log.term_at(index - 1)
        assert before is not None
        return Verified(index - 1, before, tuple(entries[position:]), upto)
    return _nothing_new(log, upto)


def _nothing_new(log: LogView, upto: int) -> Verified:
    """All of it is there already: hand on a message that builds on the log's end, and so touches nothing."""
    return Verified(log.last_index, log.last_term, (), upto)


def _first_of_term(log: LogView, index: int, term: int) -> int:
    """Where `term` begins: the leader can skip all of it (end of Raft §5.3)."""
    while index > log.base_index + 1 and log.term_at(index - 1) == term:
        index -= 1
    return index
