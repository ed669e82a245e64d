"""Commands share messages and entries where they can, and who is alone waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cluster.api import Applied, Unknown
from cluster.log import ReplicatedLog
from cluster.net.frames import Frame, FrameError
from cluster.node.batching import MAX_ENTRY_BYTES
from cluster.node.node import Node
from cluster.node.sessions import opening, proposal
from tests.cluster.node.group import Members
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


def follower(members: Members, leader: ReplicatedLog) -> ReplicatedLog:
    return next(log for log in members.logs.values() if log is not leader)


def forwarded(log: ReplicatedLog, monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """The messages with which this member brings proposals to the leader, from now on."""
    sent: list[Frame] = []
    send = log._node.send

    def noting(peer: str, frame: Frame) -> bool:
        if frame[0] == "prop":
            sent.append(frame)
        return send(peer, frame)

    monkeypatch.setattr(log._node, "send", noting)
    return sent


async def test_clients_that_ask_again_as_they_are_answered_share_every_entry(three: Members) -> None:
    """Without the wait for who comes back they fall into two halves, and need twice as many entries."""
    leader, clients, rounds = await three.led(), 8, 40

    async def client(number: int) -> None:
        for n in range(rounds):
            assert isinstance(await three.propose(leader.options.name, b"%d-%d" % (number, n)), Applied)

    before = leader.status().last_index
    waiting = [asyncio.create_task(client(number)) for number in range(clients // 2)]
    while leader._node.engine.commit_index == leader.status().last_index:  # noqa: ASYNC110 - turns of the loop, no time
        await asyncio.sleep(0)
    # The others come while the first ones' entry is under way.
    await asyncio.gather(*waiting, *(client(number) for number in range(clients // 2, clients)))
    assert leader.status().last_index - before < 1.5 * rounds
    await three.agree()


async def test_a_lone_client_waits_for_nobody_who_was_there_before(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await three.led()
    await three.fill(leader.options.name, 64)
    assert isinstance(await three.propose(leader.options.name, b"the first alone"), Applied)
    intake, turns = leader._node.intake, 0
    flush: Callable[[], None] = intake._flush

    def counted() -> None:
        nonlocal turns
        turns += 1
        flush()

    monkeypatch.setattr(intake, "_flush", counted)
    for n in range(20):
        assert isinstance(await three.propose(leader.options.name, b"alone %d" % n), Applied)
    assert turns == 20


async def test_what_comes_to_a_follower_in_one_turn_goes_to_the_leader_in_one_message(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = follower(three, await three.led())
    sent = forwarded(asked, monkeypatch)
    await three.fill(asked.options.name, 50)
    assert [len(frame[1]) for frame in sent] == [50]
    await three.agree()


async def test_what_a_follower_forwards_is_cut_where_an_entry_would_be(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = follower(three, await three.led())
    sent = forwarded(asked, monkeypatch)
    commands = [bytes([n]) * (MAX_ENTRY_BYTES * 2 // 5) for n in range(5)]
    outcomes = await asyncio.gather(*(three.propose(asked.options.name, command) for command in commands))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert [len(frame[1]) for frame in sent] == [2, 2, 1]
    await three.agree()


async def test_what_waits_to_be_forwarded_while_its_member_is_elected_is_applied_once(three: Members) -> None:
    leader = await three.led()
    asked = follower(three, leader)
    proposing = [asyncio.create_task(three.propose(asked.options.name, b"%d" % n)) for n in range(10)]
    await asyncio.sleep(0)  # They are numbered, and leave in the next turn.
    assert asked._node.intake._outgoing
    asked._node.engine.campaign_now(asyncio.get_running_loop().time())
    assert asked._node.engine.leader is None
    outcomes = await asyncio.gather(*proposing)
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    await three.agree()
    assert sorted(three.machines[asked.options.name].items) == sorted([b"warm", *(b"%d" % n for n in range(10))])


async def test_a_follower_acknowledges_before_it_applies_and_puts_that_off_once(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applying keeps the interpreter from the disk's thread, and the leader waits for the disk."""
    leader = await three.led()
    node = follower(three, leader)._node
    steps: list[tuple[bool, bool]] = []
    follow = Node._follow

    def noted(one: Node) -> None:
        before, was = one.applier.index, one._put_off
        follow(one)
        if one is node:
            assert not (was and one._put_off)
            if one._put_off:
                steps.append((one.journal.unsynced, one.applier.index > before))

    monkeypatch.setattr(Node, "_follow", noted)
    for n in range(20):
        await three.propose(leader.options.name, b"%d" % n)
    await three.agree()
    assert steps
    assert set(steps) == {(True, False)}


async def test_what_fails_while_proposals_are_forwarded_ends_the_node(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They leave in a turn of their own, outside of any step; the loop would only log it."""
    asked = follower(three, await three.led())

    def broken(_items: object) -> bool:
        raise FrameError("too many items")

    monkeypatch.setattr(asked._node.intake, "_forward", broken)
    proposal = asyncio.create_task(three.propose(asked.options.name, b"x", 0.5))
    with pytest.raises(FrameError, match="too many items"):
        await asyncio.wait_for(asked.failed, 5)
    assert isinstance(await proposal, Unknown)


async def test_what_fails_after_a_removal_ends_the_node(three: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of a removed member is let go by a timer, outside of any step."""
    leader = await three.led()
    gone = follower(three, leader).options.name

    def broken(_peers: object) -> None:
        raise RuntimeError("a defect")

    await leader.remove_member(gone, asyncio.get_running_loop().time() + 5)
    monkeypatch.setattr(leader._node.transport, "set_peers", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        await asyncio.wait_for(leader.failed, 5)


async def test_no_member_proposes_in_the_session_of_another(three: Members) -> None:
    """It would open it anew, or have the other's next write answered by one that the other never made."""
    leader = await three.led()
    node, forger = leader._node, follower(three, leader).options.name
    other = next(name for name in three.logs if name not in (forger, leader.options.name))
    session = node.state.session_of(other)
    for item in (opening(other, b"mine" * 4, session), proposal(session, 1000, 1, b"forged")):
        node.step(node.intake.take, forger, [item])
    assert not node.intake._batching.queue
    await three.fill(other, 3)
    await three.agree()
    assert node.state.session_of(other) == session
    assert b"forged" not in three.machines[other].items


async def test_who_was_only_just_elected_is_asked_again_soon(three: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a planned restart costs writers on the third node a quarter of a second."""
    asker = follower(three, await three.led())
    intake, sent = asker._node.intake, list[Frame]()

    def swallow(_peer: str, frame: Frame) -> bool:
        if frame[0] == "prop":
            sent.append(frame)
        return True

    with monkeypatch.context() as patch:
        patch.setattr(asker._node, "send", swallow)
        proposing = asyncio.create_task(three.propose(asker.options.name, b"waits"))
        await until(lambda: sent)
    _, session, number, *_ = sent[0][1][0]
    now = asker._node.loop.time()
    intake.resend(now)
    intake.refused([[session, number]], "the leader's queue is full")
    intake.resend(now)
    assert number not in intake._outgoing
    intake.refused([[session, number]], "this member doesn't take proposals now")
    intake.resend(now)
    assert number in intake._outgoing
    assert isinstance(await proposing, Applied)
