"""Who is no member, or was one: what it says ends nobody and changes nothing; and who lags ends nobody who is well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from cluster.api import Applied, LogError
from cluster.api import Member as Named
from cluster.log import ReplicatedLog
from cluster.net.outsiders import MOST_OUTSIDERS, claimed, refusal_counts, removal_counts
from cluster.net.tcp import TcpNetwork
from cluster.net.transport import Frame, Identity, Transport
from cluster.node import sessions
from cluster.raft.membership import Configuration, Configurations
from tests.cluster.node.group import LOG, Members, later
from tests.cluster.node.members import QUICK
from tests.process.agents import free_ports, until

DISKS = {name: name.encode() * 8 for name in ("s1", "s2", "s3", "s4")}
OURS = Configuration(
    (
        *(Named(name, f"{name}:1", DISKS[name]) for name in ("s1", "s2", "s3")),
        Named("s4", "s4:1", DISKS["s4"], voter=False),
    ),
    index=9,
)
ME = ("s1", DISKS["s1"])


# Whose refusal counts.


def _refused(refuser: str = "s2", index: int = 9, accepted: frozenset[str] = frozenset(), disk: bytes = b"") -> bool:
    known = DISKS.get(refuser, b"")
    return refusal_counts(ME, OURS, (refuser, disk or known), index, known=known, accepted=accepted)


def test_a_voter_that_knows_as_much_is_believed_when_it_refuses_a_disk() -> None:
    assert _refused()
    assert _refused(index=12)
    assert _refused(accepted=frozenset({"s4"}))


def test_a_refusal_by_an_older_view_a_learner_or_a_stranger_counts_for_nothing() -> None:
    assert not _refused(index=8)
    assert not _refused(index=0)
    assert not _refused("s4", index=12)
    assert not _refused("s9", index=999_999)
    assert not _refused(index=999_999, disk=b"another disk of s2")


def test_whom_a_majority_accepts_no_refusal_stops() -> None:
    assert not _refused(index=12, accepted=frozenset({"s3"}))


def test_a_new_disk_that_catches_up_is_not_stopped_by_who_lags_as_far() -> None:
    new = ("s1", b"a new disk")
    assert not refusal_counts(new, OURS, ("s2", DISKS["s2"]), 9, known=DISKS["s2"], accepted=frozenset())


def test_an_empty_disk_under_an_old_name_is_stopped_whoever_else_accepts_it() -> None:
    empty = replace(OURS, members=tuple(replace(m, incarnation=b"") for m in OURS.members), index=0)
    wiped = ("s1", b"an empty disk")
    assert refusal_counts(wiped, empty, ("s2", DISKS["s2"]), 9, known=b"", accepted=frozenset({"s3"}))


# Whose word for a removal counts.


@pytest.mark.parametrize(
    ("sender", "index", "rival", "believed"),
    [
        ("s2", 10, False, True),
        ("s2", 9, False, False),  # what names this node is as new
        ("s2", 10, True, False),  # this node follows another leader
        ("s4", 10, False, False),  # a learner never leads
        ("s9", 10**6, False, False),
    ],
)
def test_a_removal_is_believed_of_a_voter_that_knows_a_later_configuration(
    sender: str, index: int, rival: bool, believed: bool
) -> None:
    assert removal_counts(ME, OURS, sender, index, follows=False, rival=rival) is believed


def test_who_is_named_by_nothing_that_it_knows_believes_the_leader_that_it_follows() -> None:
    for ours in (Configuration(()), OURS):
        me = ("s1", b"a new disk, which catches up")
        assert removal_counts(me, ours, "s2", 10, follows=True, rival=False)
        assert not removal_counts(me, ours, "s2", 10, follows=False, rival=False)
    without = OURS.without("s1")
    assert removal_counts(ME, replace(without, index=9), "s2", 9, follows=True, rival=False)


def test_a_claim_that_is_no_number_claims_nothing() -> None:
    assert [claimed({"configuration": text}) for text in ("12", "", "-1", "١٢", "9" * 30)] == [12, 0, 0, 0, 0]
    assert claimed({}) == 0


# What is remembered of removed members.


def test_removed_disks_are_remembered_across_entries_snapshots_and_lost_removals() -> None:
    held = Configurations(OURS)
    held.added(replace(OURS.without("s3"), index=12))
    gone = ("s3", DISKS["s3"])
    assert list(held.latest.removed) == [gone]
    held.added(replace(held.latest.with_learner(Named("s3", "s3:1", b"new")), index=13))
    assert list(held.latest.removed) == [gone]
    kept = held.latest
    assert Configuration.decode(kept.encode(), 13, kept.encode_removed()).removed == (gone,)
    assert not Configuration.decode(kept.encode(), 13).removed
    held.dropped_from(12)
    assert not held.latest.removed
    assert held.latest.encode_removed() == b""


def test_a_disk_that_is_added_again_is_removed_no_more() -> None:
    held = Configurations(OURS)
    held.added(replace(OURS.without("s3"), index=12))
    held.added(replace(held.latest.with_learner(OURS.members[2]), index=13))
    assert held.latest.removed == ()


# With sockets.


class Stranger:
    """Speaks the members' protocol under a name of its choice, and says that it knows a later configuration."""

    def __init__(self, name: str, incarnation: bytes = b"a stranger's disk", **meta: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.refused: list[str] = []
        self.heard: list[Frame] = []
        self.dialled = 0
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.transport = Transport(
            network=TcpNetwork(LOG),
            random=random.SystemRandom(),
            me=Identity(name, incarnation, "test", {"configuration": "999999", "raft": self.address, **meta}),
            bind=self.address,
            log=LOG,
            admit=self._admit,
            on_message=lambda _peer, frame: self.heard.append(frame),
            on_peer=lambda _peer, _connected: None,
            on_failure=lambda _error: None,
            on_refused=lambda _peer, reason, _who: self.refused.append(reason),
            limits=replace(QUICK, keep_alive=0.5, dead_after=2.0),
        )

    def _admit(self, *_card: object) -> None:
        self.dialled += 1

    async def call(self, *members: ReplicatedLog) -> None:
        self.transport.set_peers({one.options.name: one.options.advertise for one in members})

    def say(self, to: ReplicatedLog) -> list[bool]:
        """Everything that only a member may say, and what would end a node or change it."""
        session = b"s" * 16
        term = to.status().term
        return [
            self.transport.send(to.options.name, frame)
            for frame in (
                ["prop", [sessions.opening(self.name, session, b"")]],
                ["prop", [sessions.proposal(session, 1, 1, b"a stranger's command")]],
                ["read?", 1],
                ["ask", 1, b"question"],
                ["told", 1, b"answer"],
                ["read", 1, 0],
                ["no", [[session, 1]], "because"],
                ["ack", term + 50, 1, True, 10**6],
                ["vote", term + 50, False, False],
                ["now", term],
                ["snapack", term, 1, 1, True],
                ["gone", 10**6, 10**6],
            )
        ]


@pytest.fixture
async def three() -> AsyncIterator[Members]:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    await members.led()
    yield members
    await members.stop()


@pytest.fixture
async def strange() -> AsyncIterator[Callable[..., Stranger]]:
    made: list[Stranger] = []

    def make(*names: object, **meta: str) -> Stranger:
        made.append(Stranger(*names, **meta))  # type: ignore[arg-type]  # as given
        return made[-1]

    yield make
    for one in made:
        await one.transport.stop()


@pytest.mark.parametrize("name", ["s9", "a member"])
async def test_nobody_who_has_a_leader_lets_a_stranger_in_or_dials_it(
    three: Members, strange: Callable[..., Stranger], name: str
) -> None:
    leader = await three.led()
    await three.fill("s1", 5)
    await until(lambda: all(log.status().leader for log in three.logs.values()))
    others = [log for log in three.logs.values() if name == "s9" or log is not leader]
    stranger = strange("s9" if name == "s9" else leader.options.name)
    await stranger.transport.start()
    await stranger.call(*others)
    await until(lambda: len(stranger.refused) >= 3 * len(others))
    assert not stranger.transport.connected()
    assert stranger.dialled >= len(others)  # it was answered, and looked at who answered; nobody called it
    for log in three.logs.values():
        assert not log._node.peers._outsiders
        assert log._node.running
    assert "comes with another disk" not in " ".join(stranger.refused)


async def test_a_node_without_a_leader_hears_no_stranger_that_no_member_vouches_for(
    three: Members, strange: Callable[..., Stranger]
) -> None:
    await three.fill("s1", 5)
    alone = three["s1"]
    await three.stop("s2", "s3")
    await until(lambda: alone._node.peers._has_no_leader())
    before = (alone.status().term, alone.status().last_index)
    stranger = strange("s9")
    await stranger.transport.start()
    await stranger.call(alone)
    await until(lambda: len(stranger.refused) >= 3)
    assert "vouched" in stranger.refused[-1]
    assert not stranger.transport.connected()
    assert not any(stranger.say(alone))
    assert (alone.status().term, alone.status().last_index) == before
    await three.start("s2")
    await three.led()
    await three.agree()


async def test_of_one_that_a_member_vouched_for_nothing_is_taken_but_raft_and_it_is_let_go_later(
    three: Members, strange: Callable[..., Stranger]
) -> None:
    await three.fill("s1", 5)
    alone = three["s1"]
    await three.stop("s2", "s3")
    stranger = strange("s9")
    alone._node.peers.told_of(10**6, "s9", stranger.incarnation)
    await stranger.transport.start()
    await stranger.call(alone)
    await until(lambda: "s1" in stranger.transport.connected())
    before = (alone.status().term, alone.status().last_index)
    assert all(stranger.say(alone))
    # A question of Raft's is answered, and with it all before was read.
    stranger.transport.send("s1", ["vote?", 0, 0, 0, True, False])
    await until(lambda: stranger.heard)
    assert [frame[0] for frame in stranger.heard] == ["vote"]
    assert alone._node.running
    assert (alone.status().term, alone.status().last_index) == before
    await three.start("s2", "s3")
    await three.led()
    await until(lambda: "s1" not in stranger.transport.connected())
    assert not alone._node.peers._outsiders
    await until(lambda: stranger.refused)
    await three.agree()
    assert all(b"a stranger's command" not in machine.items for machine in three.machines.values())


async def test_who_lags_hears_a_leader_that_it_has_never_heard_of_once_a_member_vouches_for_it(three: Members) -> None:
    await three.fill("s1", 5)
    await three.stop("s1")
    new = await three.join("s4")
    await _changed(three, "s4", partial(_add, new), lambda found: found is not None and found.voter)
    leader = await three.led()
    if leader.options.name != "s4":
        await leader.transfer_leadership("s4", later(10))
    await until(lambda: three["s4"].status().role.value == "leader")
    await three.fill("s4", 5)
    await three.start("s1")
    await until(lambda: three["s1"].status().applied_index == three["s4"].status().applied_index)
    await three.agree()


async def test_only_a_yes_of_a_later_view_about_this_disk_counts_and_all_are_forgotten_with_that_view(
    three: Members,
) -> None:
    await three.fill("s1", 1)
    peers = three["s1"]._node.peers
    index = peers._host.engine.configuration.index
    peers.told_of(index, "x", b"disk")
    assert not peers._is_vouched_for("x", b"disk")
    for number in range(MOST_OUTSIDERS + 1):
        peers.told_of(index + 1, f"x{number}", b"disk")
    assert not peers._is_vouched_for("x0", b"disk")
    assert peers._is_vouched_for("x1", b"disk")
    assert not peers._is_vouched_for("x1", b"another disk")
    peers._judge_outsiders_anew(replace(peers._host.engine.configuration, index=index + 1))
    assert not peers._vouched


async def test_one_that_names_no_address_or_comes_in_a_crowd_is_refused(three: Members) -> None:
    alone = three["s1"]
    await three.stop("s2", "s3")
    await until(lambda: alone._node.peers._has_no_leader())
    admit = alone._node.peers.admit
    reason = admit("s9", b"disk", {"configuration": "99", "raft": "nowhere"})
    assert reason is not None
    assert "HOST:PORT" in reason
    ports = free_ports(1)
    for number in range(MOST_OUTSIDERS):
        alone._node.peers.told_of(99, f"x{number}", b"disk")
        assert admit(f"x{number}", b"disk", {"configuration": "99", "raft": f"127.0.0.1:{ports[0]}"}) is None
    reason = admit("one more", b"disk", {"configuration": "99", "raft": f"127.0.0.1:{ports[0]}"})
    assert reason is not None
    assert str(MOST_OUTSIDERS) in reason


async def test_a_removed_member_stays_refused_by_name_and_disk_also_after_a_snapshot(
    three: Members, strange: Callable[..., Stranger]
) -> None:
    leader = await three.led()
    gone = next(name for name in three.logs if name != leader.options.name)
    disk = three[gone].incarnation
    other = next(name for name in three.logs if name not in (leader.options.name, gone))
    await leader.remove_member(gone, later(5))
    with pytest.raises(LogError, match="this node was removed"):
        await asyncio.wait_for(three[gone].failed, 5)
    await three.stop(gone)
    await three.agree()
    await three[other].snapshot_now()
    await three.stop()
    await three.start(other)
    alone = three[other]
    await until(lambda: alone._node.peers._has_no_leader())
    back = strange(gone, disk)
    await back.transport.start()
    await back.call(alone)
    await until(lambda: back.refused)
    assert "was removed from this cluster" in back.refused[0]
    assert not back.transport.connected()


async def _replace(members: Members, name: str) -> None:
    """Its disk is lost; an empty one takes its place, as deploy/README.md says."""
    if name in members.logs:
        await members.stop(name)
    del members.disks[name]
    await _changed(members, name, lambda leader: leader.remove_member(name, later(10)), lambda found: found is None)
    address = next(member.address for member in members.first if member.name == name)
    log = members.make(name, address, ())
    await log.start()
    new = Named(name, address, log.incarnation)
    add = partial(_add, new)
    await _changed(members, name, add, lambda found: found is not None and found.voter)


async def _changed(
    members: Members,
    name: str,
    change: Callable[[ReplicatedLog], Awaitable[object]],
    done: Callable[[Named | None], bool],
) -> None:
    """Ask whoever leads, again where leadership was lost meanwhile, until `done` says so of the member."""

    async def asked() -> bool:
        leader = await members.led()
        if not done(leader._node.engine.configuration.member(name)):
            try:
                await change(leader)
            except LogError:
                return False
        return True

    await until(asked)


async def _add(new: Named, leader: ReplicatedLog) -> None:
    await leader.add_member(new, later(20))


async def test_a_member_that_was_away_ends_nobody_whose_disk_was_replaced_meanwhile() -> None:
    """Five nodes, one is away while another is replaced: back again, it knows the old disk only, and refuses it."""
    members = Members(["s1", "s2", "s3", "s4", "s5"])
    await members.start()
    try:
        await members.led()
        await members.fill("s1", 200)
        await members.stop("s5")
        await _replace(members, "s2")
        leader = await members.led()
        if leader.options.name != "s2":
            await leader.transfer_leadership("s2", later(5))
        await until(lambda: members["s2"].status().role.value == "leader")
        await members.start("s5")
        await until(lambda: members["s5"].status().leader == "s2")
        await members.agree()
        assert members["s2"]._node.running
        assert isinstance(await members.propose("s5", b"x"), Applied)
    finally:
        await members.stop()


async def test_all_members_replaced_in_turn_under_their_names_serve_on() -> None:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    try:
        await members.led()
        await members.fill("s1", 3000)
        for name in ("s2", "s3", "s1", "s2"):
            await _replace(members, name)
            await members.agree()
            assert all(log._node.running for log in members.logs.values())
        assert len(members.machines["s1"].items) == 3000
    finally:
        await members.stop()


async def test_however_many_come_under_names_of_their_own_none_is_heard_and_each_is_told_what_helps(
    strange: Callable[..., Stranger],
) -> None:
    members = Members(["s1", "s2", "s3"])
    await members.start()
    try:
        leader = await members.led()
        away = next(name for name in members.logs if name != leader.options.name)
        await members.fill(leader.options.name, 50)
        await members.stop(away)
        await members.start(away)
        await members.stop(*(name for name in members.logs if name != away))
        alone = members[away]
        await until(lambda: alone._node.peers._has_no_leader())
        strangers = [strange("n1"), strange("n2", b"another")]
        for one in strangers:
            await one.transport.start()
            await one.call(alone)
        await until(lambda: all(len(one.refused) >= 3 for one in strangers))
        assert "empty its data directory, and add it anew" in strangers[0].refused[-1]
        assert not alone._node.peers._outsiders
    finally:
        await members.stop()


async def test_who_returns_when_all_disks_were_replaced_hears_a_majority_of_the_names_and_no_fewer(
    three: Members, strange: Callable[..., Stranger]
) -> None:
    await three.fill("s1", 5)
    await three.stop("s2", "s3")
    alone = three["s1"]
    await until(lambda: alone._node.peers._has_no_leader())
    one, other = strange("s2"), strange("s3", b"another")
    for each in (one, other):
        await each.transport.start()
    await one.call(alone)
    await until(lambda: len(one.refused) >= 3)
    assert not alone._node.peers._outsiders
    await other.call(alone)
    await until(lambda: {"s2", "s3"} <= alone._node.peers._outsiders.keys())
    # Whoever they were, they don't keep the members' places when they are gone.
    await one.transport.stop()
    await other.transport.stop()
    await until(lambda: not alone._node.peers._outsiders)
    await three.start("s2", "s3")
    await three.led()
    await three.agree()
