"""The leader: sends members the entries that they lack, notes their answers, serves reads, hands over.

pysyncobj's sending isn't used: it has no window, walks the log and cuts entries in pieces (holes 11, 24, 25).
ReadIndex is the dissertation's §6.4, CheckQuorum §6.2, transfer §3.10. pysyncobj decides what is committed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from cluster.raft.membership import majority_reached
from cluster.raft.messages import Frame
from cluster.raft.progress import Progress
from cluster.raft.read_index import Answer, ReadRounds
from cluster.raft.rounds import RoundTimes

if TYPE_CHECKING:
    from cluster.raft.engine import Engine

MAX_MESSAGE_BYTES = 1 << 20
WINDOW = 8
"""Messages with entries in flight to one member: at most 8 MiB, or one command if that is larger."""


class Leadership:
    """While this node doesn't lead, only the names in `progress` are valid: the other members."""

    def __init__(self, engine: Engine) -> None:
        self.progress: dict[str, Progress] = {}
        self.first_index = 0
        """Log index of this leadership's no-op, 0 for none. Reads and proposals wait until it is committed."""
        self.transfer_to: str | None = None
        self._engine = engine
        self._reads = ReadRounds()
        self._round = 0
        self._round_times = RoundTimes(engine.timing.heartbeat / 16)
        self._next_heartbeat = 0.0
        self._transfer_deadline = 0.0

    # Beginning and end.

    def begin(self) -> None:
        """The election was won. pysyncobj appends the no-op next."""
        start = self._engine.journal.last_index + 1
        self.first_index = start
        self.transfer_to = None
        self._round_times.clear()
        self.progress = {peer: Progress(start, self._engine.now) for peer in self.progress}

    def end(self) -> None:
        self._reads.end(None)
        self.transfer_to = None
        self.first_index = 0

    def set_members(self, others: list[str]) -> None:
        start = self._engine.journal.last_index + 1
        self.progress = {peer: self.progress.get(peer) or Progress(start, self._engine.now) for peer in others}

    # Sending.

    def tick(self) -> None:
        engine = self._engine
        if self.transfer_to is not None and engine.now >= self._transfer_deadline:
            self.transfer_to = None
        engine.raft.tick(engine.now)
        if engine.leads and engine.now >= self._next_heartbeat:
            self.send_round()
        self.advanced()

    def send_round(self) -> None:
        """Start a round: send append_entries to each member, with the entries that it lacks or as a heartbeat."""
        engine = self._engine
        if not engine.leads:
            return
        self._round += 1
        self._round_times.sent(self._round, engine.now)
        self._next_heartbeat = engine.now + engine.timing.heartbeat
        made: dict[tuple[int, bool], Frame] = {}
        for peer in self.progress:
            self.send_to(peer, made)

    def send_to(self, peer: str, made: dict[tuple[int, bool], Frame] | None = None) -> None:
        """`made` holds the frames of this round: members with equal progress share one, which is encoded once."""
        engine = self._engine
        if peer not in engine.connected:
            return
        progress, journal = self.progress[peer], engine.journal
        base, start = journal.base_index, progress.next
        if start <= base:
            progress.become_snapshot()
        previous = base if progress.needs_snapshot else start - 1
        lacks = start <= journal.last_index and progress.may_send_entries(WINDOW)
        frame = made.get((previous, lacks)) if made is not None else None
        if frame is None:
            frame = self._append_entries(previous, lacks)
            if made is not None:
                made[previous, lacks] = frame
        if lacks:
            progress.sent(previous + len(frame[6]))
        progress.told = engine.commit_index
        engine.send(peer, frame, after_sync=False)

    def _append_entries(self, previous: int, with_entries: bool) -> Frame:
        engine, journal, entries = self._engine, self._engine.journal, []
        if with_entries:
            found = journal.slice(previous + 1, journal.last_index + 1, MAX_MESSAGE_BYTES)
            entries = [(term, data) for data, _index, term in found]
        previous_term = journal.term_at(previous)
        assert previous_term is not None
        return ["app", engine.term, self._round, previous, previous_term, engine.commit_index, entries, engine.mark()]

    def tell_commit(self, peers: Collection[str] | None) -> None:
        engine = self._engine
        if not engine.leads:
            return
        commit = engine.commit_index
        # In the order of the members: `peers` may be a set, and a simulated run must not depend on its order.
        for peer, progress in self.progress.items():
            if (peers is None or peer in peers) and progress.told < commit and peer in engine.connected:
                progress.told = commit
                engine.send(peer, ["commit", engine.term, commit], after_sync=False)

    # Answers.

    def on_ack(self, peer: str, term: int, round_: int, ok: bool, index: int) -> None:
        engine = self._engine
        if term != engine.term:
            if term > engine.term:
                engine.learn_term(term)
            return
        progress = self.progress.get(peer)
        if not engine.leads or progress is None:
            return
        # An answer proves contact at the time when its round was sent, however late it comes (hole 22).
        sent_at = self._round_times.of(round_)
        if round_ <= self._round:
            progress.answered(round_, sent_at)
        if ok:
            match = engine.raft.acknowledged(engine.now, peer, index, progress.contact)
            progress.acknowledged(match)
            progress.matched(match)
            engine.raft.count(engine.now)
        else:
            engine.raft.contacted(peer, progress.contact)
            if not progress.needs_snapshot:
                progress.rejected(index, engine.match_index(peer))
        if engine.leads:
            # Entries only: a heartbeat for each answer would be answered again, without end.
            if progress.next <= engine.journal.last_index and progress.may_send_entries(WINDOW):
                self.send_to(peer)
            self.advanced()

    def snapshot_installed(self, peer: str, index: int) -> None:
        engine = self._engine
        if engine.leads and (progress := self.progress.get(peer)) is not None:
            progress.restarted(engine.raft.acknowledged(engine.now, peer, index, progress.contact))
            self.send_to(peer)

    def reconnected(self, peer: str) -> None:
        if (progress := self.progress.get(peer)) is not None:
            progress.restarted(self._engine.match_index(peer))

    def advanced(self) -> None:
        """A match, a round or the disk advanced: finish a transfer and answer reads where that is now possible."""
        engine = self._engine
        if not engine.leads:
            return
        if self.transfer_to is not None and engine.match_index(self.transfer_to) == engine.journal.last_index:
            engine.send(self.transfer_to, ["now", engine.term], after_sync=True)
        if self._reads.waited_for:
            self._serve_reads()

    def transfer(self, to: str) -> None:
        self.transfer_to = to
        self._transfer_deadline = self._engine.now + self._engine.timing.election_max
        self.advanced()

    # Reads.

    def read(self, answer: Answer) -> None:
        self._reads.ask(answer)
        self._serve_reads()

    def _serve_reads(self) -> None:
        engine = self._engine
        if not engine.leads:
            self._reads.end(None)
            return
        if engine.commit_index < self.first_index:
            return  # Until its no-op is committed, a leader may not know all that earlier leaders committed (§6.4).
        voters = engine.configuration.voters
        while True:
            self._reads.confirm(majority_reached([self._round_of(voter) for voter in voters], len(voters)))
            if not self._reads.wants_round:
                return
            self._reads.begin(self._round + 1, engine.commit_index)
            self.send_round()

    def _round_of(self, voter: str) -> int:
        return self._round if voter == self._engine.name else self.progress[voter].round
