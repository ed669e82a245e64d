"""One member's Raft, as a machine without I/O: messages and time go in, messages and positions come out.

pysyncobj (`pysyncobj_adapter.py`) keeps the role, the term, the follower's log and the commit rule. What it gets wrong
is judged before it sees it, or replaced: in `election.py`, `leadership.py` and `log_matching.py`. The caller gives
the time with every call, sends what `take_messages` returns, and calls `tick` often.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.api import Role
from cluster.raft import pysyncobj_adapter as pysync
from cluster.raft.election import Election
from cluster.raft.leadership import Leadership
from cluster.raft.log_matching import Rejected, SafetyViolation, verify_append
from cluster.raft.membership import Configuration, Configurations
from cluster.raft.messages import Frame
from cluster.raft.progress import Progress
from cluster.raft.pysyncobj_adapter import Raft
from cluster.raft.read_index import Answer
from cluster.raft.storage import LogStorage

NO_OP, BATCH, CONFIGURATION = 1, 3, 4
"""The first byte of an entry's data: pysyncobj's no-op, a batch of proposals, a configuration."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. Elections start after a random time in [election_min, election_max] without a leader."""

    heartbeat: float = 0.075
    election_min: float = 0.3
    election_max: float = 0.6


class Message(NamedTuple):
    """`after_sync`: the message depends on this node's disk. The caller sends it after the next sync."""

    peer: str
    frame: Frame
    after_sync: bool


