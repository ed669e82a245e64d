"""The port for administration of a cluster: its members, a node's figures, and changes of members and leader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from volstore.http.registry import ServerView


@dataclass(frozen=True, slots=True)
class PeerView:
    """A member and its progress. Only the leader knows the progress; elsewhere those fields are None.

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
    """This node's view of itself. Indexes are log indexes, except `fsm_index`; times are in seconds.

    `digest` is the digest of the state at `fsm_index`, in hexadecimal: it differs between members only if their states
    do. `fault`: why this node acknowledges nothing, "" if it does. `log_fault`: why it can't write its log to stderr,
    or couldn't recently; `log_dropped`: the number of dropped lines. (An older node has neither.)
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
    """A node that asks to be added. `address` is its raft "HOST:PORT", `incarnation` that of its disk.

    `level` is the feature level of its build (1 if it gives none).
    """

    name: str
    address: str
    incarnation: bytes
    level: int = 1


class LeadershipMoved(Exception):
    """This node doesn't lead, or no longer: ask the leader."""


class ClusterAdmin(Protocol):
    """The administration of a running node's cluster.

    Only the leader makes changes. Deadlines are loop time, in seconds.
    """

    def node(self) -> NodeView: ...

    @property
    def failure(self) -> str:
        """Why this node has failed, so that its process is about to end; "" if it hasn't."""
        ...

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        """Transfer leadership to `to` (None: the member with the most of the log). Returns the new leader's name.

        Raises LeadershipMoved, or ApiError with the reason.
        """
        ...

    async def add_peer(self, peer: NewPeer, deadline: float) -> None:
        """Add `peer` and wait until it has a vote; returns at once if it has one. Raises as above."""
        ...

    async def remove_peer(self, name: str, deadline: float) -> None:
        """Remove a member. A leader that removes itself transfers its leadership first. Raises as above."""
        ...
