"""One running member: wires Raft's engine to the journal, the transport and the state machine.

One rule in one place, "persist before send": what the engine says that depends on the disk is held here until the
journal synced (`_pump`, `_sync_forever`). An exception in any step is a defect and ends the node (`fail`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from cluster import messages, sessions
from cluster.api import LogError, NotApplied, StateMachine
from cluster.applier import Applier
from cluster.batching import Batching, Waiting
from cluster.boot import Booted, boot
from cluster.compaction import Compaction
from cluster.engine import BATCH, CONFIGURATION, Engine, Message
from cluster.guard import SafetyViolation
from cluster.journal import Journal, JournalFailed
from cluster.membership import Configuration, Configurations
from cluster.messages import Frame
from cluster.options import Options
from cluster.ports import Disk, Network, Random
from cluster.proposals import Pending, Proposals
from cluster.questions import Questions
from cluster.ratelimit import Logger, RateLimitedLog
from cluster.sessions import Answer, ReplicatedState
from cluster.snapshots import SnapshotDamaged, SnapshotMeta, SnapshotStore
from cluster.transfer import Receiving
from cluster.transport import Identity, Transport

_RESEND_EVERY = 0.25
_REOPEN_EVERY = 1.0


class Node:
    def __init__(
        self,
        options: Options,
        machine: StateMachine,
        disk: Disk,
        snapshot_disk: Disk,
        network: Network,
        random: Random,
        log: Logger,
    ) -> None:
        self.options = options
        self.log = log
        self.state = ReplicatedState(machine)
        self.running = False
        self.fault: str | None = None
        self.leadership_listeners: list[Callable[[], None]] = []
        self._disk = disk
        self._snapshot_disk = snapshot_disk
        self._network = network
        self._random = random
        self._limited = RateLimitedLog(log)
        self._held: list[Message] = []
        self._sync_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._entry_under_way = self._told_commit = 0
        self._seen: tuple[Any, ...] = ()
        self._adopted: Configuration | None = None
        self._flush_planned = self._apply_planned = False
        self._next_resend = 0.0
        self._incarnations: dict[str, bytes] = {}

    # Life.

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self.loop.create_future()
        booted: Booted = await boot(self.options, self.state, self._disk, self._snapshot_disk, self._random)
        self.incarnation = booted.identity.incarnation
        self.journal: Journal = booted.journal
        self.store: SnapshotStore = booted.store
        self.applier = Applier(self.state, self._answered)
        self.applier.index = booted.applied
        self._configurations = booted.configurations
        self._make_engine()
        self.proposals = Proposals(self.loop, self._random.randbytes(16))
        self.batching = Batching(self.options.queue_bytes)
        self.questions = Questions(self)
        self.compaction = Compaction(self, booted.applied)
        self.receiving = Receiving(self.store, self.send, self._install, self._snapshot_damaged, self._has)
        meta = dict(self.options.meta) | {"raft": self.options.advertise}
        self.transport = Transport(
            network=self._network,
            random=self._random,
            me=Identity(self.options.name, self.incarnation, self.options.cluster_id, meta),
            bind=self.options.bind,
            log=self.log,
            admit=self._admit,
            on_message=self._on_message,
            on_peer=self._on_peer,
            on_failure=self.fail,
            on_refused=self._on_refused,
            limits=self.options.limits,
        )
        self.address = await self.transport.start()
        self.running = True
        self._spawn(self._sync_forever())
        self._spawn(self.receiving.run())
        self._tick()
        if self.engine.configuration.voters == (self.options.name,):
            self.step(lambda: self.engine.campaign_now(self.loop.time()))

    async def stop(self) -> None:
        self.running = False
        for timer in self._timers:
            timer.cancel()
        await self.compaction.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.transport.stop()
        if self.journal.failed is None and not self.failed.done():
            await self.journal.sync()
        await self.journal.close()
        self._disk.unlock()

    def _spawn(self, work: Any) -> None:
        async def watched() -> None:
            try:
                await work
            except Exception as error:
                self.fail(error)

        self._tasks.append(self.loop.create_task(watched()))

    def fail(self, error: BaseException) -> None:
        """Stop acting at once. The user of the log sees `failed` and ends the process."""
        if self.failed.done():
            return
        self.running = False
        self.log.error("node_failed", reason=str(error), exc_info=error)
        self.failed.set_exception(error)

    def step(self, work: Callable[[], None]) -> None:
        """Do something to the engine, and what follows from it."""
        if not self.running:
            return
        try:
            work()
            self._pump()
        except Exception as error:
            self.fail(error)

    def _make_engine(self) -> None:
        self.engine = Engine(
            self.loop.time(),
            name=self.options.name,
            journal=self.journal,
            configurations=self._configurations,
            applied=self.applier.index,
            timing=self.options.timing,
            draw=self._random.random,
            closings=self.options.closings,
        )
        self.engine.mark = self.applier.mark

    def _tick(self) -> None:
        period = self.options.timing.heartbeat / 3
        self._timers = [self.loop.call_later(period, self._tick)] if self.running else []
        self.step(self._on_tick)

    def _on_tick(self) -> None:
        now = self.loop.time()
        self._judge_disk(now)
        self.engine.tick(now)
        if now >= self._next_resend:
            self._next_resend = now + _RESEND_EVERY
            self._resend(now)
            self.questions.repeat()

    # The journal: one rule for all that depends on it.

    def _pump(self) -> None:
        self._send_out()
        self._notice_changes()
        if self.engine.leads and self.engine.configuration.index == 0 and self.engine.takes_proposals:
            self._pin_members()
        self._apply()
        if self.batching:
            self._plan_flush()
        elif self.engine.leads and self.engine.commit_index > self._told_commit:
            self._told_commit = self.engine.commit_index
            self.engine.tell_commit(self.loop.time())
            self._send_out()

    def _send_out(self) -> None:
        for message in self.engine.take_messages():
            if message.after_sync and self.journal.unsynced:
                self._held.append(message)
            else:
                self.send(message.peer, message.frame)
        if self.journal.unsynced:
            self._sync_wanted.set()

    async def _sync_forever(self) -> None:
        while True:
            await self._sync_wanted.wait()
            self._sync_wanted.clear()
            held, self._held = self._held, []
            try:
                await self.journal.sync()
            except JournalFailed as failure:
                await self._disk_failed(failure)
                continue
            for message in held:
                self.send(message.peer, message.frame)
            self.step(lambda: self.engine.durable(self.loop.time()))

    def _judge_disk(self, now: float) -> None:
        """A disk that takes longer than an election is a failed one: heartbeats must not hide it (hole 18)."""
        started = self.journal.sync_started_at
        slow = started is not None and now - started > self.options.timing.election_min
        if slow and self.options.closings.slow_disk_steps_down and self.fault is None:
            self.fault = f"the disk needs more than {self.options.timing.election_min} s for a sync"
            self.log.error("disk_slow", seconds=self.options.timing.election_min)
            self.engine.step_down(now)
        elif not slow and self.fault is not None and self.journal.failed is None:
            self.fault = None
            self.log.info("disk_recovered")
        self.engine.unable = self.fault is not None

    async def _disk_failed(self, failure: JournalFailed) -> None:
        """Acknowledge nothing, lead nobody, and start again from what the disk really has, once it can be read."""
        self._held.clear()
        self.fault = str(failure)
        self.log.error("disk_failed", reason=str(failure))
        self.engine.unable = True
        self.step(lambda: self.engine.step_down(self.loop.time()))
        while True:
            self._held.clear()
            try:
                await self.journal.reopen()
                break
            except OSError as error:
                self._limited.warning(self.loop.time(), "reopen", "disk_still_failing", reason=str(error))
            except JournalFailed as error:
                self._limited.warning(self.loop.time(), "reopen", "disk_still_failing", reason=str(error))
            await asyncio.sleep(_REOPEN_EVERY)
        self._held.clear()
        self._configurations = Configurations(self._configurations.at(self.applier.index))
        connected = self.engine.connected
        self._make_engine()
        self.engine.peers_changed(self.loop.time(), connected)
        self.fault = None
        self.log.info("disk_recovered", last_index=self.journal.last_index)
        self.step(lambda: None)

    # Messages.

    def send(self, peer: str, frame: Frame) -> bool:
        return self.transport.send(peer, frame)

    def _on_message(self, peer: str, frame: Frame) -> None:
        if (flaw := messages.flaw(frame)) is not None:
            self._limited.warning(self.loop.time(), (peer, flaw), "message_refused", peer=peer, reason=flaw)
            return
        self.step(lambda: self._take(peer, frame))

    def _take(self, peer: str, frame: Frame) -> None:
        kind, now, engine = frame[0], self.loop.time(), self.engine
        if kind in ("app", "commit", "ack", "vote?", "vote", "now"):
            if kind == "app" and frame[7] is not None and frame[1] >= engine.term:
                self.applier.expect((frame[7][0], frame[7][1]))
            engine.receive(now, peer, frame)
        elif kind == "prop":
            self._proposed(peer, frame[1])
        elif kind == "no":
            for session, number in frame[1]:
                if session == self.proposals.session:
                    self.proposals.refused(number)
        elif kind == "read?":
            engine.read(now, lambda index: self._answer_read(peer, frame[1], index))
        elif kind == "read":
            self.questions.answered(frame[1], frame[2])
        elif kind == "snap":
            if peer == engine.leader and frame[1] == engine.term:
                engine.heard_leader(now)
                self.receiving.piece(peer, frame)
        elif kind == "snapack":
            self.compaction.acknowledged(peer, *frame[1:])
        elif kind == "gone":
            self._removed(f"removed from the cluster by {peer} at log index {frame[2]}")

    def _answer_read(self, peer: str, question: int, index: int | None) -> None:
        self.send(peer, ["read", question, index])

    def _on_peer(self, peer: str, connected: bool) -> None:
        self.log.info("peer_connected" if connected else "peer_lost", peer=peer)
        if peer == self.engine.leader:
            self.proposals.lost()
            self.questions.lost()
            self._next_resend = 0.0
        self.step(lambda: self.engine.peers_changed(self.loop.time(), self.transport.connected()))

    def _admit(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        """Whether a member that calls, or answers, under this name is the one that the log names (hole 23)."""
        configuration = self.engine.configuration
        member = configuration.member(name)
        if member is None:
            if not configuration.members and "raft" in meta:
                # A node that waits to be added learns of the cluster by whoever calls it.
                self.transport.set_peers({name: meta["raft"]})
                return None
            return f"{name!r} is not a member of this cluster"
        known = member.incarnation or self._incarnations.get(name, b"")
        if known and incarnation != known and self.options.closings.pinned_incarnations:
            return (
                f"{name!r} comes with another disk than the one that this cluster knows (was it wiped?): "
                f"remove the old {name!r} first, then add it anew"
            )
        self._incarnations.setdefault(name, incarnation)
        return None

    def _on_refused(self, peer: str, reason: str) -> None:
        self._limited.warning(self.loop.time(), (peer, reason), "refused_by_member", peer=peer, reason=reason)
        if "another disk" in reason:
            self.fail(LogError(f"{peer} refuses this node: {reason}"))

    def _removed(self, how: str) -> None:
        self.fail(LogError(f"this node was {how}; its data directory is of no further use to the cluster"))

    # What follows from a step.

    def _notice_changes(self) -> None:
        engine = self.engine
        if engine.configuration is not self._adopted:
            self._adopt(engine.configuration)
        seen = (engine.term, engine.leader, engine.role, engine.takes_proposals)
        if seen == self._seen:
            return
        if seen[:3] != self._seen[:3]:
            self.log.info("leadership", term=engine.term, leader=engine.leader, role=engine.role.value)
            for told in self.leadership_listeners:
                told()
        self._seen = seen
        if not engine.leads:
            self._entry_under_way = 0
            self._give_back()
        self.proposals.lost()
        self.questions.lost()
        self._resend(self.loop.time())
        self.questions.repeat()

    def _adopt(self, configuration: Configuration) -> None:
        before, self._adopted = self._adopted, configuration
        me = self.options.name
        if before is not None and self.engine.leads:
            for member in before.members:
                if configuration.member(member.name) is None and member.name != me:
                    self.send(member.name, ["gone", self.engine.term, configuration.index])
        if configuration.members:
            self.transport.set_peers({m.name: m.address for m in configuration.members if m.name != me})
        self.log.info(
            "configuration", index=configuration.index, voters=configuration.voters, learners=configuration.learners
        )

    def _pin_members(self) -> None:
        """The first entry of a new cluster binds each first member to its disk; nothing is taken before it."""
        known = self._incarnations | {self.options.name: self.incarnation}
        pinned = self.engine.configuration.pinned(known)
        self.append(bytes([CONFIGURATION]) + pinned.encode())

    def append(self, data: bytes) -> int:
        index = self.engine.append(self.loop.time(), data)
        self._pump()
        return index

    def _apply(self) -> None:
        more = self.applier.advance(self.journal, self.engine.commit_index)
        if more and not self._apply_planned:
            self._apply_planned = True
            self.loop.call_soon(self._apply_on)
        self.compaction.consider()

    def _apply_on(self) -> None:
        self._apply_planned = False
        self.step(lambda: None)

    def _answered(self, answer: Answer) -> None:
        if answer.session == self.proposals.session:
            self.proposals.resolve(answer.number, answer.outcome)

    # Proposals.

    @property
    def session_open(self) -> bool:
        return self.state.session_of(self.options.name) == self.proposals.session

    @property
    def takes_proposals(self) -> bool:
        configuration = self.engine.configuration
        return self.engine.takes_proposals and 0 < configuration.index <= self.engine.commit_index

    def route(self, pending: Pending) -> None:
        """Bring a proposal to the leader; without one it stays until there is."""
        if not self.running or not self.session_open:
            return
        size = len(pending.command) + 64
        if self.engine.leads:
            if self.takes_proposals:
                pending.sent_at = self.loop.time()
                if not self.batching.add(Waiting(size, own=pending)):
                    self.proposals.resolve(pending.number, NotApplied("the leader's queue is full", overloaded=True))
                self._plan_flush()
        elif self.engine.leader is not None:
            self._forward([self.proposals.item(pending, self.loop.time())])

    def _forward(self, items: list[sessions.Item]) -> None:
        leader = self.engine.leader
        assert leader is not None
        if not self.send(leader, ["prop", items]):
            for item in items:
                if item[0] == "p":
                    self.proposals.refused(item[2])

    def _resend(self, now: float) -> None:
        engine = self.engine
        if engine.leader is None:
            return
        if not self.session_open:
            replaces = self.state.session_of(self.options.name)
            item = sessions.opening(self.options.name, self.proposals.session, replaces)
            if not engine.leads:
                self._forward([item])
            elif self.takes_proposals:
                self.batching.add(Waiting(64, peer=self.options.name, item=item))
                self._plan_flush()
            return
        for pending in self.proposals.due(now):
            self.route(pending)

    def _proposed(self, peer: str, items: list[sessions.Item]) -> None:
        refused: list[list[Any]] = []
        for item in items:
            size = (len(item[4]) if item[0] == "p" else 0) + 64
            taken = self.takes_proposals and self.batching.add(Waiting(size, peer=peer, item=item))
            if not taken and item[0] == "p":
                refused.append([item[1], item[2]])
        if refused:
            why = "the leader's queue is full" if self.takes_proposals else "this member doesn't take proposals now"
            self.send(peer, ["no", refused, why])
        self._plan_flush()

    def _give_back(self) -> None:
        """Leadership ended: what isn't in an entry yet goes back to where it came from."""
        for waiting in self.batching.drain():
            if waiting.item is not None and waiting.item[0] == "p":
                self.send(waiting.peer, ["no", [[waiting.item[1], waiting.item[2]]], "leadership ended"])

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        self.step(self._make_entry)

    def _make_entry(self) -> None:
        """Commands that came together become one entry, once the one before it is committed (one round in flight)."""
        if not self.takes_proposals or self.engine.commit_index < self._entry_under_way:
            return
        now = self.loop.time()
        items: list[sessions.Item] = []
        for waiting in self.batching.take():
            if waiting.item is not None:
                items.append(waiting.item)
            elif waiting.own is not None and waiting.own.number in self.proposals:
                items.append(self.proposals.item(waiting.own, now))
        if items:
            self._entry_under_way = self.engine.append(now, bytes([BATCH]) + sessions.encode_batch(items))

    def last_contact(self) -> float:
        return 0.0 if self.engine.leads else self.loop.time() - self.engine.last_contact

    # Snapshots that come from the leader.

    def _has(self, index: int) -> bool:
        return self.applier.index >= index

    def _snapshot_damaged(self, error: SnapshotDamaged) -> None:
        self.log.error("snapshot_refused", reason=str(error))

    async def _install(self, meta: SnapshotMeta) -> None:
        """Replace state and log by a snapshot that is durable and verified (Raft §7)."""
        self.state.restore(self.store.read_chunks(meta))
        if self.state.digest() != meta.digest:
            raise SafetyViolation(f"the snapshot of log index {meta.index} restores to another digest than it names")
        configuration = Configuration.decode(meta.membership, meta.index)
        if self.journal.term_at(meta.index) == meta.term:
            self.journal.drop_to(meta.index)  # What follows it may be acknowledged: it stays.
        else:
            self.journal.reset(meta.index, meta.term)
        self._configurations = Configurations(configuration)
        self.engine.rebased(meta.index, self._configurations)
        self.engine.heard_leader(self.loop.time())
        self.applier.installed(meta.index)
        self.compaction.installed(meta.index)
        await self.journal.sync()
        for number in self.proposals.unresolved():
            if (outcome := self.state.outcome(self.proposals.session, number)) is not None:
                self.proposals.resolve(number, outcome)
        self.log.info("snapshot_installed", index=meta.index, bytes=meta.size)
        self.step(lambda: None)
