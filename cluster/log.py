"""The replicated log of one member, as `api.Log` promises it: starts, proposes, reads, stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.api import (
    Barrier,
    LogError,
    Member,
    NoLeader,
    NotApplied,
    Outcome,
    ReadMode,
    StateMachine,
    Status,
    Unknown,
)
from cluster.net.rate_limit import Logger
from cluster.node import changes
from cluster.node.node import Node
from cluster.node.proposals import Pending
from cluster.node.reads import Answer
from cluster.options import Options
from cluster.ports import Disk, Network, Random
from cluster.status import describe


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
                await changes.transfer(node, None, limit)
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
                await node.applier.reached(await node.questions.ask())
        except TimeoutError:
            raise NoLeader("no leader confirmed the read before its deadline") from None
        return Barrier(0.0, True)

    async def ask_leader(self, question: bytes, deadline: float) -> bytes:
        """What the leader's user answers to `question`, outside of the log. Raises NoLeader past the deadline."""
        return await self._node.asks.ask(question, deadline)

    def on_ask(self, answer: Answer) -> None:
        """Have `answer` called, while this member leads, with what any member asks. To be set before the start."""
        self._node.answer = answer

    def status(self) -> Status:
        return describe(self._node)

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        return await changes.transfer(self._node, to, deadline)

    async def add_member(self, member: Member, deadline: float) -> None:
        await changes.add_member(self._node, member, deadline)

    async def remove_member(self, name: str, deadline: float) -> str | None:
        """Remove a member, and return None. A leader that is to remove itself hands leadership over first: the name of
        the new leader, which is to be asked again. Raises LogError saying why not."""
        return await changes.remove_member(self._node, name, deadline)

    async def snapshot_now(self) -> int:
        return await self._node.compaction.write()

    def on_leadership(self, told: Callable[[], None]) -> None:
        """Have `told` called whenever role, term or leader changed."""
        self._node.leadership_listeners.append(told)
