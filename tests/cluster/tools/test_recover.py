"""A cluster of one out of a survivor's disk: it has all that the disk had, and nobody of the old one talks to it."""

from __future__ import annotations

from random import Random

import pytest

from cluster.api import LogError
from cluster.storage.sealing import Keyring
from cluster.tools.recover import plan, recover
from tests.cluster.node.group import Members
from tests.cluster.storage.memory_disk import MemoryDisk
from tests.process.agents import until

PLAIN = Keyring()


async def stopped(count: int, **options: int) -> tuple[Members, list[bytes]]:
    """Three members that applied `count` commands, and have stopped."""
    members = Members(["a", "b", "c"], **options)
    await members.start()
    await members.led()
    commands = await members.fill("a", count)
    await members.agree()
    await members.stop()
    return members, commands


@pytest.mark.parametrize("options", [{}, {"snapshot_entries": 2, "trailing_entries": 1}])
async def test_the_survivor_goes_on_alone_with_all_it_had(options: dict[str, int]) -> None:
    members, commands = await stopped(200, **options)
    disk = members.disks["b"]
    before = await plan(disk, PLAIN)
    assert (before.name, before.cluster_id, before.lost) == ("b", "test", ("a", "c"))
    assert bool(before.snapshot_index) == bool(options)
    done = await recover(disk, PLAIN, Random(1))
    assert done.cluster_id != "test"
    assert (await plan(disk, PLAIN)).lost == ()

    log = members.make("b", members.first[1].address, members.first, cluster_id=done.cluster_id)
    await log.start()
    try:
        await members.led()
        assert [member.member.name for member in log.status().members] == ["b"]
        await members.fill("b", 10)
        assert set(commands) <= set(members.machines["b"].items)

        # Those of the old cluster are refused, and elect nobody from among this one.
        for member in members.first:
            if member.name != "b":
                await members.make(member.name, member.address, members.first).start()
        await until(lambda: members["a"].status().leader is not None, what="the others' own leader")
        assert members["a"].status().leader != "b"
        assert log.status().leader == "b"
    finally:
        await members.stop()


async def test_a_plan_changes_nothing() -> None:
    members, _ = await stopped(20)
    before = await plan(members.disks["a"], PLAIN)
    assert await plan(members.disks["a"], PLAIN) == before
    await members.start()
    try:
        await members.led()
        await members.agree()
    finally:
        await members.stop()


async def test_it_can_be_repeated() -> None:
    members, _ = await stopped(5)
    first = await recover(members.disks["a"], PLAIN, Random(1))
    second = await recover(members.disks["a"], PLAIN, Random(2))
    assert (second.lost, second.last_index) == ((), first.last_index + 1)


async def test_what_is_no_survivor_is_refused() -> None:
    with pytest.raises(LogError, match="holds no identity"):
        await plan(MemoryDisk(Random(1)), PLAIN)
    members = Members(["a", "b", "c"])
    await members.start("a")  # It never heard of the others: it is no member that the log names.
    await members.stop()
    with pytest.raises(LogError, match="doesn't name 'a' with this disk"):
        await recover(members.disks["a"], PLAIN, Random(1))
    members = Members(["a"])
    await members.start()
    try:
        with pytest.raises(LogError, match="in use by another node"):
            await recover(members.disks["a"], PLAIN, Random(1))
    finally:
        await members.stop()
