"""All knowledge of pysyncobj's inside: its names, its private attributes, its version.

pysyncobj 0.3.17 keeps roles, terms, votes and the follower's log, and decides what is committed (Raft §5.1-5.4).
`Raft` drives it without its threads, sockets, files and pickles, and overrides what the list of holes names:
sending (it has no window, cuts entries in pieces, walks the log), applying (it calls back before it moves on),
compaction (it blocks) and time-outs (the engine has its own, with PreVote). The deciding rules are in `engine.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import pysyncobj.syncobj as syncobj
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from cluster.raft.storage import LogStorage

PINNED_VERSION = "0.3.17"

NO_OP = b"\x01"
"""The data of a new leader's no-op (Raft §8). The kinds of entries differ in their first byte."""


class _Peer(Node):  # type: ignore[misc]  # pysyncobj has no types
    """A member as the key of pysyncobj's tables. One object per name, compared by identity: pysyncobj's own `Node`
    compares in Python, some fifty times a write."""

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


_NOBODY = _Peer("")


class _NoPickle:
    """Replaces pickle in pysyncobj: nothing from outside may ever be unpickled (hole 10)."""

    @staticmethod
    def _refuse(*_: object) -> Any:
        raise AssertionError("pysyncobj reached for pickle")

    loads = dumps = load = dump = to_bytes = _refuse


class _NoPoller:
    def poll(self, _timeout: float) -> None:
        """Sockets are asyncio's (hole 15)."""


class _NoSerializer:
    """Replaces pysyncobj's snapshot files and transfers with none. Ours are in other modules (holes 2, 5, 13)."""

    def checkSerializing(self) -> tuple[int, None]:
        return SERIALIZER_STATE.NOT_SERIALIZING, None

    def cancelTransmisstion(self, _node: Node) -> None: ...


_clock = [0.0]
"""The time that pysyncobj sees: the one of the present call. One process may hold many engines."""


def _install() -> None:
    """Replace module globals for which pysyncobj has no settings. Called once, at import."""
    if VERSION != PINNED_VERSION:
        raise RuntimeError(f"cluster needs pysyncobj {PINNED_VERSION}, found {VERSION}: its inside may differ")
    syncobj.pickle = _NoPickle
    syncobj.monotonicTime = partial(_clock.__getitem__, 0)
    syncobj.createPoller = lambda _kind: _NoPoller()


_install()


class JournalView:
    """The journal as pysyncobj reads it: entry 0 is the last one that a snapshot covers, then the log.

    All changes of log, term and commit index pass here, in any role: `owner` gets a callback for each.
    """

    def __init__(self, journal: LogStorage, owner: Owner) -> None:
        self._journal = journal
        self._owner = owner

    def __len__(self) -> int:
        return self._journal.last_index - self._journal.base_index + 1

    def __getitem__(self, position: int) -> tuple[bytes, int, int]:
        journal = self._journal
        if position == -1:
            return NO_OP, journal.last_index, journal.last_term
        if position == 0:
            return NO_OP, journal.base_index, journal.base_term
        entry = journal.entry(journal.base_index + position)
        return entry.data, entry.index, entry.term

    def add(self, command: bytes, index: int, term: int) -> None:
        appended = self._journal.append(command, term)
        if appended != index:
            raise AssertionError(f"entry {index} was to be appended where {appended} comes next")
        self._owner.entry_added(index, command)

    def deleteEntriesFrom(self, position: int) -> None:
        index = self._journal.base_index + position
        self._owner.entries_dropped(index)
        self._journal.truncate_from(index)

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        self._owner.term = term
        self._journal.set_vote(term, voted_for)

    def getCurrentTerm(self) -> int:
        return self._journal.term

    def getVotedForNodeId(self) -> str | None:
        return self._journal.voted_for

    def getRaftCommitIndex(self) -> int:
        """Entries under a snapshot were committed. About the others, only the leader knows (hole 17)."""
        return self._journal.base_index

    def setRaftCommitIndex(self, index: int) -> None:
        """Not written: a commit index on disk would only be a hint, and nothing needs it."""
        self._owner.commit_index = index

    def onOneSecondTimer(self) -> None: ...

    def _destroy(self) -> None: ...


class Owner(Protocol):
    """The callbacks of `Raft`: the engine around it implements them."""

    term: int
    commit_index: int
    """Set whenever pysyncobj changes term or commit index: they are read dozens of times for every entry."""

    def entry_added(self, index: int, data: bytes) -> None:
        """Entry `index` was appended."""
        ...

    def entries_dropped(self, index: int) -> None:
        """The entries from `index` on are about to be dropped."""
        ...

    def emit(self, peer: str, message: dict[str, Any]) -> None:
        """pysyncobj sends `message`."""
        ...

    def send_round(self) -> None:
        """pysyncobj wants append_entries sent to everybody."""
        ...

    def won(self) -> None:
        """The election was won. Called before pysyncobj appends its no-op."""
        ...

    def countable(self, index: int) -> bool:
        """Whether this node may count itself for `index`: the entry is on its own disk."""
        ...


