"""Raft's rules around pysyncobj, as a machine without I/O: messages and time in, messages and positions out.

pysyncobj (`raft.py`) keeps the role, the term and the commit rule; what it gets wrong is judged here before it sees
it, or instead of it: PreVote and stickiness (dissertation §9.6, §4.2.3), CheckQuorum (§6.2), ReadIndex (§6.4),
verified append_entries (§5.3 of the paper), windows, leadership transfer (§3.10), votes as a set of members.
The caller gives the time with every call, sends what `take_messages` returns, and calls `tick` often.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from cluster import raft as pysync
from cluster.api import Role
from cluster.closings import ALL_CLOSED, Closings
from cluster.guard import Progress, Rejected, SafetyViolation, Verified, majority_reached, quorum, verify_append
from cluster.journal import Journal
from cluster.membership import Configuration, Configurations
from cluster.messages import Frame
from cluster.raft import Raft
from cluster.reads import ReadRounds

NO_OP, BATCH, CONFIGURATION = 1, 3, 4
"""The first byte of an entry's data: pysyncobj's no-op, a batch of proposals, a configuration."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. Elections start after a random time in [election_min, election_max] without a leader."""

    heartbeat: float = 0.075
    election_min: float = 0.3
    election_max: float = 0.6


@dataclass(frozen=True, slots=True)
class Message:
    """`after_sync`: it says or implies that something is on this node's disk, and must wait until it is."""

    peer: str
    frame: Frame
    after_sync: bool


MAX_MESSAGE_BYTES = 1 << 20
WINDOW = 8
"""Messages with entries that may be under way to one member: at most 8 MiB, or one command if that is larger."""


