"""One member of a replicated log, as its user sees it: start, propose, read, change members, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.api import (
    Barrier,
    LogError,
    Member,
    MemberStatus,
    NoLeader,
    NotApplied,
    Outcome,
    ReadMode,
    Role,
    StateMachine,
    Status,
    Unknown,
)
from cluster.net.rate_limit import Logger
from cluster.node.node import Node
from cluster.node.proposals import Pending
from cluster.node.reads import Answer
from cluster.options import Options
from cluster.ports import Disk, Network, Random


class ReplicatedLog:
    """One member. `failed` ends with the exception when a defect stopped the node; its user must then end, too."""

    def __init__(
        self,
        options: Options,
        machine: StateMachine,
        *,
        disk: Disk,
        snapshot_disk: Disk,
        network: Network,
        random: Random,
        log: Logger,
    ) -> None:
        self.options = options
        self._node = Node(options, machine, disk, snapshot_disk, network, random, log)
        self._started = self._stopping = False

    @property
    def incarnation(self) -> bytes:
        """This member's, drawn when its data directory was made; known once it was started."""
        return self._node.incarnation

    @property
    def failed(self) -> asyncio.Future[None]:
        return self._node.failed

    def fail(self, error: BaseException) -> None:
        """Stop acting at once, for a defect of the log's user: as for one of the log's own, `failed` says so."""
        self._node.fail(error)

    async def start(self) -> None:
        """Read the disk, restore the state machine, listen, and take part. Raises LogError where the disk can't be
        used and OSError where the address can't; all that was taken is free again then."""
        await self._node.start()
        self._started = True

    async def stop(self) -> None:
        """Hand leadership over if this member leads, answer pending proposals, close everything. Does nothing if the
        start failed, or never was."""
        if self._stopping:
            return
        self._stopping = True
        if not self._started:
            return
        node = self._node
        if node.running and node.engine.leads and len(node.engine.configuration.voters) > 1:
            # A member that can't take over in time is no reason not to stop.
            limit = node.loop.time() + 2 * self.options.timing.election_max
            try:
                await node.changes.transfer(None, limit)
            except LogError as error:
                node.log.warning("leadership_not_handed_over", reason=str(error))

        def outcome(pending: Pending) -> Outcome:
            return Unknown("this node stops") if pending.exposed else NotApplied("this node stops")

        node.intake.proposals.end(outcome)
        await node.stop()

    async def propose(self, command: bytes, deadline: float) -> Outcome:
        """Have `command` applied once, from any member; `deadline` in the loop's time.

        The request id is drawn here, once per call, and rides along with every copy that a leader change makes
        necessary. A caller that was told *unknown* and wants to ask again names its request inside the command.
        """
        if self._stopping:
            return NotApplied("this node stops")
        pending = self._node.intake.proposals.add(command, deadline)
        if isinstance(pending, NotApplied):
            return pending
        self._node.intake.route(pending)
        return await pending.answer

    async def read_barrier(self, mode: ReadMode, deadline: float) -> Barrier:
        node = self._node
        if mode is ReadMode.STALE:
            return Barrier(node.last_contact(), node.knows_its_age)
        try:
            async with asyncio.timeout_at(deadline):
                await node.applier.reached(await node.reads.ask())
        except TimeoutError:
            raise NoLeader("no leader confirmed the read before its deadline") from None
        return Barrier(0.0, True)

    async def ask_leader(self, question: bytes, deadline: float) -> bytes:
        """Send `question` to the leader's application and return its answer; not replicated. A question whose answer is
        lost is sent again, so it must be idempotent. Raises NoLeader past the deadline."""
        return await self._node.leader_questions.ask(question, deadline)

    def on_ask(self, answer: Answer) -> None:
        """Call `answer`, while this member leads, with the questions of all members. To be set before the start. It
        gets any bytes, and an exception in it ends this member."""
        self._node.answer = answer

    def status(self) -> Status:
        return _describe(self._node)

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        return await self._node.changes.transfer(to, deadline)

    async def add_member(self, member: Member, deadline: float) -> None:
        await self._node.changes.add_member(member, deadline)

    async def remove_member(self, name: str, deadline: float) -> str | None:
        """Remove a member, and return None. A leader that is to remove itself hands leadership over first: the name of
        the new leader, which is to be asked again. Raises LogError saying why not."""
        return await self._node.changes.remove_member(name, deadline)

    async def snapshot_now(self) -> int:
        return await self._node.snapshotting.write()

    def on_leadership(self, told: Callable[[], None]) -> None:
        """Call `told` whenever role, term or leader changes."""
        self._node.leadership_listeners.append(told)


def _describe(node: Node) -> Status:
    engine, journal = node.engine, node.journal
    return Status(
        cluster_id=node.options.cluster_id,
        name=node.options.name,
        role=engine.role,
        term=engine.term,
        leader=engine.leader,
        first_index=journal.base_index + 1,
        last_index=journal.last_index,
        durable_index=journal.durable_index,
        commit_index=max(engine.commit_index, node.applier.index),
        applied_index=node.applier.index,
        snapshot_index=node.snapshotting.snapshot_index,
        last_contact=node.last_contact(),
        members=tuple(_member(node, member) for member in engine.configuration.members),
        fault=node.persistence.fault,
        last_sync_seconds=journal.last_sync_seconds,
    )


def _member(node: Node, member: Member) -> MemberStatus:
    engine = node.engine
    if member.name == node.options.name:
        meta = dict(node.options.meta)
        known = Member(member.name, member.address, member.incarnation, member.voter, meta)
        leads = engine.role is Role.LEADER
        return MemberStatus(
            known,
            True,
            node.journal.last_index if leads else None,
            0 if leads else None,
            0.0 if leads else None,
            last_meta=meta,
        )
    info = node.transport.peer_info(member.name)
    known = Member(member.name, member.address, member.incarnation, member.voter, info.meta if info else {})
    connected = member.name in engine.connected
    last_meta = known.meta or node.peers.last_meta(member.name)
    if not engine.leads or (progress := engine.progress.get(member.name)) is None:
        return MemberStatus(known, connected, last_meta=last_meta)
    match = engine.match_index(member.name)
    return MemberStatus(
        known,
        connected,
        match_index=match,
        lag=node.journal.last_index - match,
        last_contact=node.loop.time() - progress.contact,
        snapshot_progress=node.snapshotting.progress_of(member.name),
        last_meta=last_meta,
    )
