"""The holes of pysyncobj, one function each: it patches `cluster` so that the hole is open again.

The numbers are the rows of the list of holes (README.md). A run opens the hole that its settings name, and no other
run sees it: `run.run` undoes the patch. `teeth.py` has the seeds that find each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from cluster.node import boot
from cluster.node.applier import Applier
from cluster.node.changes import Changes
from cluster.node.host import Host
from cluster.node.intake import Intake
from cluster.node.node import Node
from cluster.node.peers import Peers
from cluster.node.persistence import Persistence
from cluster.node.proposals import Pending, Proposals
from cluster.node.sessions import Answer, ReplicatedState
from cluster.node.transfer import Receiving
from cluster.raft import engine, leadership
from cluster.raft.election import Election
from cluster.raft.engine import Engine
from cluster.raft.leadership import Leadership
from cluster.raft.log_matching import LogView, Verified
from cluster.raft.progress import Progress
from cluster.raft.pysyncobj_adapter import Raft
from cluster.raft.rounds import RoundTimes
from cluster.storage.journal import Journal
from cluster.storage.snapshots import Found, SnapshotMeta

Patch = pytest.MonkeyPatch
Hole = Callable[[Patch], None]


def drop_matching_entries(patch: Patch) -> None:
    """1: a follower drops all that follows the message's first entry, and acknowledges what it didn't verify."""

    def believe(
        _log: LogView, previous: int, previous_term: int, entries: list[tuple[int, bytes]], _committed: int
    ) -> Verified:
        return Verified(previous, previous_term, tuple(entries), previous + len(entries))

    patch.setattr(engine, "verify_append", believe)


def move_next_back(patch: Patch) -> None:
    """1: a late acknowledgement moves the leader's next index back."""
    acknowledged = Raft.acknowledged
    newest = 0

    def noted(self: Raft, now: float, peer: str, index: int, contact: float) -> int:
        nonlocal newest
        newest = index
        return acknowledged(self, now, peer, index, contact)

    def matched(self: Progress, _match: int) -> None:
        self.next = newest + 1
        if not self.needs_snapshot:
            self.become_replicate()

    patch.setattr(Raft, "acknowledged", noted)
    patch.setattr(Progress, "matched", matched)


def commit_unverified(patch: Patch) -> None:
    """2: a follower commits what its leader has committed, whether it has the leader's entries there or not."""
    patch.setattr(Verified, "may_commit", lambda _verified, commit: commit)


def count_acks_of_any_term(patch: Patch) -> None:
    """3: an acknowledgement of another term counts, and one of a higher term doesn't end a leadership."""
    on_ack = Leadership.on_ack

    def counted(self: Leadership, peer: str, _term: int, round_: int, ok: bool, index: int) -> None:
        on_ack(self, peer, self._engine.term, round_, ok, index)

    patch.setattr(Leadership, "on_ack", counted)


def send_before_sync(patch: Patch) -> None:
    """4: messages leave before the disk has what they say, and a leader counts itself at once."""
    send = Engine.send

    def at_once(self: Engine, peer: str, frame: Any, *, after_sync: bool) -> None:
        send(self, peer, frame, after_sync=False)

    patch.setattr(Engine, "send", at_once)
    patch.setattr(Engine, "countable", lambda _engine, _index: True)


def acknowledge_damaged_snapshots(patch: Patch) -> None:
    """5: a snapshot that arrived damaged is acknowledged as installed."""

    def acknowledge(self: Receiving, peer: str, term: int, index: int, error: Exception) -> None:
        self._refused(error)
        self._send(peer, ["snapack", term, index, 0, True])

    patch.setattr(Receiving, "_found_damaged", acknowledge)


def stand_without_prevote(patch: Patch) -> None:
    """6: a node stands for election without asking first, and anybody may depose a leader that is heard."""

    def stand(self: Election) -> None:
        if self._may_stand():
            self._stand()

    patch.setattr(Election, "_ask_first", stand)
    patch.setattr(Election, "_leader_is_heard", lambda _election: False)


def lead_without_majority(patch: Patch) -> None:
    """7: a leader that hears no majority goes on for 30 s (no CheckQuorum)."""
    make = Raft.__init__

    def patient(self: Raft, *arguments: Any, quorum_timeout: float, **rest: Any) -> None:
        make(self, *arguments, quorum_timeout=30.0, **rest)

    patch.setattr(Raft, "__init__", patient)


def read_without_round(patch: Patch) -> None:
    """7: a leader answers linearizable reads without a proof that it still leads (no ReadIndex)."""

    def read(self: Engine, _now: float, answer: Callable[[int | None], None]) -> None:
        answer(self.commit_index)

    patch.setattr(Engine, "read", read)


def apply_again(patch: Patch) -> None:
    """8: a leader writes a command that its log has already, and a second copy is applied like the first."""
    propose, make = ReplicatedState._propose, Intake.__init__

    class Forgetful(set[tuple[bytes, int]]):
        def add(self, _key: tuple[bytes, int], /) -> None: ...

    def proposed(self: ReplicatedState, log_index: int, session: bytes, number: int, *rest: Any) -> Any:
        if (held := self._by_id.get(session)) is not None:
            held.outcomes.pop(number, None)
        return propose(self, log_index, session, number, *rest)

    def made(self: Intake, *arguments: Any) -> None:
        make(self, *arguments)
        self._held = Forgetful()

    patch.setattr(ReplicatedState, "_propose", proposed)
    patch.setattr(Intake, "__init__", made)


