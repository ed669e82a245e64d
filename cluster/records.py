"""The bytes of the journal: what a record looks like on disk, and what can be told of a bad one."""

from __future__ import annotations


class JournalError(Exception):
    """The journal can't be used; the text says why and what would be right."""


class JournalDamaged(JournalError):
    """The journal holds bytes that it should not: `file` (relative to the data directory), `offset` in bytes."""

    def __init__(self, file: str, offset: int, problem: str) -> None:
        super().__init__(f"{file}, byte {offset}: {problem}")
        self.file = file
        self.offset = offset
        self.problem = problem
