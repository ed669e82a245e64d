"""What the HTTP side needs of a running node; the agent provides it, so that the HTTP side needn't know `cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from volstore.core.acl.commands import Caller
from volstore.core.commands import Command, Idempotency, Outcome
from volstore.core.state import State
from volstore.http.server.watch import Watch


@dataclass(frozen=True, slots=True)
class Contact:
    """What a read's answer says of its freshness: milliseconds since this node heard from the leader, and whether it
    knows one."""

    last_contact: int
    known_leader: bool


@dataclass(frozen=True, slots=True)
class ServerView:
    """A member of the cluster as the API shows it. Addresses are "HOST:PORT"; `status` alive, failed or left."""

    name: str
    incarnation: str
    raft_address: str
    http_address: str
    version: str
    leader: bool
    voter: bool
    status: str


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as this node sees it now. `stats` are figures for agent/self, in words and numbers as strings."""

    name: str
    region: str
    datacenter: str
    leader: ServerView | None
    servers: tuple[ServerView, ...]
    stats: dict[str, dict[str, str]]


class Heard(Struct, frozen=True, array_like=True):
    """The leader heard of a node: nanoseconds within which it shall be heard of again, and where it stands."""

    ttl: int
    node_modify_index: int
    node_count: int
    index: int


class Registry(Protocol):
    """One running node of volstore."""

    @property
    def state(self) -> State:
        """The applied state; another object after a snapshot was installed, so ask each time."""
        ...

    @property
    def watch(self) -> Watch: ...

    def log_now(self) -> int:
        """Log time, as this node measures it (timekeeping.py): when a token expires."""
        ...

    async def submit(
        self,
        command: Command,
        deadline: float,
        idempotency: Idempotency | None = None,
        caller: Caller | None = None,
    ) -> Outcome:
        """Have `command` applied, once, and return its outcome when this node has applied it too.

        `deadline`: seconds of the loop's clock. `caller`: who must still be allowed to when it is applied (None: the
        cluster itself). Raises NoLeader (with may_happen) past the deadline, Overloaded at a limit.
        """
        ...

    async def barrier(self, *, stale: bool, deadline: float) -> Contact:
        """Return when `state` may answer: linearizable, or at once when `stale`. Raises NoLeader past the deadline."""
        ...

    async def heartbeat(self, node_id: str, deadline: float) -> Heard:
        """Have the leader know that a node is alive; one that was down is ready again.

        Raises NoLeader past the deadline, Overloaded, and ApiError 404 for an unknown node.
        """
        ...

    def heartbeat_ttl(self, node_id: str) -> int:
        """Nanoseconds within which a node that has just reported shall be heard of again."""
        ...

    def cluster(self) -> ClusterView: ...