class _Mailbox(Transport):  # type: ignore[misc]  # pysyncobj has no types
    def __init__(self, owner: Owner) -> None:
        super().__init__(None, None, [])
        self._owner = owner

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._owner.emit(node.id, message)
        return True


FOLLOWER, CANDIDATE, LEADER = 0, 1, 2


class Raft(SyncObj):  # type: ignore[misc]  # pysyncobj has no types
    """pysyncobj without its clock, threads, disk and sockets. Methods take the time first (seconds)."""

    def __init__(
        self,
        now: float,
        name: str,
        owner: Owner,
        journal: LogStorage,
        *,
        quorum_timeout: float,
        on_state: Callable[[bool], None],
    ) -> None:
        """`on_state` is called with whether this node leads, whenever its role changes."""
        _clock[0] = now
        self._peers: dict[str, _Peer] = {"": _NOBODY}
        self._journal = journal
        self._view = view = JournalView(journal, owner)
        self._owner = owner
        self._mailbox = _Mailbox(owner)

        def state_changed(_old: int, new: int) -> None:
            on_state(new == LEADER)

        conf = SyncObjConf(
            autoTick=False,
            # No pipe, no thread: the engine sends when an entry was appended.
            appendEntriesUseBatch=True,
            appendEntriesPeriod=0.001,
            leaderFallbackTimeout=quorum_timeout,
            raftMinTimeout=1.0,
            raftMaxTimeout=2.0,
            connectionTimeout=3.0,
            commandsWaitLeader=False,
            onStateChanged=state_changed,
        )
        # pysyncobj's constructor gets its journal through a module global.
        syncobj.createJournal = lambda _file: view
        super().__init__(self._peer(name), [], conf, transport=self._mailbox)
        self._SyncObj__serializer = _NoSerializer()
        self._SyncObj__raftLastApplied = view.getRaftCommitIndex()
        self._SyncObj__newAppendEntriesTime = math.inf
        owner.term, owner.commit_index = self._SyncObj__raftCurrentTerm, self._SyncObj__raftCommitIndex

    def _peer(self, name: str) -> _Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = _Peer(name)
        return peer

    # Overrides of pysyncobj's private methods, by their mangled names.

    def _SyncObj__generateRaftTimeout(self) -> float:
        """Never campaign: the engine has its own time-out, and a pre-vote comes first (holes 6, 21)."""
        return math.inf

    def _SyncObj__sendAppendEntries(self) -> None:
        self._owner.send_round()

    def _SyncObj__applyLogEntries(self) -> bool:
        """Apply nothing: the node does, in bounded steps, with callbacks after its position moved (holes 9, 20, 25)."""
        return False

    def _SyncObj__tryLogCompaction(self) -> None:
        """Compact nothing: the node does, off the loop (hole 13)."""

    def _SyncObj__getCurrentLogIndex(self) -> int:
        return self._journal.last_index

    def _SyncObj__getCurrentLogTerm(self) -> int:
        return self._journal.last_term

    def _checkCommandsToApply(self) -> None:
        """pysyncobj's queue of commands isn't used: it is there for its threads (see `append`)."""

    def _SyncObj__onBecomeLeader(self) -> None:
        self._owner.won()
        super()._SyncObj__onBecomeLeader()

    def _SyncObj__getEntries(
        self, start: int | None, count: int | None = None, max_bytes: int | None = None
    ) -> list[tuple[bytes, int, int]]:
        """Bounded slices of the log (hole 25).

        Only the leader's commit rule calls this with `count` 1. It sees no more than this node's own disk has, since
        pysyncobj counts the leader into every majority (hole 4, dissertation §10.2.1). A follower calls it without
        `count`, to see whether `start` and an entry after it are there.
        """
        journal = self._journal
        term = None if start is None else journal.term_at(start)
        if start is None or term is None or (count == 1 and not self._owner.countable(start)):
            return []
        # Only the terms are looked at.
        found = [(NO_OP, start, term)]
        if count is None and start < journal.last_index:
            found.append((NO_OP, start + 1, journal.term_at(start + 1) or 0))
        return found

    # For the engine.

    @property
    def role(self) -> int:
        role: int = self._SyncObj__raftState
        return role

    standing = property(attrgetter("_SyncObj__raftState", "_SyncObj__raftCurrentTerm", "_SyncObj__raftLeader"))
    """(role, term, leader) in one look-up: compared after every step to see whether any of them changed."""

    @property
    def leader(self) -> str | None:
        node = self._SyncObj__raftLeader
        return None if node is None else node.id

    @property
    def voted_for(self) -> str | None:
        voted: str | None = self._SyncObj__votedForNodeId
        return voted

    def match_index(self, peer: str) -> int:
        match: int = self._SyncObj__raftMatchIndex.get(self._peer(peer), 0)
        return match

    def count(self, now: float) -> None:
        """A disk has more of the log: advance the commit index. That needs another member's match, if there are any."""
        commit, match = self._SyncObj__raftCommitIndex, self._SyncObj__raftMatchIndex
        others = self._SyncObj__otherNodes
        if commit < self._journal.last_index and (not others or max(map(match.__getitem__, others)) > commit):
            self.tick(now)

    def tick(self, now: float) -> None:
        _clock[0] = now
        self._onTick(0.0)

    def deliver(self, now: float, peer: str, message: dict[str, Any]) -> None:
        _clock[0] = now
        self._SyncObj__onMessageReceived(self._peer(peer), message)

    def append_entries(
        self,
        now: float,
        peer: str,
        term: int,
        commit: int,
        previous: int,
        previous_term: int,
        entries: list[tuple[bytes, int, int]],
    ) -> None:
        """Deliver an append_entries from `peer`."""
        self.deliver(
            now,
            peer,
            {
                "type": "append_entries",
                "term": term,
                "commit_index": commit,
                "prevLogIdx": previous,
                "prevLogTerm": previous_term,
                "entries": entries,
            },
        )

    def campaign(self, now: float) -> None:
        """Stand for election at once: enter the next term, vote for itself, ask the other voters (Raft §5.2)."""
        self._SyncObj__raftElectionDeadline = -math.inf
        # pysyncobj campaigns only while a node is connected. The engine has had a majority's pre-votes already.
        self._SyncObj__connectedNodes.add(_NOBODY)
        try:
            self.tick(now)
        finally:
            self._SyncObj__connectedNodes.discard(_NOBODY)

    def step_down(self, now: float) -> None:
        """Follow nobody, in the present term."""
        _clock[0] = now
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)

    def forget_leader(self) -> None:
        """The election time-out passed. pysyncobj would forget the leader only after the pre-vote."""
        self._SyncObj__raftLeader = None

    def learn_term(self, now: float, term: int) -> None:
        """Enter the higher `term` and follow nobody, by a vote request whose log is too old to be granted."""
        self.deliver(now, "", {"type": "request_vote", "term": term, "last_log_index": -1, "last_log_term": -1})

    def append(self, now: float, data: bytes) -> None:
        """Append `data` as the leader. AssertionError when this node doesn't lead.

        pysyncobj would do the same after a way through its queue, with a callback whose answer means nothing (hole 8).
        """
        if self._SyncObj__raftState != LEADER:
            raise AssertionError("only a leader appends")
        _clock[0] = now
        self._view.add(data, self._journal.last_index + 1, self._SyncObj__raftCurrentTerm)

    def acknowledged(self, now: float, peer: str, index: int, contact: float) -> int:
        """`peer` has the log up to `index`, and was in contact at `contact`. Returns its match index. AssertionError
        when this node doesn't lead.

        What pysyncobj makes of its message 'next_node_idx', without the message.
        """
        if self._SyncObj__raftState != LEADER:
            raise AssertionError("only a leader is told what others have")
        _clock[0] = now
        node, match = self._peer(peer), self._SyncObj__raftMatchIndex
        index = match[node] = max(index, match[node])
        self._SyncObj__lastResponseTime[node] = contact
        return index

    def contacted(self, peer: str, contact: float) -> None:
        self._SyncObj__lastResponseTime[self._peer(peer)] = contact

    def set_members(self, now: float, voters: Iterable[str], learners: Iterable[str]) -> None:
        """Set the other members, as in the log's latest configuration. Learners (pysyncobj's read-only nodes) don't
        count in majorities. The caller changes one member at a time (Raft dissertation §4.1)."""
        _clock[0] = now
        others = {self._peer(name) for name in voters}
        watching = {self._peer(name) for name in learners}
        before: set[Node] = self._SyncObj__otherNodes | self._SyncObj__readonlyNodes
        for gone in before - others - watching:
            for table in (self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex, self._SyncObj__lastResponseTime):
                table.pop(gone, None)
        for node in others | watching:
            self._SyncObj__raftNextIndex.setdefault(node, self._SyncObj__raftLog[-1][1] + 1)
            self._SyncObj__raftMatchIndex.setdefault(node, 0)
            self._SyncObj__lastResponseTime.setdefault(node, now)
        self._SyncObj__otherNodes: set[Node] = others
        self._SyncObj__readonlyNodes: set[Node] = watching

    def committed(self, index: int) -> None:
        """The state includes entry `index`, so it was committed, whether the journal has it or not."""
        self._SyncObj__raftCommitIndex: int = max(self._SyncObj__raftCommitIndex, index)
        self._owner.commit_index = self._SyncObj__raftCommitIndex
        self._SyncObj__raftLastApplied = max(int(self._SyncObj__raftLastApplied), index)
