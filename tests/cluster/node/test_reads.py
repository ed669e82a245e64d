"""Linearizable reads share questions to the leader, and cost nothing any more once nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.api import NoLeader, ReadMode
from tests.cluster.node.group import Members, later
from tests.process.agents import until


@pytest.fixture
async def three() -> AsyncIterator[Members]:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    yield members
    await members.stop()


@pytest.mark.parametrize("leads", [True, False])
async def test_reads_that_wait_at_one_moment_share_a_question(three: Members, leads: bool) -> None:
    leader = await three.led()
    await three.propose(leader.options.name, b"x")
    log = leader if leads else next(log for log in three.logs.values() if log is not leader)
    questions = log._node.reads
    first = questions._question
    barriers = await asyncio.gather(*(log.read_barrier(ReadMode.LINEARIZABLE, later(5)) for _ in range(2000)))
    assert all(barrier.known_leader for barrier in barriers)
    assert 1 <= questions._question - first < 20  # two, but for one that took so long that it was put again


async def test_reads_that_gave_up_without_a_leader_are_forgotten(three: Members) -> None:
    leader = await three.led()
    await three.stop(*[name for name in three.logs if name != leader.options.name])
    for _ in range(3):
        reads = [leader.read_barrier(ReadMode.LINEARIZABLE, later(0.05)) for _ in range(100)]
        assert {type(end) for end in await asyncio.gather(*reads, return_exceptions=True)} == {NoLeader}
    questions = leader._node.reads
    await until(lambda: not questions._waiting and not questions._asked, what="no reader is remembered")
