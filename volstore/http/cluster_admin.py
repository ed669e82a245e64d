"""What an operator's requests need of a running node, beside the registry: its log's members, figures and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from volstore.http.registry import ServerView


@dataclass(frozen=True, slots=True)
class PeerView:
    """A member and how far it is; all but `server` is known on the leader only (None elsewhere).

    `last_contact` is in seconds; `lag` counts log entries that the member has not confirmed; `snapshot_progress` runs
    from 0 to 1 while a snapshot is sent to it.
    """

    server: ServerView
    match_index: int | None = None
    lag: int | None = None
    last_contact: float | None = None
    snapshot_progress: float | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """This node, as it sees itself. Indexes are positions in the log but for `fsm_index`; times are in seconds.

    `digest` is of the state at `fsm_index`, in hexadecimal: it differs between members only if their states do.
    `fault`: why this node acknowledges nothing at present, "" when it does. `log_fault`: why its log can't be written
    to stderr, or couldn't lately; `log_dropped`: how many lines were dropped. (An older node says neither.)
    """

    name: str
    cluster_id: str
    version: str
    role: str
    term: int
    leader: str
    first_index: int
    last_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    fsm_index: int
    digest: str
    last_contact: float
    last_sync_seconds: float
    disk_free_bytes: int
    fault: str
    peers: tuple[PeerView, ...]
    log_fault: str = ""
    log_dropped: int = 0


@dataclass(frozen=True, slots=True)
class NewPeer:
    """A node that asks to be added: `address` is its raft "HOST:PORT", `incarnation` its disk's, `level` its build's
    feature level (1 where it says none)."""

    name: str
    address: str
    incarnation: bytes
    level: int = 1


class LeadershipMoved(Exception):
    """This node doesn't lead (any more): ask the one that does."""


class ClusterAdmin(Protocol):
    """One running node's log. Changes are made on the leader. Deadlines are in seconds of the loop's clock."""

    def node(self) -> NodeView: ...

    @property
    def failure(self) -> str:
        """Why this node has stopped acting for good, "" while it acts: its process is about to end."""
        ...

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        """Hand leadership to `to` (None: the member that is furthest); the new leader's name.

        Raises LeadershipMoved, ApiError saying why not.
        """
        ...

    async def add_peer(self, peer: NewPeer, deadline: float) -> None:
        """Return when `peer` has its vote; again for one that has it already. Raises as above."""
        ...

    async def remove_peer(self, name: str, deadline: float) -> None:
        """Remove a member; the leader hands over first when it is itself. Raises as above."""
        ...
