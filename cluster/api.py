"""What the rest of a project sees of the replicated log: bytes in, outcomes out.

The log carries commands (bytes) for *some* state machine, keeps them on the disks of a majority, applies them
in the same order on every member, and tells each proposer what became of its command. Nothing here does I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Applied(NamedTuple):
    """The command is on the disks of a majority and was applied, once.

    `log_index` is Raft's position, `result` what `StateMachine.apply` returned for it, the first time.
    """

    log_index: int
    result: bytes


@dataclass(frozen=True, slots=True)
class NotApplied:
    """The command was not applied and never will be; `why` says so in words a client may read."""

    why: str
    overloaded: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The deadline passed (or the node stopped) first: the command may or may not be applied, now or later."""

    why: str


Outcome = Applied | NotApplied | Unknown


class ReadMode(enum.Enum):
    """How fresh a read must be: LINEARIZABLE (ReadIndex, Raft dissertation §6.4) or STALE (what this node has)."""

    LINEARIZABLE = "linearizable"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Barrier:
    """A read may be answered from this node's state now.

    `last_contact` is seconds since this node had all that the leader, when it heard from it, had committed (0.0 on
    the leader and for linearizable reads); `known_leader` says whether the node knows a leader and has caught up with
    one since it started: otherwise it can't tell how old its state is.
    """

    last_contact: float
    known_leader: bool


class NoLeader(Exception):
    """No leader confirmed the read before its deadline; the read may be repeated."""


class Role(enum.Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"
    LEARNER = "learner"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the configuration in the log names it.

    `address` is its advertised raft "HOST:PORT"; `incarnation` is drawn when its data directory is made, so that a
    wiped disk under an old name is another member (empty while it was never heard); a learner has no vote.
    `meta` is what the member says of itself in its handshake (for volstore: its HTTP address and version).
    """

    name: str
    address: str
    incarnation: bytes = b""
    voter: bool = True
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A member as this node sees it; the next four are known on the leader only (None elsewhere).

    `last_contact` is in seconds; `lag` counts the log entries that the member has not confirmed.
    """

    member: Member
    connected: bool
    match_index: int | None = None
    lag: int | None = None
    last_contact: float | None = None
    snapshot_progress: float | None = None
    last_meta: Mapping[str, str] = field(default_factory=dict)
    """Its `meta` when it was last connected to this run of this node, so also while it is away; empty if never."""


@dataclass(frozen=True, slots=True)
class Status:
    """What this node knows of itself and of the cluster. `leader` is a member's name, None when none is known."""

    cluster_id: str
    name: str
    role: Role
    term: int
    leader: str | None
    first_index: int
    last_index: int
    durable_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    last_contact: float
    members: tuple[MemberStatus, ...]
    fault: str | None = None
    """Why this node does not acknowledge at present (disk full, an I/O error, a slow disk), None when it does."""
    last_sync_seconds: float = 0.0


class Captured(Protocol):
    """One consistent view of a state machine, cheap to take and safe to encode in another thread."""

    def chunks(self) -> Iterable[bytes]:
        """The state, in pieces of bounded size. Called in an executor: reads only what was frozen at capture."""
        ...


class StateMachine(Protocol):
    """What is replicated. Deterministic: the same commands in the same order give the same bytes on every member."""

    def apply(self, command: bytes) -> bytes:
        """Apply one committed command and return its outcome, small enough to be remembered for retries.

        A refusal is an outcome, never an exception: an exception ends the node.
        """
        ...

    def capture(self) -> Captured:
        """Freeze the present state in a few milliseconds, however large it is."""
        ...

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read what `Captured.chunks` gave; the returned function replaces the state by it, at once.

        Called in an executor, since a large state takes seconds: it must touch nothing that the loop uses. Raises
        ValueError on anything that isn't a state.
        """
        ...

    def digest(self) -> bytes:
        """16 bytes that differ when states differ; O(1), as it is compared between members while they run."""
        ...


class LogError(Exception):
    """The log refuses or can't; the text says what was wrong and what would be right."""
