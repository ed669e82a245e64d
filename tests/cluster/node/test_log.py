"""Whole members: proposals and reads on any of them, members that come and go, disks that fail."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest

from cluster.api import Applied, Barrier, LogError, NoLeader, NotApplied, ReadMode, Role, Unknown
from cluster.node.applier import MARK_EVERY, Applier, StateDiverged
from cluster.node.batching import MAX_ENTRY_ITEMS
from cluster.node.sessions import ReplicatedState
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration
from tests.cluster.node.group import Members, later
from tests.cluster.node.machines import Appends
from tests.process.agents import until


@pytest.fixture
async def three() -> AsyncIterator[Members]:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    yield members
    await members.stop()


async def test_any_member_takes_a_proposal_and_all_apply_it(three: Members) -> None:
    for name in ("s1", "s2", "s3"):
        assert isinstance(await three.propose(name, name.encode()), Applied)
    await three.agree()
    assert sorted(three.machines["s1"].items) == [b"s1", b"s2", b"s3"]


async def test_a_read_on_any_member_sees_every_write_that_was_answered_before_it(three: Members) -> None:
    for n in range(20):
        writer, reader = ("s1", "s2", "s3")[n % 3], ("s1", "s2", "s3")[(n + 1) % 3]
        await three.propose(writer, b"%d" % n)
        barrier = await three[reader].read_barrier(ReadMode.LINEARIZABLE, later(5))
        assert b"%d" % n in three.machines[reader].items
        assert barrier.last_contact == 0.0


async def test_concurrent_proposals_share_entries(three: Members) -> None:
    leader = await three.led()
    await until(lambda: leader._node.intake.open)
    before = leader.status().last_index
    await three.fill(leader.options.name, 300)
    assert leader.status().last_index - before < 100
    await three.agree()


async def test_commands_larger_than_a_message_arrive_whole(three: Members) -> None:
    """pysyncobj cuts what has 64 KiB or more in pieces, and mislabels them (hole 11)."""
    sizes = (65_535, 65_536, 65_537, 3 * 65_536, (1 << 20) + 1, 4 << 20)
    for size in sizes:
        assert isinstance(await three.propose("s2", bytes([size % 251]) * size, seconds=30), Applied)
    await three.agree()
    for machine in three.machines.values():
        assert [len(item) for item in machine.items] == list(sizes)


async def test_without_a_majority_a_write_is_unknown_or_not_applied_and_a_read_is_refused(three: Members) -> None:
    leader = await three.led()
    await three.stop(*[name for name in three.logs if name != leader.options.name])
    outcome = await three.propose(leader.options.name, b"x", seconds=0.1)
    assert isinstance(outcome, Unknown | NotApplied)
    with pytest.raises(NoLeader):
        await leader.read_barrier(ReadMode.LINEARIZABLE, later(0.1))
    await until(lambda: leader.status().role is not Role.LEADER)
    assert await three.propose(leader.options.name, b"y", seconds=0.1) == NotApplied(
        "there was no leader to take it before the deadline"
    )
    stale = await leader.read_barrier(ReadMode.STALE, later(0.1))
    assert not stale.known_leader


async def test_a_leader_that_stops_claims_no_more_to_know_of_all() -> None:
    """A disk may hold its end up for long, while others lead."""
    members = Members(["s1"])
    await members.start()
    leader = await members.led()
    assert await leader.read_barrier(ReadMode.STALE, 0.0) == Barrier(0.0, True)
    members.disks["s1"].delay = 0.2
    stopping = asyncio.create_task(members.stop("s1"))
    await until(lambda: not leader._node.running)
    stale = await leader.read_barrier(ReadMode.STALE, 0.0)
    assert not stale.known_leader
    assert stale.last_contact > 0
    await stopping


async def test_proposals_wait_for_a_new_leader_and_are_applied_once(three: Members) -> None:
    leader = await three.led()
    other = next(name for name in three.logs if name != leader.options.name)
    waiting = [asyncio.create_task(three.propose(other, b"%d" % n)) for n in range(50)]
    await three.stop(leader.options.name)
    assert all(isinstance(outcome, Applied) for outcome in await asyncio.gather(*waiting))
    assert sorted(three.machines[other].items) == sorted(b"%d" % n for n in range(50))


async def test_leadership_is_handed_to_the_member_that_was_named(three: Members) -> None:
    leader = await three.led()
    to = next(name for name in three.logs if name != leader.options.name)
    assert await leader.transfer_leadership(to, later(5)) == to
    assert isinstance(await three.propose(leader.options.name, b"x"), Applied)


async def test_the_heir_is_who_is_connected_for_longest(three: Members) -> None:
    leader = await three.led()
    elder, younger = sorted(name for name in three.logs if name != leader.options.name)
    await three.stop(younger)
    await three.start(younger)
    await until(lambda: younger in leader._node.engine.connected)
    await three.fill(younger, 10)
    assert await leader.transfer_leadership(None, later(5)) == elder


async def test_a_hand_over_to_nobody_is_refused_with_who_could_take_it(three: Members) -> None:
    leader = await three.led()
    with pytest.raises(LogError, match="'s9' is not a connected voter; these are: s"):
        await leader.transfer_leadership("s9", later(1))
    follower = next(log for log in three.logs.values() if log is not leader)
    with pytest.raises(LogError, match="this node doesn't lead; ask"):
        await follower.transfer_leadership(None, later(1))


async def test_all_members_come_back_with_what_they_acknowledged(three: Members) -> None:
    commands = await three.fill("s1", 40)
    await three.stop()
    await three.start()
    await three.led()
    await three.agree()
    assert three.machines["s2"].items == commands


async def test_a_snapshot_replaces_the_log_and_is_where_a_member_starts_from() -> None:
    members = Members(["s1"], trailing_entries=0)
    await members.start()
    commands = await members.fill("s1", 30)
    index = await members["s1"].snapshot_now()
    assert members["s1"].status().first_index == index + 1
    await members.stop()
    await members.start()
    await members.led()
    assert members.machines["s1"].items == commands
    await members.stop()


async def test_a_new_member_learns_by_snapshot_then_votes() -> None:
    members = Members(["s1"], trailing_entries=0)
    await members.start()
    await members.fill("s1", 200)
    await members["s1"].snapshot_now()
    joining = await members.join("s2")
    await members["s1"].add_member(joining, later(10))
    await members.agree()
    assert members["s2"].status().snapshot_index > 0
    assert [m.member.voter for m in members["s2"].status().members] == [True, True]
    assert isinstance(await members.propose("s2", b"from the new one"), Applied)
    await members.stop()


async def test_a_dead_member_is_replaced_while_writes_go_on(three: Members) -> None:
    leader = await three.led()
    dead = next(name for name in three.logs if name != leader.options.name)
    await three.stop(dead)
    del three.disks[dead]
    running = True
    applied: list[bool] = []

    async def write() -> None:
        while running:
            applied.append(isinstance(await three.propose(leader.options.name, b"w"), Applied))

    writing = asyncio.create_task(write())
    await leader.remove_member(dead, later(5))
    joining = await three.join("s4")
    await leader.add_member(joining, later(10))
    running = False
    await writing
    assert all(applied)
    await three.agree()
    assert sorted(m.member.name for m in leader.status().members) == sorted({"s1", "s2", "s3", "s4"} - {dead})


async def test_a_removed_member_is_told_and_stops(three: Members) -> None:
    leader = await three.led()
    gone = next(name for name in three.logs if name != leader.options.name)
    await leader.remove_member(gone, later(5))
    with pytest.raises(LogError, match="this node was removed from the cluster"):
        await asyncio.wait_for(three[gone].failed, 5)
    assert isinstance(await three.propose(leader.options.name, b"x"), Applied)


async def test_a_wiped_disk_under_an_old_name_is_refused_and_stops(three: Members) -> None:
    leader = await three.led()
    await three.fill("s1", 5)
    wiped = next(name for name in three.logs if name != leader.options.name)
    await three.stop(wiped)
    del three.disks[wiped]
    await three.start(wiped)
    with pytest.raises(LogError, match="comes with another disk"):
        await asyncio.wait_for(three[wiped].failed, 5)


@pytest.mark.parametrize(
    ("change", "text"),
    [("remove", "'s9' is not a member of this cluster"), ("hand over", "'s9' is not a connected voter")],
)
async def test_a_change_of_members_that_can_not_be_made_says_why(three: Members, change: str, text: str) -> None:
    leader = await three.led()
    with pytest.raises(LogError, match=text):
        await (leader.remove_member if change == "remove" else leader.transfer_leadership)("s9", later(5))


async def test_a_leader_that_is_to_remove_itself_names_the_one_that_can(three: Members) -> None:
    leader = await three.led()
    name = leader.options.name
    heir = await leader.remove_member(name, later(5))
    assert heir is not None
    await until(lambda: three[heir]._node.intake.takes)
    assert await three[heir].remove_member(name, later(5)) is None
    with pytest.raises(LogError, match="this node was removed from the cluster"):
        await asyncio.wait_for(leader.failed, 5)


async def test_the_session_of_a_removed_member_is_ended(three: Members) -> None:
    """Otherwise its outcomes would stay in every snapshot and digest for ever."""
    leader = await three.led()
    gone = next(name for name in three.logs if name != leader.options.name)
    await three.fill(gone, 5)
    state = leader._node.state
    session = state.session_of(gone)
    assert state._by_id[session].outcomes
    await leader.remove_member(gone, later(5))
    await until(lambda: state.owner(session) is None)
    assert not state._by_member[gone].outcomes
    written = leader.status().last_index
    await three.stop(gone)
    await three.fill(leader.options.name, 1)
    await three.agree()
    assert leader.status().last_index == written + 1, "it is ended once"


async def test_a_member_that_comes_back_under_its_name_proposes_again(three: Members) -> None:
    leader = await three.led()
    gone = next(name for name in three.logs if name != leader.options.name)
    await three.fill(gone, 5)
    await leader.remove_member(gone, later(5))
    await three.stop(gone)
    await until(lambda: leader._node.state.session_of(gone).startswith(b"removed:"))
    del three.disks[gone]
    await leader.add_member(await three.join(gone), later(10))
    await three.fill(gone, 5)
    await three.agree()


async def test_a_directory_of_another_member_or_cluster_is_refused() -> None:
    members = Members(["s1"])
    await members.start()
    await members.stop()
    members.disks["s2"] = members.disks["s1"]
    with pytest.raises(LogError, match="belongs to member 's1', this node is configured as 's2'"):
        await members.make("s2", "127.0.0.1:0", members.first).start()


async def test_a_directory_that_is_in_use_is_refused() -> None:
    members = Members(["s1"])
    await members.start()
    first = members["s1"]
    with pytest.raises(LogError, match="in use by another node"):
        await members.make("s1", "127.0.0.1:0", members.first).start()
    await first.stop()


@pytest.mark.parametrize("operation", ["append", "sync"])
async def test_a_leader_whose_disk_fails_hands_over_and_comes_back_when_it_works(
    three: Members, operation: str
) -> None:
    leader = await three.led()
    name = leader.options.name
    await three.fill(name, 10)
    three.disks[name].failures[operation] = [errno.EIO]
    other = next(one for one in three.logs if one != name)
    assert isinstance(await three.propose(name, b"after", seconds=10), Applied)
    await until(lambda: leader.status().fault is None)
    await three.agree()
    assert b"after" in three.machines[other].items


async def test_a_lone_node_with_a_full_disk_acknowledges_nothing_until_there_is_room() -> None:
    members = Members(["s1"])
    await members.start()
    await members.fill("s1", 3)
    disk = members.disks["s1"]
    capacity, disk.capacity = disk.capacity, 0
    assert isinstance(await members.propose("s1", b"no room", seconds=0.5), Unknown)
    assert "No space left" in (members["s1"].status().fault or "")
    disk.capacity = capacity
    assert isinstance(await members.propose("s1", b"room again", seconds=10), Applied)
    await members.stop()


class Forgetful(Appends):
    """Answers like the others, and keeps something else."""

    def apply(self, command: bytes) -> bytes:
        return super().apply(b"" if command == b"forget me" else command)


class Raising(Appends):
    def apply(self, command: bytes) -> bytes:
        if command == b"raise":
            raise ZeroDivisionError("a defect")
        return super().apply(command)


async def test_a_member_whose_state_differs_stops_and_names_the_index() -> None:
    members = Members(["s1", "s2", "s3"])
    members.kinds = {"s3": Forgetful}
    await members.start()
    leader = await members.led()
    if leader is members["s3"]:
        await leader.transfer_leadership("s1", later(5))
        leader = await members.led()
    await members.propose("s1", b"forget me")
    while leader.status().applied_index < MARK_EVERY:
        await members.propose(leader.options.name, b"x")
    with pytest.raises(StateDiverged, match=f"at log index {MARK_EVERY} this node's state has digest"):
        await asyncio.wait_for(members["s3"].failed, 10)
    assert isinstance(await members.propose("s1", b"the others go on"), Applied)
    await members.stop()


async def test_an_exception_while_applying_ends_the_node_and_does_not_skip_the_entry() -> None:
    members = Members(["s1"])
    members.kinds = {"s1": Raising}
    await members.start()
    await members.fill("s1", 3)
    applied = members["s1"].status().applied_index
    proposal = asyncio.create_task(members.propose("s1", b"raise", seconds=2))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(members["s1"].failed, 5)
    assert members["s1"].status().applied_index == applied
    await members.stop()
    assert isinstance(await proposal, Unknown)


@pytest.mark.parametrize("where", ["log", "snapshot"])
async def test_a_configuration_of_a_newer_version_refuses_the_start_and_frees_the_directory(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = Members(["s1"])
    await members.start()
    log = await members.led()
    await members.fill("s1", 3)
    if where == "snapshot":
        monkeypatch.setattr(Configuration, "encode", lambda self: msgpack.packb([2, []]))
        await log.snapshot_now()
    else:
        log._node.journal.append(bytes([CONFIGURATION]) + msgpack.packb([2, []]), 1)
    await log.stop()
    for _ in range(2):
        again = members.make("s1", members.first[0].address, members.first)
        with pytest.raises(LogError, match=r"the data directory can't be used: .* upgrade this node"):
            await again.start()
        await again.stop()
    members.disks["s1"].lock()


async def test_an_address_that_is_taken_frees_the_directory() -> None:
    members = Members(["s1"])
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    host, port = taken.sockets[0].getsockname()[:2]
    log = members.make("s1", f"{host}:{port}", members.first)
    with pytest.raises(OSError, match=str(port)):
        await log.start()
    await log.stop()
    taken.close()
    await taken.wait_closed()
    members.disks["s1"].lock()


async def test_a_log_that_was_never_started_stops() -> None:
    await Members(["s1"]).make("s1", "127.0.0.1:0", ()).stop()


async def test_an_entry_holds_a_bounded_number_of_commands_and_a_step_applies_few(
    three: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = await three.led()
    await until(lambda: leader._node.intake.open)
    sizes: list[int] = []
    steps: list[int] = []
    apply, advance = ReplicatedState.apply, Applier.advance

    def applied(state: ReplicatedState, index: int, batch: bytes) -> Any:
        answers = apply(state, index, batch)
        sizes.append(len(answers))
        return answers

    def advanced(applier: Applier, *arguments: Any) -> bool:
        before = len(sizes)
        more = advance(applier, *arguments)
        steps.append(sum(sizes[before:]))
        return more

    monkeypatch.setattr(ReplicatedState, "apply", applied)
    monkeypatch.setattr(Applier, "advance", advanced)
    outcomes = await asyncio.gather(*(three.propose(leader.options.name, b"%d" % n, 20) for n in range(5000)))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    await three.agree()
    assert max(sizes) == MAX_ENTRY_ITEMS
    assert max(steps) < MAX_ENTRY_ITEMS + 256


async def test_a_step_goes_no_further_after_one_within_it_failed(three: Members) -> None:
    """A read that is put while a message is handled is a step within a step."""
    leader = await three.led()
    node = leader._node
    went_on = False

    def fails() -> None:
        raise RuntimeError("a defect")

    def around() -> None:
        nonlocal went_on
        node.step(fails)
        went_on = True

    node.step(around)
    assert not went_on
    with pytest.raises(RuntimeError, match="a defect"):
        await leader.failed


async def test_a_proposal_past_the_limit_of_waiting_ones_is_refused_as_overload(three: Members) -> None:
    await three.led()
    proposals = three["s1"]._node.intake.proposals
    proposals._limit = 0
    outcome = await three.propose("s1", b"x")
    assert isinstance(outcome, NotApplied)
    assert outcome.overloaded
