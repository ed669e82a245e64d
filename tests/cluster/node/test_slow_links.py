"""Slow lines and passing errors: a follower is fed, a command written once, a read answered, a snapshot sent."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest

from cluster.api import Applied, ReadMode
from cluster.log import ReplicatedLog
from cluster.net.frames import Frame
from cluster.node.node import Node
from cluster.node.transfer import Sending
from cluster.raft.engine import BATCH
from cluster.raft.leadership import WINDOW
from cluster.storage.snapshots import SnapshotMeta
from tests.cluster.node.group import Members, later
from tests.cluster.raft.engines import Conversation, entry
from tests.process.agents import until


@pytest.fixture
async def three() -> AsyncIterator[Members]:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    leader = await members.led()
    await until(lambda: all(log._node.intake.open for log in members.logs.values()))
    assert isinstance(await members.propose(leader.options.name, b"warm"), Applied)
    yield members
    await members.stop()


def follower(members: Members) -> ReplicatedLog:
    return next(log for log in members.logs.values() if not log._node.engine.leads)


def written(log: ReplicatedLog) -> Counter[bytes]:
    """How often each command is in the log."""
    journal = log._node.journal
    found: Counter[bytes] = Counter()
    for index in range(journal.base_index + 1, journal.last_index + 1):
        data = journal.data(index)
        if data[0] == BATCH:
            found.update(item[4] for item in msgpack.unpackb(data[1:])[1] if item[0] == "p")
    return found


class Held:
    """Messages of some kinds that a node sends stay on their way until they are let go."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
        self.frames: list[tuple[str, Frame]] = []
        self.holding = True
        self._send = send = node.send

        def sent(peer: str, frame: Frame) -> bool:
            if self.holding and frame[0] in kinds:
                self.frames.append((peer, frame))
                return True
            return send(peer, frame)

        monkeypatch.setattr(node, "send", sent)

    def let_go(self) -> None:
        self.holding = False
        for peer, frame in self.frames:
            self._send(peer, frame)


# Rounds.


async def test_a_follower_whose_answers_come_thousands_of_rounds_late_is_fed_and_heard() -> None:
    """A leader of 5,000 rounds a second, and a line of a quarter of a second: 1,250 rounds are under way."""
    talk = Conversation("abc")
    leader = await talk.elect("a")
    under_way: list[tuple[float, str, Frame]] = []
    for number in range(4000):
        talk.now += 0.0002
        leader.append(talk.now, entry(f"{number}"))
        await talk.sync()
        for name in "abc":
            for message in talk[name].take_messages():
                delay = 0.125 if "c" in (name, message.peer) else 0.0
                under_way.append((talk.now + delay, name + message.peer, message.frame))
        for due in [one for one in under_way if one[0] <= talk.now]:
            under_way.remove(due)
            talk[due[1][1]].receive(talk.now, due[1][0], due[2])
    progress = leader.progress["c"]
    assert leader.leads
    assert leader.journal.last_index - leader.match_index("c") < 3000
    assert talk.now - progress.contact < 0.3
    assert len(progress.unacknowledged) <= WINDOW


# Commands.


