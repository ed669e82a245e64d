"""Administration of a running log: its members, its figures, and changes of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from cluster.api import LogError, Member, MemberStatus, Role, Status
from cluster.log import ReplicatedLog
from cluster.storage import identity
from cluster.storage.disk import RealDisk
from volstore.agent import joining, logs
from volstore.agent.config import AgentConfig
from volstore.core.errors import ApiError
from volstore.core.levels import LEVEL
from volstore.http.cluster_admin import LeadershipMoved, NewPeer, NodeView, PeerView
from volstore.http.registry import ClusterView, ServerView
from volstore.http.server.members import MembersClient
from volstore.quorum import majority

T = TypeVar("T")

_log = structlog.get_logger("volstore.agent")


def cluster_on_disk(config: AgentConfig) -> str | None:
    """The id of the cluster that the data directory belongs to; None if the directory is empty.

    It takes precedence over an id computed from `servers`, because that list may change later. The log compares a
    configured `cluster_id` with it when it starts. Raises LogError, OSError.
    """
    if config.cluster_id_given or not config.data_dir.is_dir():
        return None
    disk = RealDisk(config.data_dir, create=False)
    try:
        held = identity.held(disk)
    finally:
        disk.close()
    if held is None:
        return None
    if held.cluster_id != config.cluster_id and not config.join:
        _log.warning("servers_differ_from_first_start", cluster=held.cluster_id)
    return held.cluster_id


async def cluster_to_serve(config: AgentConfig, members: MembersClient) -> str:
    """The id of the data directory's cluster. A new node that joins asks its members, any other computes it."""
    if (on_disk := cluster_on_disk(config)) is not None:
        return on_disk
    if config.join and not config.cluster_id_given:
        return await joining.learn_cluster(config.join, members)
    return config.cluster_id