class Engine:
    """One member's Raft. SafetyViolation and AssertionError mean a defect: the node must stop."""

    def __init__(
        self,
        now: float,
        *,
        name: str,
        journal: LogStorage,
        configurations: Configurations,
        applied: int,
        timing: Timing,
        draw: Callable[[], float],
    ) -> None:
        """`applied`: log index of the caller's state. `draw`: gives random numbers in [0, 1) for time-outs."""
        self.name = name
        self.journal = journal
        self.configurations = configurations
        self.timing = timing
        self.draw = draw
        self.now = now
        self.leads = False
        self.term = self.commit_index = 0
        self.configuration = configurations.latest
        self.connected: Collection[str] = frozenset()
        self.unable = False
        """This node can't write now: it doesn't stand for election, vote or lead."""
        self.recognised = False
        """A member that knows the configuration accepted this node: its disk is the one named there."""
        self.last_contact = now
        """When this node last heard its leader (seconds)."""
        self.mark: Callable[[], Any] = lambda: None
        """Gives what append_entries carries besides entries: the leader's state digest, for members to compare."""
        self.sent = 0
        """Messages made so far."""
        self.outbox: list[Message] = []
        """What `take_messages` returns next."""
        self._answer: tuple[int, int] | None = None
        self._verified = (0, 0)
        """The term, and how far its leader has shown this log to be its own."""
        self._election = Election(self)
        self._leadership = Leadership(self)
        self._handlers: dict[str, Callable[..., None]] = {
            "app": self._on_append,
            "commit": self._on_commit,
            "ack": self._leadership.on_ack,
            "vote?": self._election.on_request,
            "vote": self._election.on_vote,
            "now": self._election.on_timeout_now,
        }
        self.raft = Raft(
            now,
            name,
            self,
            journal,
            quorum_timeout=timing.election_min,
            on_state=self._state_changed,
        )
        self.raft.committed(applied)
        self._read_configurations()
        self._election.restart_timer()

    # Read-only views.

    @property
    def leader(self) -> str | None:
        return self.raft.leader

    @property
    def role(self) -> Role:
        if self.leads:
            return Role.LEADER
        member = self.configuration.member(self.name)
        if member is None:
            return Role.REMOVED
        if not member.voter:
            return Role.LEARNER
        return Role.CANDIDATE if self.raft.role == pysync.CANDIDATE else Role.FOLLOWER

    @property
    def takes_proposals(self) -> bool:
        """Whether this node leads, isn't handing over, and knows what was committed (its own no-op is)."""
        leadership = self._leadership
        return self.leads and leadership.transfer_to is None and self.commit_index >= leadership.first_index > 0

    @property
    def led_from(self) -> int:
        """The log index of the no-op with which this node's leadership began; 0 while it doesn't lead."""
        return self._leadership.first_index

    @property
    def transfer_to(self) -> str | None:
        return self._leadership.transfer_to

    @property
    def progress(self) -> dict[str, Progress]:
        return self._leadership.progress

    def match_index(self, peer: str) -> int:
        return self.raft.match_index(peer)

    def take_messages(self) -> list[Message]:
        messages, self.outbox = self.outbox, []
        return messages

    # Inputs.

    def receive(self, now: float, peer: str, frame: Frame) -> None:
        """One frame of a kind in `messages.RAFT`, well-formed (`messages.flaw`), from an authenticated member."""
        self.now = now
        self._handlers[frame[0]](peer, *frame[1:])

    def tick(self, now: float) -> None:
        """Let time pass: send heartbeats, start elections, advance the commit index."""
        self.now = now
        if self.leads:
            self._leadership.tick()
        else:
            self._election.tick()

    def durable(self, now: float) -> None:
        """The journal synced: entries that were only written may count now."""
        self.now = now
        if self.leads:
            self.raft.count(now)
            self._leadership.advanced()

    def append(self, now: float, data: bytes) -> int:
        """Append an entry as the leader and send it to all members. Returns its log index."""
        self.now = now
        self.raft.append(now, data)
        self._leadership.send_round()
        return self.journal.last_index

    def tell_commit(self, now: float, peers: Collection[str] | None = None) -> None:
        """Send the commit index to `peers` (None: all) now, without waiting for the next entry or heartbeat."""
        self.now = now
        self._leadership.tell_commit(peers)

    def read(self, now: float, answer: Answer) -> None:
        """Find the index that a linearizable read must see applied (ReadIndex). `answer` gets None if leadership ends.

        One round to the majority serves all reads that came before it started. A single voter is its own majority.
        """
        self.now = now
        self._leadership.read(answer)

    def peers_changed(self, now: float, connected: Collection[str]) -> None:
        self.now = now
        for peer in sorted(set(connected) - set(self.connected)):
            self._leadership.reconnected(peer)
        self.connected = frozenset(connected)

    def step_down(self, now: float) -> None:
        self.now = now
        if self.leads:
            self.raft.step_down(now)

    def campaign_now(self, now: float) -> None:
        """Stand for election without waiting (a single voter that starts)."""
        self.now = now
        self._election.due_now()
        self.tick(now)

    def transfer(self, now: float, to: str) -> None:
        """Hand leadership to `to`: proposals stop, and once it has the whole log it is told to stand."""
        self.now = now
        self._leadership.transfer(to)

    def snapshot_installed(self, now: float, peer: str, index: int) -> None:
        """`peer` has the state up to `index` on its disk."""
        self.now = now
        self._leadership.snapshot_installed(peer, index)

    def heard_in_term(self, now: float, peer: str, term: int) -> bool:
        """Whether `peer` leads this node's term. It sent a piece of a snapshot in `term`, which only a leader does.

        A node that has just started may be in an older term and doesn't know its leader yet.
        """
        self.now = now
        if term > self.term:
            self.learn_term(term)
        if term < self.term or self.leader not in (peer, None):
            return False
        self.heard_leader(now)
        return True

    def heard_leader(self, now: float) -> None:
        """The leader is alive: it sent something else than append_entries (a piece of a snapshot)."""
        self.now = self.last_contact = now
        self._election.restart_timer()

    def rebased(self, applied: int, configurations: Configurations) -> None:
        """A snapshot of log index `applied` was installed. `configurations` starts with its configuration."""
        self.configurations = configurations
        self.raft.committed(applied)
        self._read_configurations()

    def learn_term(self, term: int) -> None:
        """A member is in a higher term: enter it, and follow nobody yet."""
        self.raft.learn_term(self.now, term)

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
        _mark: object,
    ) -> None:
        if term < self.term:
            self.send(peer, ["ack", self.term, round_, False, 0], after_sync=True)
            return
        if self.leads and term == self.term:
            raise SafetyViolation(f"two leaders in term {term}: {self.name} and {peer}")
        self.last_contact = self.now
        self._election.restart_timer()
        verdict = verify_append(self.journal, previous, previous_term, entries, self.commit_index)
        if isinstance(verdict, Rejected):
            self._answer = (round_, verdict.hint)
            # pysyncobj must still learn the term and the leader. It rejects entries after one that isn't there.
            self.raft.append_entries(self.now, peer, term, commit, self.journal.last_index + 1, 0, [])
        else:
            previous, previous_term, fresh, upto = verdict
            self._answer = (round_, upto)
            verified_term, verified = self._verified
            if term != verified_term or upto > verified:
                self._verified = (term, upto)
            commit = verdict.may_commit(commit)
            numbered = [(data, index, entry_term) for index, (entry_term, data) in enumerate(fresh, previous + 1)]
            self.raft.append_entries(self.now, peer, term, commit, previous, previous_term, numbered)
        self._answer = None

    def _on_commit(self, peer: str, term: int, commit: int) -> None:
        """The leader has committed more and has no entries to send. Needs no answer."""
        if term != self.term or peer != self.leader or self._verified[0] != term:
            return
        self.last_contact = self.now
        self._election.restart_timer()
        commit, journal = min(commit, self._verified[1]), self.journal
        self.raft.append_entries(self.now, peer, term, commit, journal.last_index, journal.last_term, [])

    # Callbacks of pysyncobj (`pysyncobj_adapter.Owner`).

    def emit(self, peer: str, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "next_node_idx":
            if self._answer is not None:  # None: pysyncobj answers a "commit", which needs no answer.
                round_, index = self._answer
                self.send(peer, ["ack", self.term, round_, bool(message["success"]), index], after_sync=True)
        elif kind == "request_vote":
            self.send(peer, self._election.request(message["term"], pre=False), after_sync=True)
        elif kind == "response_vote":
            self.send(peer, ["vote", message["term"], True, False], after_sync=True)
        else:
            raise AssertionError(f"pysyncobj sends {kind!r}, which it has no reason to")

    def send_round(self) -> None:
        self._leadership.send_round()

    def won(self) -> None:
        self._leadership.begin()

    def countable(self, index: int) -> bool:
        return index <= self.journal.durable_index

    def _state_changed(self, leads: bool) -> None:
        self.leads = leads
        if leads:
            return
        self._leadership.end()
        self._election.stepped_down()

    # Configurations.

    def _read_configurations(self) -> None:
        """Entries after the snapshot may hold newer configurations."""
        start = max(self.journal.base_index, self.configurations.latest.index)
        for index in range(start + 1, self.journal.last_index + 1):
            self._note_configuration(index, self.journal.entry(index).data)
        self._adopt_configuration()

    def entry_added(self, index: int, data: bytes) -> None:
        if self._note_configuration(index, data):
            self._adopt_configuration()

    def entries_dropped(self, index: int) -> None:
        if self.configurations.dropped_from(index):
            self._adopt_configuration()

    def _note_configuration(self, index: int, data: bytes) -> bool:
        if data[0] != CONFIGURATION:
            return False
        self.configurations.added(Configuration.decode(data[1:], index))
        return True

    def _adopt_configuration(self) -> None:
        self.configuration = configuration = self.configurations.latest
        self._leadership.set_members(sorted(m.name for m in configuration.members if m.name != self.name))
        voters = [name for name in configuration.voters if name != self.name]
        learners = [name for name in configuration.learners if name != self.name]
        self.raft.set_members(self.now, voters, learners)

    def send(self, peer: str, frame: Frame, *, after_sync: bool) -> None:
        self.sent += 1
        self.outbox.append(Message(peer, frame, after_sync))