class _Failed(Exception):
    """An exception of the state machine."""


def survive_failed_apply(patch: Patch) -> None:
    """9: an exception in `apply` is swallowed, and the entry tried again on a state that may hold half of it."""
    apply, advance = Applier._apply, Applier.advance

    def applied(self: Applier, index: int, data: bytes) -> list[Answer]:
        try:
            return apply(self, index, data)
        except Exception as error:
            raise _Failed from error

    def advanced(self: Applier, journal: Journal, commit_index: int) -> bool:
        try:
            return advance(self, journal, commit_index)
        except _Failed:
            return False

    patch.setattr(Applier, "_apply", applied)
    patch.setattr(Applier, "advance", advanced)


def vote_at_once(patch: Patch) -> None:
    """12: a new member gets its vote before it has anything of the log."""

    async def caught_up(_changes: Changes, _name: str, _deadline: float) -> bytes:
        return b""

    patch.setattr(Changes, "_caught_up", caught_up)


def survive_failed_step(patch: Patch) -> None:
    """16: an exception in a tick or in the handling of a message is logged, and the node goes on."""

    def log(self: Node, error: Exception) -> None:
        self.log.error("step_failed", reason=str(error))

    patch.setattr(Node, "_step_failed", log)


def believe_own_log(patch: Patch) -> None:
    """17: after a start a node takes all of its log as committed."""
    make = Engine.__init__

    def made(self: Engine, now: float, *, journal: Journal, applied: int, **rest: Any) -> None:
        make(self, now, journal=journal, applied=journal.last_index, **rest)

    patch.setattr(Engine, "__init__", made)


def lead_with_slow_disk(patch: Patch) -> None:
    """18: a leader whose disk hangs goes on leading."""
    patch.setattr(Persistence, "_found_slow", lambda *_: None)


def count_any_vote(patch: Patch) -> None:
    """19: a vote counts as often as it comes, and whoever sends it."""
    patch.setattr(Election, "_counts", lambda *_: True)


def answer_before_position(patch: Patch) -> None:
    """20: results are handed over before the position has moved past their entry."""
    apply = Applier._apply

    def told(self: Applier, index: int, data: bytes) -> list[Answer]:
        self._tell(apply(self, index, data))
        return []

    patch.setattr(Applier, "_apply", told)


def stand_again_at_once(patch: Patch) -> None:
    """21: who steps down stands for election again without a time-out."""
    patch.setattr(Election, "stepped_down", Election.due_now)


def contact_when_answered(patch: Patch) -> None:
    """22: a member counts as in contact when its answer comes, however old the round that it echoes."""
    on_ack = Leadership.on_ack
    now = 0.0

    def noted(self: Leadership, *arguments: Any) -> None:
        nonlocal now
        now = self._engine.now
        on_ack(self, *arguments)

    patch.setattr(Leadership, "on_ack", noted)
    patch.setattr(RoundTimes, "of", lambda _times, _round: now)


def ignore_incarnations(patch: Patch) -> None:
    """23: a wiped disk under an old name passes for the member."""
    patch.setattr(Election, "_forming_incomplete", lambda _election: False)
    patch.setattr(Peers, "_is_its_disk", lambda *_: True)
    patch.setattr(Peers, "_keep_pinned", lambda *_: None)


def start_without_snapshot(patch: Patch) -> None:
    """24: a node whose log builds on a snapshot that can't be read starts with an empty state."""
    advance = Applier.advance

    def chosen(journal: Journal, found: Found) -> SnapshotMeta | None:
        newest = found.intact[0] if found.intact else None
        return newest if newest is not None and newest.index >= journal.base_index else None

    def advanced(self: Applier, journal: Journal, commit_index: int) -> bool:
        return self.index >= journal.base_index and advance(self, journal, commit_index)

    patch.setattr(boot, "_choose", chosen)
    patch.setattr(Applier, "advance", advanced)


def number_proposals_again(patch: Patch) -> None:
    """24: each run of a member uses the same session, and so the numbers of the run before it."""
    make = Intake.__init__

    def made(self: Intake, host: Host, state: ReplicatedState, applied: Callable[[], int], _session: bytes) -> None:
        make(self, host, state, applied, host.options.name.encode())

    patch.setattr(Intake, "__init__", made)


def wait_for_ever(patch: Patch) -> None:
    """24: a proposal doesn't end at its deadline."""
    add = Proposals.add

    def added(self: Proposals, command: bytes, _deadline: float) -> Pending | Any:
        return add(self, command, math.inf)

    patch.setattr(Proposals, "add", added)


def send_without_window(patch: Patch) -> None:
    """24: any number of messages with entries may be in flight to a member."""
    patch.setattr(leadership, "WINDOW", sys.maxsize)


def propose_while_handing_over(patch: Patch) -> None:
    """24: a leader takes proposals while it hands over, so that its successor never has all of its log."""

    def takes(self: Engine) -> bool:
        return self.leads and self.commit_index >= self.led_from > 0

    patch.setattr(Engine, "takes_proposals", property(takes))
