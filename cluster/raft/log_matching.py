"""Log matching: what an append_entries may change in a follower's log (Raft §5.3, §5.4).

pysyncobj drops and commits more than that: `engine.py` lets it see only what is verified here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class SafetyViolation(Exception):
    """Raft proves this impossible, so there is a defect or a lying disk. The node must stop and keep its data."""


class LogView(Protocol):
    @property
    def base_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...


class Verified(NamedTuple):
    """An append_entries without the entries that the log has already.

    The log matches the leader's up to `previous`. `entries` (term, data) come after it and replace what is there.
    `upto` is the last index that this message shows to match: the follower acknowledges and commits no more than that.
    """

    previous: int
    previous_term: int
    entries: tuple[tuple[int, bytes], ...]
    upto: int

    def may_commit(self, commit: int) -> int:
        """The index up to which the follower may commit when its leader has committed `commit` (hole 2)."""
        return min(commit, self.upto)


class Rejected(NamedTuple):
    """The log doesn't match at `previous`. The leader should try `hint` as the next entry to send."""

    hint: int


def verify_append(
    log: LogView, previous: int, previous_term: int, entries: list[tuple[int, bytes]], committed: int
) -> Verified | Rejected:
    """Check an append_entries whose first entry has index `previous` + 1 (Raft §5.3).

    Entries with equal index and term stay, so a late or repeated message never drops an acknowledged entry. Only a
    conflict truncates. Raises SafetyViolation for a conflict at or below `committed`.
    """
    upto = previous + len(entries)
    if previous == log.last_index and previous_term == log.last_term:
        # The usual case: the message continues at the log's end.
        return Verified(previous, previous_term, tuple(entries), upto)
    if previous < log.base_index:
        # Entries under a snapshot were committed, so the leader has them (Leader Completeness, Raft §5.4.3).
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
    """The log has all entries already: return an append at the log's end, which changes nothing."""
    return Verified(log.last_index, log.last_term, (), upto)


def _first_of_term(log: LogView, index: int, term: int) -> int:
    """The first entry of `term`, the term of entry `index`: the leader can skip that whole term (end of Raft §5.3)."""
    while index > log.base_index + 1 and log.term_at(index - 1) == term:
        index -= 1
    return index