class LogAdmin:
    """The `volstore.http.cluster_admin.ClusterAdmin` of a replicated log.

    `state_of` returns the FSM's index and digest, `used_level` the highest feature level in the log.
    """

    def __init__(
        self,
        config: AgentConfig,
        log: ReplicatedLog,
        disk: RealDisk,
        version: str,
        state_of: Callable[[], tuple[int, bytes]],
        used_level: Callable[[], int],
    ) -> None:
        self._config = config
        self._log = log
        self._disk = disk
        self._version = version
        self._state_of = state_of
        self._used_level = used_level
        self._joining: asyncio.Task[None] | None = None

    def node(self) -> NodeView:
        status = self._log.status()
        fsm_index, digest = self._state_of()
        return NodeView(
            name=status.name,
            cluster_id=status.cluster_id,
            version=self._version,
            role=status.role.value,
            term=status.term,
            leader=status.leader or "",
            first_index=status.first_index,
            last_index=status.last_index,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            snapshot_index=status.snapshot_index,
            fsm_index=fsm_index,
            digest=digest.hex(),
            last_contact=status.last_contact,
            last_sync_seconds=status.last_sync_seconds,
            disk_free_bytes=self._disk.free_bytes(),
            fault=status.fault or "",
            peers=tuple(_peer(member, status.leader) for member in status.members),
            log_fault=logs.fault(),
            log_dropped=logs.dropped(),
        )

    @property
    def failure(self) -> str:
        failed = self._log.failed
        return str(failed.exception()) if failed.done() and not failed.cancelled() else ""

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        if to == self._config.name:
            self._must_lead()
            return to
        return await self._changed(self._log.transfer_leadership(to, deadline))

    async def add_peer(self, peer: NewPeer, deadline: float) -> None:
        self._must_lead()
        if peer.level < (used := self._used_level()):
            raise ApiError(
                409,
                f"{peer.name!r} is at feature level {peer.level}, and this cluster's log holds commands of level "
                f"{used}, which it couldn't apply: upgrade {peer.name!r} first",
            )
        present = next((m.member for m in self._log.status().members if m.member.name == peer.name), None)
        if present is not None and (present.incarnation, present.address) != (peer.incarnation, peer.address):
            what = "disk" if present.incarnation != peer.incarnation else "address"
            raise ApiError(
                409,
                f"{peer.name!r} is a member of this cluster already, with another {what}: remove the old one first, "
                f"with `volstore operator raft remove-peer -peer-id {peer.name}`; this one is added then",
            )
        if present is None or not present.voter:
            await self._changed(self._log.add_member(Member(peer.name, peer.address, peer.incarnation), deadline))

    async def remove_peer(self, name: str, deadline: float) -> None:
        self._must_lead()
        rest = [m for m in self._log.status().members if m.member.voter and m.member.name != name]
        connected = sum(m.connected for m in rest)
        if rest and connected < majority(len(rest)):
            raise ApiError(
                409,
                f"without {name!r} there would be {len(rest)} voters, of which {connected} can be reached: that is no "
                "majority; bring another one back first",
            )
        if await self._changed(self._log.remove_member(name, deadline)) is not None:
            raise LeadershipMoved

    def _must_lead(self) -> None:
        if self._log.status().role is not Role.LEADER:
            raise LeadershipMoved

    async def _changed(self, change: Coroutine[Any, Any, T]) -> T:
        """The result of `change`. Raises LeadershipMoved, or ApiError 409 with the log's reason."""
        try:
            self._must_lead()
            return await change
        except LogError as error:
            self._must_lead()
            raise ApiError(409, str(error)) from None
        finally:
            change.close()

    # Joining.

    def begin_joining(self, members: MembersClient) -> None:
        """Unless this node is a voter: ask the configured members to add it, in the background."""
        if self._config.join and not self._has_its_vote():
            peer = NewPeer(self._config.name, self._config.raft_advertise, self._log.incarnation, LEVEL)
            asking = joining.ask_to_be_added(self._config.join, peer, self._has_its_vote, members)
            self._joining = asyncio.create_task(asking, name="joining")
            self._joining.add_done_callback(self._joined)

    def _joined(self, asking: asyncio.Task[None]) -> None:
        if not asking.cancelled() and (error := asking.exception()) is not None:
            self._log.fail(error)  # It would wait for ever to be added, and nobody would ask for it.

    async def stop_joining(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)

    def _has_its_vote(self) -> bool:
        mine = (self._config.name, self._log.incarnation)
        return any(m.member.voter and (m.member.name, m.member.incarnation) == mine for m in self._log.status().members)


def cluster_view(config: AgentConfig, status: Status, fsm_index: int) -> ClusterView:
    """The cluster as this node sees it. `fsm_index` is the index of its state machine."""
    servers = tuple(_server_view(member, status.leader) for member in status.members)
    raft = {
        "applied_index": status.applied_index,
        "commit_index": status.commit_index,
        "fsm_index": fsm_index,
        "last_contact": f"{status.last_contact * 1000:.0f}ms",
        "last_log_index": status.last_index,
        "last_snapshot_index": status.snapshot_index,
        "num_peers": len(servers) - 1,
        "state": status.role.value.capitalize(),
        "term": status.term,
    }
    figures = {
        "raft": {key: str(value) for key, value in raft.items()},
        "volstore": {"known_leader": str(status.leader is not None).lower(), "server": "true"},
    }
    leader = next((server for server in servers if server.leader), None)
    return ClusterView(config.name, config.region, config.datacenter, leader, servers, figures)


def _peer(status: MemberStatus, leader: str | None) -> PeerView:
    return PeerView(
        _server_view(status, leader), status.match_index, status.lag, status.last_contact, status.snapshot_progress
    )


def _server_view(status: MemberStatus, leader: str | None) -> ServerView:
    member = status.member
    return ServerView(
        name=member.name,
        incarnation=member.incarnation.hex(),
        raft_address=member.address,
        http_address=member.meta.get("http", ""),
        version=member.meta.get("version", ""),
        leader=member.name == leader,
        voter=member.voter,
        status="alive" if status.connected else "failed",
    )
