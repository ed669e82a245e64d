"""Questions to the leader's user: answered wherever it leads, put again when they get lost, never by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.api import NoLeader
from cluster.log import ReplicatedLog
from tests.cluster.node.group import Members, later
from tests.process.agents import until


class Answering(Members):
    """Members whose users answer with their own name, once they have refused `refusals` times."""

    def __init__(self) -> None:
        super().__init__(["s1", "s2", "s3"])
        self.asked: list[tuple[str, bytes]] = []
        self.refusals = 0

    def make(self, name: str, *arguments: Any, **options: Any) -> ReplicatedLog:
        log = super().make(name, *arguments, **options)

        def answer(question: bytes) -> bytes | None:
            self.asked.append((name, question))
            if self.refusals:
                self.refusals -= 1
                return None
            return name.encode() + b" heard " + question

        log.on_ask(answer)
        return log


@pytest.fixture
async def three() -> AsyncIterator[Answering]:
    members = Answering()
    await members.start()
    yield members
    await members.stop()


async def test_a_question_from_any_member_is_answered_by_the_leader_alone(three: Answering) -> None:
    leader = (await three.led()).options.name
    for name in ("s1", "s2", "s3"):
        assert await three[name].ask_leader(b"x", later(5)) == leader.encode() + b" heard x"
    assert {name for name, _ in three.asked} == {leader}


async def test_many_questions_at_once_get_their_own_answers(three: Answering) -> None:
    await three.led()
    answers = await asyncio.gather(*(three["s1"].ask_leader(b"%d" % n, later(5)) for n in range(200)))
    assert [answer.rpartition(b" ")[2] for answer in answers] == [b"%d" % n for n in range(200)]
    assert not three["s1"]._node.leader_questions._asked


async def test_a_leader_that_can_not_answer_yet_is_asked_again(three: Answering) -> None:
    leader = (await three.led()).options.name
    other = next(name for name in three.logs if name != leader)
    for name in (leader, other):
        three.asked.clear()
        three.refusals = 2
        assert await three[name].ask_leader(b"x", later(5)) == leader.encode() + b" heard x"
        assert len(three.asked) == 3


async def test_a_question_waits_for_the_next_leader(three: Answering) -> None:
    leader = (await three.led()).options.name
    other = next(name for name in three.logs if name != leader)
    three.refusals = 10**6
    asking = asyncio.create_task(three[other].ask_leader(b"x", later(10)))
    await until(lambda: three.asked)
    await three.stop(leader)
    three.refusals = 0
    answer = await asking
    assert answer.endswith(b" heard x")
    assert not answer.startswith(leader.encode())


async def test_without_a_leader_a_question_ends_at_its_deadline(three: Answering) -> None:
    leader = (await three.led()).options.name
    await three.stop(*[name for name in three.logs if name != leader])
    await until(lambda: three[leader].status().leader is None)
    with pytest.raises(NoLeader):
        await three[leader].ask_leader(b"x", later(0.05))
    assert not three[leader]._node.leader_questions._asked


async def test_a_member_that_does_not_lead_answers_none(three: Answering) -> None:
    leader = (await three.led()).options.name
    other = next(name for name in three.logs if name != leader)
    three.asked.clear()
    assert three[other]._node.leader_questions.taken(b"x") is None
    assert three.asked == []
