"""Persist before send: what depends on the disk leaves when it was synced, and then at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.node.node import Node
from cluster.raft.messages import Frame
from tests.cluster.node.group import Members
from tests.process.agents import until


class Follower:
    """One real member of three that hears of its leader from the test alone."""

    def __init__(self, members: Members) -> None:
        self.node: Node = members["a"]._node
        self.disk = members.disks["a"]
        self.acknowledged: list[tuple[Frame, int]] = []
        """What it answered its leader, each with the last entry that was on its disk then."""
        send = self.node.send

        def sent(peer: str, frame: Frame) -> bool:
            if frame[0] == "ack":
                self.acknowledged.append((frame, self.node.journal.durable_index))
            return send(peer, frame)

        self.node.send = sent  # type: ignore[method-assign]  # notes what it passes on

    def hears(self, frame: Frame) -> None:
        self.node.step(lambda: self.node._take("b", frame))


@pytest.fixture
async def follower() -> AsyncIterator[Follower]:
    members = Members(["a", "b", "c"])
    await members.start("a")
    yield Follower(members)
    members.disks["a"].delay = 0.0
    await members.stop()


async def test_an_acknowledgement_waits_for_the_sync_of_what_it_says_is_there(follower: Follower) -> None:
    follower.hears(["app", 1, 1, 0, 0, 0, [[1, b"\1"]], None])
    assert follower.node.journal.last_index == 1
    assert follower.acknowledged == []
    await until(lambda: follower.acknowledged)
    assert follower.acknowledged == [(["ack", 1, 1, True, 1], 1)]


async def test_what_is_held_while_the_disk_syncs_leaves_after_that_sync_and_waits_for_no_other(
    follower: Follower,
) -> None:
    follower.disk.delay = 0.05
    follower.hears(["app", 1, 1, 0, 0, 0, [[1, b"\1"]], None])
    follower.hears(["app", 1, 2, 1, 1, 0, [], None])
    assert follower.acknowledged == []
    await until(lambda: len(follower.acknowledged) == 2)
    assert follower.acknowledged == [(["ack", 1, 1, True, 1], 1), (["ack", 1, 2, True, 1], 1)]


async def test_what_is_held_for_a_later_entry_waits_for_the_sync_of_that_one(follower: Follower) -> None:
    follower.disk.delay = 0.05
    follower.hears(["app", 1, 1, 0, 0, 0, [[1, b"\1"]], None])
    follower.hears(["app", 1, 2, 1, 1, 0, [[1, b"\1"]], None])
    await until(lambda: len(follower.acknowledged) == 2)
    assert follower.acknowledged == [(["ack", 1, 1, True, 1], 1), (["ack", 1, 2, True, 2], 2)]


async def test_a_disk_that_was_full_before_anything_was_committed_is_used_again_once_there_is_room(
    follower: Follower,
) -> None:
    """There is no snapshot to make that would let go of the log; who filled the disk lets go of it."""
    follower.hears(["app", 1, 1, 0, 0, 0, [[1, b"\1"]], None])
    await until(lambda: follower.acknowledged)
    capacity, follower.disk.capacity = follower.disk.capacity, 0
    follower.hears(["app", 1, 2, 1, 1, 0, [[1, b"\1"]], None])
    await until(lambda: "No space left" in (follower.node.persistence.fault or ""))
    follower.disk.capacity = capacity
    await until(lambda: follower.node.persistence.fault is None)
    follower.hears(["app", 1, 3, 1, 1, 0, [[1, b"\1"]], None])
    await until(lambda: len(follower.acknowledged) == 2)
    assert follower.acknowledged[1] == (["ack", 1, 3, True, 2], 2)