@pytest.mark.parametrize("through", ["leader", "follower"])
async def test_a_command_that_waits_for_long_is_written_once(
    three: Members, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    """Acknowledgements are held for longer than a command once waited before it was sent again. The leader goes on
    hearing of its members, as it does where only the disks are slow."""
    leader = await three.led()
    monkeypatch.setattr(leader._node.engine.raft, "count", lambda now: None)
    monkeypatch.setattr(type(leader._node.engine.raft), "tick", lambda self, now: None)
    asked = leader if through == "leader" else follower(three)
    commands = [b"waits-%d" % n for n in range(50)]
    proposing = [asyncio.create_task(three.propose(asked.options.name, command, 10.0)) for command in commands]
    await asyncio.sleep(2.6)
    queued = len(leader._node.intake._batching.queue)
    monkeypatch.undo()
    assert all(isinstance(outcome, Applied) for outcome in await asyncio.gather(*proposing))
    assert queued <= len(commands)
    assert {written(leader)[command] for command in commands} == {1}


async def test_what_is_sent_again_after_a_lost_connection_is_not_written_again(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, asked = await three.led(), follower(three)
    held = Held(leader._node, monkeypatch, "app", "commit")
    commands = [b"again-%d" % n for n in range(20)]
    proposing = [asyncio.create_task(three.propose(asked.options.name, command)) for command in commands]
    await until(lambda: leader._node.intake._batching.queue or leader._node.intake._items_under_way)
    for _ in range(3):
        asked._node.intake.lost()
        asked._node.intake.resend(asyncio.get_running_loop().time())
        await asyncio.sleep(0.02)
    held.let_go()
    assert all(isinstance(outcome, Applied) for outcome in await asyncio.gather(*proposing))
    await three.agree()
    assert {written(leader)[command] for command in commands} == {1}
    assert not leader._node.intake._held


async def test_what_an_earlier_leader_wrote_is_not_written_by_the_next(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its member sends it again to the new leader, which has the entry and can't know yet that it is committed."""
    leader, asked = await three.led(), follower(three)
    heir = next(log for log in three.logs.values() if log is not leader and log is not asked)
    for log in (asked, heir):
        Held(log._node, monkeypatch, "ack")  # The entry arrives, and the leader never hears of it.
    command = b"of an earlier leader"
    proposing = asyncio.create_task(three.propose(asked.options.name, command, 20.0))
    await until(lambda: written(heir)[command])
    monkeypatch.undo()
    outcome = await proposing
    assert isinstance(outcome, Applied)
    await three.agree()
    assert [written(log)[command] for log in three.logs.values()] == [1, 1, 1]


async def test_an_opening_that_waits_is_written_once(three: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    leader = await three.led()
    name = follower(three).options.name
    await three.stop(name)
    address = next(member.address for member in three.first if member.name == name)
    taken: list[Any] = []
    add = leader._node.intake._batching.add

    def added(waiting: Any) -> bool:
        if waiting[3] is not None and waiting[3][0] == "o":
            taken.append(waiting[3])
        return add(waiting)

    monkeypatch.setattr(leader._node.intake._batching, "add", added)
    monkeypatch.setattr(leader._node.intake, "due", lambda: False)
    log = three.make(name, address, three.first)
    await log.start()
    await until(lambda: taken)
    for _ in range(5):
        log._node.intake.lost()
        await asyncio.sleep(0.1)
    # Once for each session that it may replace: it learns from the log that its last run had one.
    assert len({tuple(item) for item in taken}) == len(taken) <= 2
    monkeypatch.undo()
    await until(lambda: log._node.intake.open)


async def test_a_queue_that_is_full_is_told_and_nothing_is_forgotten(three: Members) -> None:
    leader, asked = await three.led(), follower(three)
    leader._node.intake._batching._limit = 2000
    commands = [b"%d" % n + b"." * 500 for n in range(40)]
    outcomes = await asyncio.gather(*(three.propose(asked.options.name, command, 20.0) for command in commands))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert {written(leader)[command] for command in commands} == {1}


# Reads.


async def test_a_read_over_a_line_of_nearly_a_second_is_answered(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its question was put again after half a second, and the answer to the first one counted for nothing."""
    leader, asked = await three.led(), follower(three)
    loop, send = asyncio.get_running_loop(), leader._node.send
    questions: list[int] = []

    def slow(peer: str, frame: Frame) -> bool:
        if frame[0] == "read":
            questions.append(frame[1])
            loop.call_later(0.8, send, peer, frame)
            return True
        return send(peer, frame)

    monkeypatch.setattr(leader._node, "send", slow)
    assert (await asked.read_barrier(ReadMode.LINEARIZABLE, later(3))).known_leader
    assert len(questions) == 1


# Snapshots.


class _Store:
    """A snapshot of three pieces, whose reading fails as often as it is told."""

    def __init__(self) -> None:
        self.meta = SnapshotMeta(7, 1, b"d", b"m", b"", 300 << 10)

    def latest(self) -> SnapshotMeta:
        return self.meta

    async def read_at(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        return bytes(min(size, meta.size - offset))


async def test_the_answer_to_an_earlier_try_serves_a_later_one() -> None:
    """Over a line that is slower than the first patience: the piece is there, and its answer comes."""
    frames: list[Frame] = []

    def sent(_peer: str, frame: Frame) -> bool:
        frames.append(frame)
        return True

    sending = Sending(_Store(), "b", 1, sent, 0.05)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await sending.run()
    patient = Sending(_Store(), "b", 1, sent, 5.0)  # type: ignore[arg-type]
    task = asyncio.create_task(patient.run())
    await until(lambda: len(frames) == 2)
    patient.answered(7, 300 << 10, True)
    assert await task == 7


async def test_each_try_waits_longer_for_an_answer_until_one_comes(
    lagging: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await lagging.led()
    monkeypatch.setattr("cluster.node.snapshotting.FIRST_PATIENCE", 0.05)
    answers = 0
    acknowledged = leader._node.snapshotting.acknowledged
    loop = asyncio.get_running_loop()

    def slow(*answer: Any) -> None:
        nonlocal answers
        answers += 1
        loop.call_later(0.12, acknowledged, *answer)

    monkeypatch.setattr(leader._node.snapshotting, "acknowledged", slow)
    await _catches_up(lagging)
    assert answers > 10


@pytest.fixture
async def lagging() -> AsyncIterator[Members]:
    """Three members, of which one is away and needs a snapshot of some pieces when it comes back."""
    members = Members(["s1", "s2", "s3"], snapshot_entries=20, trailing_entries=0)
    await members.start()
    leader = await members.led()
    await until(lambda: all(log._node.intake.open for log in members.logs.values()))
    away = follower(members).options.name
    await members.stop(away)
    for number in range(30):
        assert isinstance(await members.propose(leader.options.name, bytes([number]) * (64 << 10)), Applied)
    await leader.snapshot_now()
    yield members
    await members.stop()


async def _catches_up(members: Members) -> None:
    member = next(member for member in members.first if member.name not in members.logs)
    await members.make(member.name, member.address, members.first).start()
    await members.agree()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOSPC])
async def test_a_leader_that_can_not_read_its_snapshot_for_a_while_goes_on(
    lagging: Members, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    leader = await lagging.led()
    store, failures = leader._node.store, 3
    read = store.read_at

    async def failing(meta: SnapshotMeta, offset: int, size: int) -> bytes:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(error, "it can't be read now")
        return await read(meta, offset, size)

    monkeypatch.setattr(store, "read_at", failing)
    term = leader.status().term
    await _catches_up(lagging)
    assert failures == 0
    assert not leader.failed.done()
    assert leader.status().term == term


async def test_a_snapshot_that_arrives_is_sent_in_one_go(lagging: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps beside it give no transfer up that isn't over: it would crawl on by beginning again for each piece."""
    leader = await lagging.led()
    pieces: list[int] = []
    send = leader._node.send

    def counted(peer: str, frame: Frame) -> bool:
        if frame[0] == "snap":
            pieces.append(frame[5] if frame[6] else -1)
        return send(peer, frame)

    monkeypatch.setattr(leader._node, "send", counted)
    await _catches_up(lagging)
    assert pieces.count(-1) == 1
    assert len(pieces) > 10
    assert pieces == sorted(set(pieces))