class Engine:
    """One member's Raft. Raises SafetyViolation or AssertionError where a defect shows: the node must then stop."""

    def __init__(
        self,
        now: float,
        *,
        name: str,
        journal: Journal,
        configurations: Configurations,
        applied: int,
        timing: Timing,
        draw: Callable[[], float],
        closings: Closings = ALL_CLOSED,
    ) -> None:
        self.name = name
        self.journal = journal
        self.configurations = configurations
        self.timing = timing
        self.progress: dict[str, Progress] = {}
        self.connected: Collection[str] = frozenset()
        self.unable = False
        """This node can't write: it neither stands for election, nor votes, nor leads."""
        self.last_contact = now
        """When this node last heard from the leader that it knows."""
        self.term_start_index = 0
        """The no-op of this leadership: nothing is read or counted as this term's before it is committed."""
        self.transfer_to: str | None = None
        self.reads = ReadRounds()
        self._draw = draw
        self._closings = closings
        self._messages: list[Message] = []
        self._election_deadline = 0.0
        self._prevotes: tuple[int, set[str]] | None = None
        self._votes: set[str] = set()
        self._round = 0
        self._round_times: deque[tuple[int, float]] = deque()
        self._next_heartbeat = 0.0
        self._transfer_deadline = 0.0
        self._answer: tuple[int, int] | None = None
        self._verified = (0, 0)
        """The term, and how far its leader has shown this log to be its own."""
        self._now = now
        self.mark: Callable[[], Any] = lambda: None
        """What rides along with append_entries: the leader's state digest, for members to compare."""
        self._raft = Raft(
            now,
            name,
            self,
            pysync.JournalView(journal, self._entry_added, self._entries_dropped),
            quorum_timeout=timing.election_min if closings.check_quorum else 30.0,
            on_state=self.state_changed,
        )
        self._raft.committed(applied)
        self._read_configurations()
        self._restart_election_timer()

    # What others may know.

    @property
    def term(self) -> int:
        return self._raft.term

    @property
    def leader(self) -> str | None:
        return self._raft.leader

    @property
    def commit_index(self) -> int:
        return self._raft.commit_index

    @property
    def leads(self) -> bool:
        return self._raft.role == pysync.LEADER

    @property
    def configuration(self) -> Configuration:
        return self.configurations.latest

    @property
    def role(self) -> Role:
        if self.leads:
            return Role.LEADER
        member = self.configuration.member(self.name)
        if member is None:
            return Role.REMOVED
        if not member.voter:
            return Role.LEARNER
        return Role.CANDIDATE if self._raft.role == pysync.CANDIDATE else Role.FOLLOWER

    @property
    def takes_proposals(self) -> bool:
        """Leading, not about to hand over, and sure of what was committed before (its own no-op is committed)."""
        return self.leads and self.transfer_to is None and self.commit_index >= self.term_start_index > 0

    def match_index(self, peer: str) -> int:
        return self._raft.match_index(peer)

    def take_messages(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    # Inputs.

    def receive(self, now: float, peer: str, frame: Frame) -> None:
        """One frame of Raft's from an authenticated member. TypeError or ValueError when its form is wrong."""
        self._now = now
        kind = frame[0]
        if kind == "app":
            self._on_append(peer, *frame[1:])
        elif kind == "commit":
            self._on_commit(peer, *frame[1:])
        elif kind == "ack":
            self._on_ack(peer, *frame[1:])
        elif kind == "vote?":
            self._on_vote_request(peer, *frame[1:])
        elif kind == "vote":
            self._on_vote(peer, *frame[1:])
        elif kind == "now":
            self._on_timeout_now(peer, *frame[1:])
        else:
            raise ValueError(f"unknown message {kind!r}")

    def tick(self, now: float) -> None:
        """Let time pass: heartbeats, elections, and what has become committed."""
        self._now = now
        if self.leads:
            if self.transfer_to is not None and now >= self._transfer_deadline:
                self.transfer_to = None
            self._raft.tick(now)
            if self.leads and now >= self._next_heartbeat:
                self.send_round()
            self._after_progress()
        elif now >= self._election_deadline:
            self._restart_election_timer()
            self._ask_for_prevotes()

    def durable(self, now: float) -> None:
        """The journal synced: what was only written before may count now."""
        self._now = now
        if self.leads:
            self._raft.tick(now)
            self._after_progress()

    def append(self, now: float, data: bytes) -> int:
        """Append an entry as the leader and send it to everybody; its log index."""
        self._now = now
        self._raft.append(now, data)
        self.send_round()
        return self.journal.last_index

    def read(self, now: float, answer: Callable[[int | None], None]) -> None:
        """Find an index that a linearizable read must have seen (ReadIndex). `answer` gets None if leadership ends.

        One round to the majority serves all that ask before it starts; a single voter is its own majority.
        """
        self._now = now
        if not self._closings.read_index:
            answer(self.commit_index)
            return
        self.reads.ask(answer)
        self._serve_reads()

    def peers_changed(self, now: float, connected: Collection[str]) -> None:
        self._now = now
        for peer in set(connected) - set(self.connected):
            if (progress := self.progress.get(peer)) is not None:
                progress.reconnected(self.match_index(peer))
        self.connected = frozenset(connected)

    def step_down(self, now: float) -> None:
        self._now = now
        if self.leads:
            self._raft.step_down(now)

    def campaign_now(self, now: float) -> None:
        """Stand for election without waiting (a single voter that starts)."""
        self._now = now
        self._election_deadline = now
        self.tick(now)

    def transfer(self, now: float, to: str) -> None:
        """Hand leadership to `to`: proposals stop, and it is told once it has the whole log (§3.10)."""
        self._now = now
        self.transfer_to = to
        self._transfer_deadline = now + self.timing.election_max
        self._after_progress()

    def snapshot_installed(self, now: float, peer: str, index: int) -> None:
        """`peer` says that it has the state up to `index` on its disk."""
        self._now = now
        if self.leads and (progress := self.progress.get(peer)) is not None:
            progress.needs_snapshot = False
            self._raft.acknowledged(now, peer, index, progress.contact)
            progress.next = self.match_index(peer) + 1
            progress.unacknowledged.clear()
            progress.probing = True
            self._send_to(peer)

    def heard_leader(self, now: float) -> None:
        """Something else than append_entries shows that the leader is alive (a piece of its snapshot)."""
        self.last_contact = now
        self._restart_election_timer(now)

    def rebased(self, applied: int, configurations: Configurations) -> None:
        """A snapshot of log index `applied` was installed; `configurations` holds the one that it names."""
        self.configurations = configurations
        self._raft.committed(applied)
        self._read_configurations()

    def _read_configurations(self) -> None:
        """What follows the snapshot in the log may name newer configurations."""
        start = max(self.journal.base_index, self.configuration.index)
        for index in range(start + 1, self.journal.last_index + 1):
            self._note_configuration(index, self.journal.entry(index).data)
        self._adopt_configuration()

    # As a follower.

    def _on_append(
        self,
        peer: str,
        term: int,
        round_: int,
        previous: int,
        previous_term: int,
        commit: int,
        entries: list[tuple[int, bytes]],
        _mark: object = None,
    ) -> None:
        if term < self.term:
            self._send(peer, ["ack", self.term, round_, False, 0], after_sync=True)
            return
        if self.leads and term == self.term:
            raise SafetyViolation(f"two leaders in term {term}: {self.name} and {peer}")
        self.last_contact = self._now
        self._restart_election_timer()
        verdict = (
            verify_append(self.journal, previous, previous_term, entries, self.commit_index)
            if self._closings.keep_matching_entries
            else None
        )
        message: dict[str, Any] = {"type": "append_entries", "term": term, "commit_index": commit}
        if isinstance(verdict, Rejected):
            # pysyncobj still learns of the term and the leader: it rejects what builds on an entry that isn't there.
            message |= {"prevLogIdx": self.journal.last_index + 1, "prevLogTerm": 0, "entries": []}
            self._answer = (round_, verdict.hint)
        else:
            if verdict is not None:
                previous, previous_term, upto = verdict.previous, verdict.previous_term, verdict.upto
                entries = list(verdict.entries)
            else:
                upto = previous + len(entries)
            if self._closings.verified_commit:
                message["commit_index"] = min(commit, upto)
            numbered = [(data, previous + 1 + i, entry_term) for i, (entry_term, data) in enumerate(entries)]
            message |= {"prevLogIdx": previous, "prevLogTerm": previous_term, "entries": numbered}
            self._answer = (round_, upto)
        self._raft.deliver(self._now, peer, message)
        self._answer = None
        if isinstance(verdict, Verified):
            verified = self._verified[1] if self._verified[0] == term else 0
            self._verified = (term, max(verified, verdict.upto))

    def _on_commit(self, peer: str, term: int, commit: int) -> None:
        """The leader has committed more and has nothing to append just now: a message that needs no answer."""
        if term != self.term or peer != self.leader or self._verified[0] != term:
            return
        self.last_contact = self._now
        self._restart_election_timer()
        journal = self.journal
        self._raft.deliver(
            self._now,
            peer,
            {
                "type": "append_entries",
                "term": term,
                "commit_index": min(commit, self._verified[1]),
                "prevLogIdx": journal.last_index,
                "prevLogTerm": journal.last_term,
                "entries": [],
            },
        )

    def _on_timeout_now(self, peer: str, term: int) -> None:
        if term == self.term and peer == self.leader and self._may_campaign():
            self._campaign(transfer=True)

    # Elections.

    def _on_vote_request(
        self, peer: str, term: int, last_index: int, last_term: int, pre: bool, transfer: bool
    ) -> None:
        fresh = self._now < self.last_contact + self.timing.election_min
        sticky = self._closings.prevote and (self.leads or (self.leader is not None and fresh)) and not transfer
        if self.unable or self._forming_incomplete() or sticky:
            self._send(peer, ["vote", self.term, False, pre], after_sync=True)
            return
        if pre:
            ahead = (last_term, last_index) >= (self.journal.last_term, self.journal.last_index)
            granted = ahead and term > self.term
            self._send(peer, ["vote", term if granted else self.term, granted, True], after_sync=True)
            return
        again = term == self.term and self._raft.voted_for == peer
        before = len(self._messages)
        self._raft.deliver(
            self._now,
            peer,
            {"type": "request_vote", "term": term, "last_log_index": last_index, "last_log_term": last_term},
        )
        if len(self._messages) > before:
            self._restart_election_timer()
        else:
            self._send(peer, ["vote", self.term, again, False], after_sync=True)

    def _on_vote(self, peer: str, term: int, granted: bool, pre: bool) -> None:
        if not granted:
            if term > self.term:
                self._learn_term(term)
            return
        if self._closings.votes_of_members and peer not in self.configuration.voters:
            return
        if pre:
            if self._prevotes is not None and term == self._prevotes[0]:
                self._prevotes[1].add(peer)
                self._count_prevotes()
        elif term == self.term and self._raft.role == pysync.CANDIDATE:
            if self._closings.votes_of_members and peer in self._votes:
                return
            self._votes.add(peer)
            self._raft.deliver(self._now, peer, {"type": "response_vote", "term": term})

    def _ask_for_prevotes(self) -> None:
        if not self._may_campaign():
            return
        if not self._closings.prevote:
            self._campaign()
            return
        self._prevotes = (self.term + 1, {self.name})
        for peer in self.configuration.voters:
            if peer != self.name:
                self._send(peer, self._vote_request(self.term + 1, pre=True), after_sync=True)
        self._count_prevotes()

    def _count_prevotes(self) -> None:
        if self._prevotes is not None and len(self._prevotes[1]) >= quorum(self.configuration.voters):
            self._campaign()

    def _campaign(self, *, transfer: bool = False) -> None:
        self._prevotes = None
        self._votes = {self.name}
        self._transferring_vote = transfer
        self._restart_election_timer()
        self._raft.campaign(self._now)

    _transferring_vote = False

    def _vote_request(self, term: int, *, pre: bool) -> Frame:
        journal = self.journal
        return ["vote?", term, journal.last_index, journal.last_term, pre, not pre and self._transferring_vote]

    def _may_campaign(self) -> bool:
        return not self.unable and not self._forming_incomplete() and self.name in self.configuration.voters

    def _forming_incomplete(self) -> bool:
        """A cluster forms once, with all its first members there: before a configuration stands in this node's log it
        can't tell a member's first disk from an empty one under an old name (hole 23), so it waits for all."""
        if not self._closings.pinned_incarnations or self.configuration.index > 0 or self.journal.base_index > 0:
            return False
        return not set(self.configuration.voters) <= {self.name, *self.connected}

    def _restart_election_timer(self, now: float | None = None) -> None:
        span = self.timing.election_max - self.timing.election_min
        start = self._now if now is None else now
        self._election_deadline = start + self.timing.election_min + span * self._draw()

    def _learn_term(self, term: int) -> None:
        self._raft.learn_term(self._now, term)

    # As the leader.

    def _on_ack(self, peer: str, term: int, round_: int, ok: bool, index: int) -> None:
        if self._closings.acks_carry_term and term != self.term:
            if term > self.term:
                self._learn_term(term)
            return
        progress = self.progress.get(peer)
        if not self.leads or progress is None:
            return
        sent_at = self._sent_at(round_)
        if not self._closings.contact_by_round:
            sent_at = self._now
        if sent_at is not None:
            progress.answered(round_, sent_at)
        if ok:
            self._raft.acknowledged(self._now, peer, index, progress.contact)
            if self._closings.forward_only_next:
                progress.matched(self.match_index(peer))
            else:
                progress.next = index + 1
                progress.probing = False
            self._raft.tick(self._now)
        else:
            self._raft.contacted(peer, progress.contact)
            if not progress.needs_snapshot:
                progress.rejected(index, self.match_index(peer))
        if self.leads:
            if progress.next <= self.journal.last_index:
                self._send_to(peer)
            self._after_progress()

    def _sent_at(self, round_: int) -> float | None:
        times = self._round_times
        oldest_needed = min((p.round for p in self.progress.values()), default=0)
        while len(times) > 1024 or (times and times[0][0] < min(oldest_needed, round_)):
            times.popleft()
        if not times or not times[0][0] <= round_ <= times[-1][0]:
            return None
        return times[round_ - times[0][0]][1]

    def send_round(self) -> None:
        """Send append_entries to everybody: what each lacks, or a heartbeat. One more round."""
        if not self.leads:
            return
        self._round += 1
        self._round_times.append((self._round, self._now))
        self._next_heartbeat = self._now + self.timing.heartbeat
        for peer in self.progress:
            self._send_to(peer)

    def tell_commit(self, now: float) -> None:
        """Tell everybody what was committed, without waiting for the next entry or heartbeat."""
        self._now = now
        for peer in self.progress:
            if peer in self.connected:
                self._send(peer, ["commit", self.term, self.commit_index], after_sync=False)

    def _send_to(self, peer: str) -> None:
        if peer not in self.connected:
            return
        progress, journal = self.progress[peer], self.journal
        if progress.next <= journal.base_index:
            progress.needs_snapshot = True
        previous = journal.base_index if progress.needs_snapshot else progress.next - 1
        entries: list[tuple[int, bytes]] = []
        if progress.next <= journal.last_index and progress.may_send_entries(WINDOW):
            slice_ = journal.slice(progress.next, journal.last_index + 1, MAX_MESSAGE_BYTES)
            entries = [(entry.term, entry.data) for entry in slice_]
            progress.sent(slice_[-1].index, self._round)
        previous_term = journal.term_at(previous)
        assert previous_term is not None
        frame = ["app", self.term, self._round, previous, previous_term, self.commit_index, entries, self.mark()]
        self._send(peer, frame, after_sync=False)

    def _after_progress(self) -> None:
        """Something moved: a transfer may be due, and reads may be answered."""
        if not self.leads:
            return
        if self.transfer_to is not None and self.match_index(self.transfer_to) == self.journal.last_index:
            self._send(self.transfer_to, ["now", self.term], after_sync=True)
        self._serve_reads()

    def _serve_reads(self) -> None:
        if not self.leads:
            self.reads.end(None)
            return
        if self.commit_index < self.term_start_index:
            return  # Not before its no-op: what an earlier leader committed may not be known yet (§6.4).
        voters = self.configuration.voters
        while True:
            reached = majority_reached(
                [self._round if v == self.name else self.progress[v].round for v in voters], len(voters)
            )
            self.reads.confirm(reached)
            if not self.reads.wants_round:
                return
            self.reads.begin(self._round + 1, self.commit_index)
            self.send_round()
            if len(voters) > 1:
                return

    # What pysyncobj asks of its owner (raft.Owner).

    def emit(self, peer: str, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "next_node_idx":
            if self._answer is None:
                return  # What made pysyncobj answer was no question.
            round_, index = self._answer
            self._send(peer, ["ack", self.term, round_, bool(message["success"]), index], after_sync=True)
        elif kind == "request_vote":
            self._send(peer, self._vote_request(message["term"], pre=False), after_sync=True)
        elif kind == "response_vote":
            self._send(peer, ["vote", message["term"], True, False], after_sync=True)
        else:
            raise AssertionError(f"pysyncobj sends {kind!r}, which it has no reason to")

    def won(self) -> None:
        self.term_start_index = self.journal.last_index + 1
        self.transfer_to = None
        self._round_times.clear()
        start = self.journal.last_index + 1
        self.progress = {peer: Progress(start, self._now) for peer in self.progress}

    def countable(self, index: int) -> bool:
        return not self._closings.sync_before_send or index <= self.journal.durable_index

    def state_changed(self) -> None:
        """Leadership may have ended: what waits on it is told, and a fresh time-out begins (hole 21)."""
        if not self.leads:
            self.reads.end(None)
            self.transfer_to = None
            self.term_start_index = 0
            if self._closings.fresh_timeout:
                self._restart_election_timer()
            else:
                self._election_deadline = self._now

    # Configurations.

    def _entry_added(self, index: int, data: bytes) -> None:
        if self._note_configuration(index, data):
            self._adopt_configuration()

    def _entries_dropped(self, index: int) -> None:
        if self.configurations.dropped_from(index):
            self._adopt_configuration()

    def _note_configuration(self, index: int, data: bytes) -> bool:
        if data[0] != CONFIGURATION:
            return False
        self.configurations.added(Configuration.decode(data[1:], index))
        return True

    def _adopt_configuration(self) -> None:
        configuration = self.configuration
        others = {member.name for member in configuration.members if member.name != self.name}
        self.progress = {
            peer: self.progress.get(peer) or Progress(self.journal.last_index + 1, self._now) for peer in sorted(others)
        }
        voters = [name for name in configuration.voters if name != self.name]
        learners = [name for name in configuration.learners if name != self.name]
        self._raft.set_members(self._now, voters, learners)

    def _send(self, peer: str, frame: Frame, *, after_sync: bool) -> None:
        self._messages.append(Message(peer, frame, after_sync and self._closings.sync_before_send))
