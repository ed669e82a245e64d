"""Exactly once between our own nodes: the replicated sessions around a state machine (Raft dissertation §6.3).

Each run of each member is a session. A proposal is (session, number) and carries the number below which its sender
has all answers, so that the table keeps the outcomes of what is still in flight and nothing else. A proposal that
is applied a second time gets its first outcome; one of a session that isn't open is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgpack

from cluster.api import Applied, Captured, NotApplied, StateMachine

Item = list[Any]
"""One proposal in an entry: ["p", session, number, below, command], or ["o", member, session, replaces]."""

_FORMAT = 1
_ENDED = b"removed:"
"""Before a name, the id of a session that nobody proposes in. Those of members' runs are 16 random bytes."""


class NewerEntry(Exception):
    """An entry from a newer version; the node that meets it stops rather than diverge."""


@dataclass(slots=True)
class Session:
    """`below`: all numbers under it are answered. `outcomes`: by number, all ≥ `below`."""

    member: str
    id: bytes
    below: int = 1
    outcomes: dict[int, Applied] = field(default_factory=dict)


Answer = tuple[bytes, int, Applied | NotApplied]
"""What became of one proposal of an entry: its session, its number, its outcome."""

# Kept: to make a packer costs more than to pack a small entry.
_pack: Callable[[Any], bytes] = msgpack.Packer().pack


def proposal(session: bytes, number: int, below: int, command: bytes) -> Item:
    return ["p", session, number, below, command]


def opening(member: str, session: bytes, replaces: bytes) -> Item:
    """Open `session` for `member` if its present one is `replaces` (b"" for none): a late duplicate opens nothing."""
    return ["o", member, session, replaces]


def ending(member: str, present: bytes) -> Item:
    """End the session of a member that was removed: nothing of that session is applied any more, and its outcomes are
    forgotten. It is an opening like any other, so that members of older versions apply it alike. What stays is one
    row of some 40 bytes for each name that was ever removed, until a member of that name opens a session."""
    return opening(member, _ENDED + member.encode(), present)


def encode_batch(items: list[Item]) -> bytes:
    return _pack([_FORMAT, items])


class ReplicatedState:
    """A state machine and the sessions of the members that write to it: together the state that all members share."""

    def __init__(self, machine: StateMachine) -> None:
        self.machine = machine
        self._by_member: dict[str, Session] = {}
        self._by_id: dict[bytes, Session] = {}

    def session_of(self, member: str) -> bytes:
        """The open session of `member`, b"" for none."""
        session = self._by_member.get(member)
        return session.id if session is not None else b""

    def owner(self, session: bytes) -> str | None:
        """The member whose open session this is; None if it isn't open."""
        held = self._by_id.get(session)
        return held.member if held is not None else None

    def without_member(self, members: Collection[str]) -> list[Item]:
        """The items that end the sessions of all but `members`; none for a session that is ended already."""
        return [
            ending(session.member, session.id)
            for session in self._by_member.values()
            if session.member not in members and not session.id.startswith(_ENDED)
        ]

    def outcome(self, session: bytes, number: int) -> Applied | None:
        """The remembered outcome, for a member that missed its entry because a snapshot covered it."""
        held = self._by_id.get(session)
        return held.outcomes.get(number) if held is not None else None

    def settled(self, session: bytes, number: int) -> bool:
        """Whether an applied entry brought this proposal already, or its sender doesn't wait for it any more."""
        held = self._by_id.get(session)
        return held is not None and (number in held.outcomes or number < held.below)

    def apply(self, log_index: int, batch: bytes) -> list[Answer]:
        """Apply one entry of the log. Raises NewerEntry, and whatever the machine raises: both must end the node."""
        decoded = msgpack.unpackb(batch)
        if decoded[0] != _FORMAT:
            raise NewerEntry(f"log entry {log_index} has format {decoded[0]}, this version knows {_FORMAT}: upgrade it")
        answers: list[Answer] = []
        for item in decoded[1]:
            if item[0] == "p":
                _kind, session, number, below, command = item
                answers.append((session, number, self._propose(log_index, session, number, below, command)))
            elif item[0] == "o":
                self._open(*item[1:])
            else:
                raise NewerEntry(
                    f"log entry {log_index} holds a {item[0]!r}, which this version doesn't know: upgrade it"
                )
        return answers

    def _propose(
        self, log_index: int, session_id: bytes, number: int, below: int, command: bytes
    ) -> Applied | NotApplied:
        session = self._by_id.get(session_id)
        if session is None:
            return NotApplied("its session has ended: this member was started again")
        if below > session.below:
            for answered in range(session.below, below):
                session.outcomes.pop(answered, None)
            session.below = below
        if (known := session.outcomes.get(number)) is not None:
            return known
        if number < session.below:
            return NotApplied("its sender has given it up")
        outcome = session.outcomes[number] = Applied(log_index, self.machine.apply(command))
        return outcome

    def _open(self, member: str, session_id: bytes, replaces: bytes) -> None:
        present = self._by_member.get(member)
        if (present.id if present is not None else b"") != replaces or session_id in self._by_id:
            return
        if present is not None:
            del self._by_id[present.id]
        self._by_member[member] = self._by_id[session_id] = Session(member, session_id)

    def digest(self) -> bytes:
        """16 bytes over the machine's digest and the sessions; O(what is in flight)."""
        return blake2b(self.machine.digest() + self._encoded(), digest_size=16).digest()

    def _encoded(self) -> bytes:
        rows = [
            [s.member, s.id, s.below, [[n, *s.outcomes[n]] for n in sorted(s.outcomes)]]
            for s in sorted(self._by_member.values(), key=lambda s: s.member)
        ]
        packed: bytes = msgpack.packb([_FORMAT, rows])
        return packed

    def capture(self) -> CapturedState:
        return CapturedState(self._encoded(), self.machine.capture())

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read what `CapturedState.chunks` gave; the returned function puts it in place. ValueError on anything else.

        Touches nothing but the chunks, so that an executor can do it.
        """
        pieces = iter(chunks)
        try:
            format_, rows = msgpack.unpackb(next(pieces))
        except (StopIteration, ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"a snapshot doesn't begin with its sessions: {error}") from None
        if format_ != _FORMAT:
            raise ValueError(f"a snapshot's sessions have format {format_}, this version knows {_FORMAT}: upgrade it")
        sessions = [
            Session(member, id_, below, {number: Applied(index, result) for number, index, result in outcomes})
            for member, id_, below, outcomes in rows
        ]
        adopt_machine = self.machine.load(pieces)

        def adopt() -> None:
            adopt_machine()
            self._by_member = {session.member: session for session in sessions}
            self._by_id = {session.id: session for session in sessions}

        return adopt


@dataclass(frozen=True, slots=True)
class CapturedState:
    """One consistent view of a ReplicatedState; `chunks` may be drawn from in another thread."""

    sessions: bytes
    machine: Captured

    def chunks(self) -> Iterator[bytes]:
        yield self.sessions
        yield from self.machine.chunks()
