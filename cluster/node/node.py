"""One running member: wires Raft's engine to the journal, the transport and the state machine.

Everything happens in steps on one event loop: a message, a tick or a sync moves the engine, and `_follow` does what
follows from it. An exception in any step is a defect and ends the node (`fail`): acting on would risk the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random as PseudoRandom
from typing import Any

from cluster.api import LogError, StateMachine
from cluster.net.rate_limit import Logger, RateLimitedLog
from cluster.net.transport import Identity, Transport
from cluster.node.applier import Applier
from cluster.node.boot import Booted, boot
from cluster.node.changes import Changes
from cluster.node.conditions import Conditions
from cluster.node.intake import Intake
from cluster.node.peers import Peers
from cluster.node.persistence import Persistence
from cluster.node.reads import Answer, Freshness, LeaderQuestions, LinearizableReads
from cluster.node.sessions import ReplicatedState
from cluster.node.snapshotting import Snapshotting
from cluster.node.transfer import Receiving
from cluster.options import Options
from cluster.ports import Disk, Network, Random
from cluster.raft import messages
from cluster.raft.engine import Engine
from cluster.raft.log_matching import SafetyViolation
from cluster.raft.membership import Configuration, Configurations
from cluster.raft.messages import Frame
from cluster.storage.journal import JournalFailed
from cluster.storage.snapshots import SnapshotMeta

_TELL_AFTER = 0.005
"""Seconds after which members learn of a commit that no entry has told them of. Only clients that wait for a change
through them could notice, and telling at once would cost as much as the write itself."""
_AT_ONCE = frozenset(messages.RAFT) | {"read?", "read"}
"""What somebody waits for, and comes one at a time; of the others many may come in one turn of the loop."""


class Node:
    # Made by `start`, from what the disk has.
    engine: Engine
    applier: Applier
    transport: Transport
    incarnation: bytes
    _receiving: Receiving

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
        self.limited = RateLimitedLog(log)
        self.conditions = Conditions()
        self.state = ReplicatedState(machine)
        self.running = False
        self.leadership_listeners: list[Callable[[], None]] = []
        self.answer: Answer | None = None
        self._disk = disk
        self._snapshot_disk = snapshot_disk
        self._network = network
        self.random = random
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._seen: tuple[Any, ...] = ()
        self._glance: tuple[Any, ...] = ()
        self._open, self._looked_at = False, -1
        """Whether this run's session was open, and how much was applied then: only what is applied can change it."""
        self._told_commit = 0
        self._telling: asyncio.TimerHandle | None = None
        self._more_planned = False
        self._put_off = False
        self._stepping = False
        self._handlers = self._make_handlers()

    # Life.

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self.loop.create_future()
        booted = await boot(self.options, self.state, self._disk, self._snapshot_disk, self.random)
        try:
            await self._begin(booted)
        except BaseException:
            # Whatever it was, the next start of this process must find the directory free.
            with suppress(JournalFailed):
                await booted.journal.close()
            self._disk.unlock()
            raise
        self.running = True
        self.spawn(self._receiving.run)
        self._tick()
        if self.engine.configuration.voters == (self.options.name,):
            self.step(lambda: self.engine.campaign_now(self.loop.time()))

    async def _begin(self, booted: Booted) -> None:
        """Make the parts of this node, and listen."""
        self.incarnation = booted.identity.incarnation
        self.journal = booted.journal
        self.store = booted.store
        self.intake = Intake(self, self.state, lambda: self.applier.index, self.random.randbytes(16))
        self.applier = Applier(self.state, booted.applied, self.intake.answered)
        self.peers = Peers(self)
        try:
            self.engine = self._make_engine(booted.configurations)
        except ValueError as error:  # An entry of the log that this version can't read.
            raise LogError(f"the data directory can't be used: {error}") from error
        self.persistence = Persistence(self, self.journal, self._let_log_go)
        self.reads = LinearizableReads(self)
        self.leader_questions = LeaderQuestions(self, self.answer)
        self.snapshotting = Snapshotting(self, self.applier, self.journal, self.store, self.random)
        self.changes = Changes(self, self.conditions, self.intake, self.applier, self.peers, self.journal)
        self._receiving = Receiving(self.store, self.send, self._install, self._snapshot_refused, self._has)
        self.freshness = Freshness(self.loop.time())
        self.transport = Transport(
            network=self._network,
            random=self.random,
            me=Identity(
                self.options.name,
                self.incarnation,
                self.options.cluster_id,
                self.peers.card,
            ),
            bind=self.options.bind,
            log=self.log,
            admit=self.peers.admit,
            on_message=self._on_message,
            on_peer=self.peers.on_peer,
            on_failure=self.fail,
            on_refused=self.peers.on_refused,
            limits=self.options.limits,
        )
        self.address = await self.transport.start()

    async def stop(self) -> None:
        self.running = False
        self.conditions.end()
        for timer in (self._timer, self._telling):
            if timer is not None:
                timer.cancel()
        await self.snapshotting.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)
        await self.transport.stop()
        try:
            await self.journal.close()
        except JournalFailed as error:
            # What was acknowledged was synced before; the next start reads what is there.
            self.log.error("journal_not_synced_at_stop", reason=str(error))
        self._disk.unlock()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def watched() -> None:
            try:
                await work()
            except Exception as error:
                self.fail(error)

        task = self.loop.create_task(watched())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def fail(self, error: BaseException) -> None:
        """Stop acting at once. The user of the log sees `failed` and ends the process."""
        if self.failed.done():
            return
        # First of all, even before the line in the log: that may fail, too.
        self.running = False
        self.conditions.end()
        self.failed.set_exception(error)
        self.log.error("node_failed", reason=str(error), exc_info=error)

    def soon(self, work: Callable[[], None]) -> None:
        """Do `work` in the next turn of the loop, outside of a step; an exception in it ends the node all the same."""
        self.loop.call_soon(self._guarded, work)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do `work` after so many seconds, outside of a step; an exception in it ends the node all the same."""
        self.loop.call_later(seconds, self._guarded, work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.fail(error)

    def step(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do something to the engine, and what follows from it."""
        if not self.running:
            return
        outermost, self._stepping = not self._stepping, True
        try:
            work(*arguments)
            self._follow()
        except Exception as error:
            if not outermost:
                raise  # The step around this one must not go on, on a state that may be half changed.
            self._step_failed(error)
        finally:
            if outermost:
                self._stepping = False

    def _step_failed(self, error: Exception) -> None:
        """A defect: acting on would risk the data (hole 16)."""
        self.fail(error)

    def _make_engine(self, configurations: Configurations) -> Engine:
        engine = Engine(
            self.loop.time(),
            name=self.options.name,
            journal=self.journal,
            configurations=configurations,
            applied=self.applier.index,
            timing=self.options.timing,
            # Not the nonces' source, which costs a call of the kernel: time-outs are drawn at every append_entries.
            draw=PseudoRandom(self.random.randbytes(16)).random,
        )
        engine.mark = self.applier.mark
        engine.recognised = self.peers.recognised
        return engine

    def restart_engine(self) -> None:
        """The journal was read again from a disk that had failed: what was not synced is not believed."""
        connected = self.engine.connected
        snapshot = self.store.latest()
        if snapshot is not None and snapshot.index <= self.applier.index:
            # The log's switch to a received snapshot may be lost; state and snapshot stand there already.
            self._reset_unless_held(snapshot)
        self.engine = self._make_engine(Configurations(self.engine.configurations.at(self.applier.index)))
        self.step(lambda: self.engine.peers_changed(self.loop.time(), connected))

    def start_log_after(self, snapshot: SnapshotMeta) -> None:
        """The state of a durable snapshot stands here: the log needs nothing that it covers."""
        if self.journal.term_at(snapshot.index) == snapshot.term:
            self.journal.drop_to(snapshot.index)  # What follows it may be acknowledged: it stays.
        else:
            self.journal.reset(snapshot.index, snapshot.term)

    async def _let_log_go(self) -> None:
        """Write a snapshot of what is applied, and drop the log that it covers."""
        try:
            await self.snapshotting.write()
        except LogError:
            # It was logged. Nothing of ours can go, but others that share the disk may have made room meanwhile.
            return
        snapshot = self.store.latest()
        # One that was received and isn't installed yet covers what the state lacks: the log stays until it is.
        if snapshot is not None and self.journal.base_index < snapshot.index <= self.applier.index:
            # The disk may have less of the log than the snapshot covers, if that was begun before the disk failed.
            self.start_log_after(snapshot)
            await self.journal.sync()

    def _reset_unless_held(self, snapshot: SnapshotMeta) -> None:
        if self.journal.term_at(snapshot.index) != snapshot.term:
            self.journal.reset(snapshot.index, snapshot.term)

    def _tick(self) -> None:
        if self.running:
            self._timer = self.loop.call_later(self.options.timing.heartbeat / 3, self._tick)
            self.step(self._on_tick)

    def _on_tick(self) -> None:
        now = self.loop.time()
        self.persistence.judge(now)
        self.engine.tick(now)
        self.intake.resend(now)
        self.reads.repeat()
        self.leader_questions.repeat()
        if self.engine.leads:
            self.intake.end_removed_sessions()
        self.snapshotting.consider()

    # What follows from a step.

    def _follow(self) -> None:
        """What every step ends with, in this order:

        1. Send what the engine has made. What depends on this disk is held, and a sync begins (`Persistence`).
        2. Notice that the leader, the term, the role or the configuration changed: what was under way is lost or
           refused before anything new is made.
        3. A leader makes the next entry, and sends it, before it applies the last one: disks and members work
           meanwhile, and need no processor of this node.
        4. A leader that made none tells the commit index to the members that wait for it, before it applies: they
           answer their clients meanwhile.
        5. Apply what is committed and on this disk. A follower puts it off once where step 1 began a sync: its
           acknowledgement, for which the leader waits, goes first.
        6. Wake what waits for this: the age of the state, removed members, an operator's change.
        """
        began_sync = self.persistence.send_out()
        self._notice_changes()
        leads, commit = self.engine.leads, self.engine.commit_index
        if leads and not self._make_entry() and commit > self._told_commit:
            self._tell_waiting_members(commit)
        # Applying would keep the interpreter from the disk's thread. The next step applies, whatever it is for: at the
        # latest the end of the sync.
        self._put_off = began_sync and not leads and not self._put_off
        # Not beyond this disk: after a failed sync the journal is read again, and must hold what the state holds.
        safe = min(commit, self.journal.durable_index)
        if safe > self.applier.index and not self._put_off:
            self._apply(safe, leads)
        self._wake_waiting()

    def _make_entry(self) -> bool:
        """Whether it was time for one."""
        engine = self.engine
        if engine.configuration.index == 0 and engine.takes_proposals:
            self.peers.pin()
            self.persistence.send_out()
        if not self.intake.due():
            return False
        self.intake.make_entry()
        self.persistence.send_out()
        return True

    def _tell_waiting_members(self, commit: int) -> None:
        self._told_commit = commit
        if waiting := self.intake.take_waiting_members():
            self.engine.tell_commit(self.loop.time(), waiting)
            self.persistence.send_out()
        if self._telling is None:
            self._telling = self.loop.call_later(_TELL_AFTER, self._tell_commit)

    def _apply(self, safe: int, leads: bool) -> None:
        if self.applier.advance(self.journal, safe) and not self._more_planned:
            self._more_planned = True
            self.loop.call_soon(self._go_on)
        self.snapshotting.consider()
        if leads:
            self.intake.plan_flush()

    def _wake_waiting(self) -> None:
        applied = self.applier.index
        if self.freshness.waits_for(applied):
            self.freshness.applied(applied, self._has_this_term)
        if self.peers.leaving:
            self.peers.part()
        if self.conditions:
            self.conditions.look()

    def connection_lost(self, peer: str) -> None:
        self.snapshotting.lost(peer)

    def leader_reconnected(self) -> None:
        self.intake.lost()
        self.reads.lost()
        self.leader_questions.lost()

    def _tell_commit(self) -> None:
        self._telling = None
        self.step(lambda: self.engine.tell_commit(self.loop.time()))

    def _go_on(self) -> None:
        self._more_planned = False
        self.step(lambda: None)

    def _notice_changes(self) -> None:
        engine = self.engine
        changed = engine.configuration is not self.peers.adopted
        if changed:
            self.peers.adopt(engine.configuration)
        # What costs little is compared first, since hardly any step changes any of it.
        if self.applier.index != self._looked_at:
            self._open, self._looked_at = self.intake.open, self.applier.index
        glance = (engine.raft.standing, engine.leads and self.intake.takes, self._open)
        if glance == self._glance and not changed:
            return
        self._glance = glance
        seen = (engine.term, engine.leader, engine.role, self.intake.takes, self.intake.open)
        if seen == self._seen:
            return
        if seen[:3] != self._seen[:3]:
            self.log.info("leadership", term=engine.term, leader=engine.leader, role=engine.role.value)
            for told in self.leadership_listeners:
                told()
        term_before = self._seen[0] if self._seen else 0
        role_alone = bool(self._seen) and (seen[:2], seen[3:]) == (self._seen[:2], self._seen[3:])
        self._seen = seen
        if not engine.leads or engine.term != term_before:
            self._told_commit = 0
            self.intake.leadership_ended()
        self.peers.leader_changed()
        if role_alone:
            return  # A learner got its vote, say: what waits is on its way as before.
        self.freshness.leader_changed()
        self.intake.lost()
        self.intake.resend(self.loop.time())
        self.reads.lost()
        self.reads.repeat()
        self.leader_questions.lost()

    # Messages.

    def send(self, peer: str, frame: Frame) -> bool:
        return self.transport.send(peer, frame, at_once=frame[0] in _AT_ONCE)

    def _on_message(self, peer: str, frame: Frame) -> None:
        if (flaw := messages.flaw(frame)) is not None:
            self.limited.warning(self.loop.time(), (peer, flaw), "message_refused", peer=peer, reason=flaw)
            return
        if peer not in self.peers.inside and not self.peers.listens(peer, frame[0]):
            reason = f"{frame[0]!r} from one that this node doesn't know as a member"
            self.limited.warning(self.loop.time(), (peer, frame[0]), "message_refused", peer=peer, reason=reason)
            return
        self.step(self._take, peer, frame)

    def _take(self, peer: str, frame: Frame) -> None:
        self._handlers[frame[0]](peer, frame)

    def _make_handlers(self) -> dict[str, Callable[[str, Frame], None]]:
        """What is done with each kind of `messages.KINDS`, which names a frame's fields."""
        return dict.fromkeys(messages.RAFT, self._on_raft) | {
            "app": self._on_append,
            "commit": self._on_commit,
            "prop": lambda peer, frame: self.intake.take(peer, frame[1]),
            "no": lambda _peer, frame: self.intake.refused(frame[1], frame[2]),
            "read?": self._on_read,
            "read": lambda _peer, frame: self.reads.answered(frame[1], frame[2]),
            "ask": self._on_ask,
            "told": lambda _peer, frame: self.leader_questions.answered(frame[1], frame[2]),
            "snap": self._on_piece,
            "snapack": lambda peer, frame: self.snapshotting.acknowledged(peer, *frame[1:]),
            "known?": lambda peer, frame: self.peers.asked_about(peer, frame[1], frame[2]),
            "known": lambda _peer, frame: self.peers.told_of(frame[1], frame[2], frame[3]),
            "gone": self._on_gone,
        }

    def _on_raft(self, peer: str, frame: Frame) -> None:
        self.engine.receive(self.loop.time(), peer, frame)

    def _on_append(self, peer: str, frame: Frame) -> None:
        if frame[7] is not None and frame[1] >= self.engine.term and peer in self.peers.inside:
            self.applier.expect((frame[7][0], frame[7][1]))
        self._on_raft(peer, frame)
        self._heard(frame[1], frame[5])

    def _on_commit(self, peer: str, frame: Frame) -> None:
        self._on_raft(peer, frame)
        self._heard(frame[1], frame[2])

    def _heard(self, term: int, commit_index: int) -> None:
        """The leader of `term` has committed so much."""
        if term == self.engine.term:
            self.freshness.heard(self.loop.time(), commit_index, self.applier.index, self._has_this_term)

    def _on_read(self, peer: str, frame: Frame) -> None:
        def answer(index: int | None) -> None:
            self.send(peer, ["read", frame[1], index])

        self.engine.read(self.loop.time(), answer)

    def _on_ask(self, peer: str, frame: Frame) -> None:
        self.send(peer, ["told", frame[1], self.leader_questions.taken(frame[2])])

    def _on_piece(self, peer: str, frame: Frame) -> None:
        if self.engine.heard_in_term(self.loop.time(), peer, frame[1]):
            self._receiving.piece(peer, frame)

    def _on_gone(self, peer: str, frame: Frame) -> None:
        _kind, term, index = frame
        if self.peers.believes_removal(peer, term, index):
            raise LogError(
                f"this node was removed from the cluster at log index {index}, says {peer}; "
                "its data directory is of no further use to it"
            )
        self.limited.warning(self.loop.time(), (peer, frame[0]), "removal_not_believed", peer=peer, index=index)

    def last_contact(self) -> float:
        """Seconds since this node had all that the leader, when it was heard, had committed; 0 on the leader."""
        return 0.0 if self.has_all else self.freshness.age(self.loop.time())

    @property
    def has_all(self) -> bool:
        """Whether this node leads, and its state is what was committed; one that stops can't know it any more."""
        return self.running and self.engine.leads and self._has_this_term

    @property
    def _has_this_term(self) -> bool:
        """An entry of the present term is applied, and with it all that earlier leaders committed."""
        return self.journal.term_at(self.applier.index) == self.engine.term

    @property
    def knows_its_age(self) -> bool:
        """Whether there is a leader, and this node has had all of what it committed at least once since it started."""
        return self.has_all or (self.engine.leader is not None and self.freshness.known)

    # Snapshots that come from the leader.

    def _has(self, index: int) -> bool:
        return self.applier.index >= index

    def _snapshot_refused(self, error: Exception) -> None:
        self.limited.warning(self.loop.time(), "snapshot", "snapshot_refused", reason=str(error))

    async def _install(self, meta: SnapshotMeta) -> None:
        """Replace state and log by a snapshot that is durable and verified (Raft §7)."""
        adopt = await self._snapshot_disk.run(lambda: self.state.load(self.store.read_chunks(meta)))
        if self._has(meta.index):
            return  # The log went past it meanwhile.
        adopt()
        if self.state.digest() != meta.digest:
            raise SafetyViolation(f"the snapshot of log index {meta.index} restores to another digest than it names")
        self.start_log_after(meta)
        self.engine.rebased(meta.index, Configurations(Configuration.decode(meta.membership, meta.index, meta.extra)))
        self.engine.heard_leader(self.loop.time())
        self.applier.installed(meta.index)
        self.snapshotting.installed(meta.index)
        self.intake.snapshot_installed()
        await self.journal.sync()
        self.log.info("snapshot_installed", index=meta.index, bytes=meta.size)
        self.step(lambda: None)
