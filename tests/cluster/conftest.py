"""Members that talk to each other, for all tests of the transport."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from tests.cluster.node.members import Member, Start, Witness


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def start(witness: Witness) -> AsyncIterator[Start]:
    """Starts members; all are stopped at the end, and must leave no task behind."""
    members: list[Member] = []

    async def start_one(name: str, **settings: object) -> Member:
        members.append(Member(name, witness, **settings))  # type: ignore[arg-type]  # settings of any kind, by name
        return await members[-1].start()

    yield start_one
    for member in members:
        await member.transport.stop()
        assert not member.failures or member.raises
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()  # a socket that was left open warns here, in the test that left it
