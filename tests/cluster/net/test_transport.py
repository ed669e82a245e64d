"""Members talk in order, notice each other's end, and let no flood or defect pass for anything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import trustme
import uvloop

from cluster.net.frames import FrameError
from cluster.net.tcp import TcpNetwork
from cluster.net.transport import TransportLimits
from cluster.ports import Listener, Stream
from tests.cluster.node.members import (
    QUICK,
    Member,
    RecordedLog,
    Start,
    Witness,
    contexts,
    introduce_all,
    until_connected,
)
from tests.process.agents import until


class Wire:
    """A TCP proxy in front of a member, whose directions can be cut without either side being told."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.forward = True
        self.backward = True
        self._closed = asyncio.Event()
        self._network = TcpNetwork(RecordedLog(Witness()))
        self._listener: Listener

    async def open(self) -> str:
        self._listener = await self._network.listen("127.0.0.1:0", self._join)
        return self._listener.address()

    async def close(self) -> None:
        self._closed.set()
        await self._listener.close()

    async def _join(self, near: Stream) -> None:
        try:
            far = await self._network.connect(self.target)
        except ConnectionError:
            near.close()
            return
        ends = [
            asyncio.create_task(self._copy(near, far, lambda: self.forward)),
            asyncio.create_task(self._copy(far, near, lambda: self.backward)),
            asyncio.create_task(self._closed.wait()),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        near.close()
        far.close()
        for end in ends:
            end.cancel()
        await asyncio.wait(ends)

    async def _copy(self, source: Stream, sink: Stream, is_open: Callable[[], bool]) -> bool:
        while True:
            try:
                data = await source.read(65536)
            except ConnectionError:
                data = b""
            if is_open():
                if not data:
                    return True
                sink.write(data)
            elif not data:
                await self._closed.wait()  # not even the end gets through


async def test_two_members_connect_and_know_what_the_other_says_of_itself(start: Start) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    assert one.changes == [("n2", True)]
    info = one.transport.peer_info("n2")
    assert info is not None
    assert (info.incarnation, info.meta) == (b"disk-of-n2", {"version": "1"})
    assert one.transport.last_heard("n2") is not None


async def test_five_members_all_connect_over_mutual_tls(start: Start) -> None:
    authority = trustme.CA()
    members = [await start(f"n{n}", tls=contexts(authority, f"n{n}")) for n in range(5)]
    introduce_all(*members)
    await until_connected(*members)


def test_members_talk_over_mutual_tls_on_the_loop_that_the_agent_runs_on() -> None:
    async def talk() -> None:
        witness, authority = Witness(), trustme.CA()
        one, two = [await Member(name, witness, tls=contexts(authority, name)).start() for name in ("n1", "n2")]
        introduce_all(one, two)
        await until_connected(one, two)
        assert one.transport.send("n2", ["m", 1], at_once=True)
        assert one.transport.send("n2", ["m", 2, bytes(5 << 20)], at_once=True)
        assert one.transport.send("n2", ["m", 3], at_once=True)
        await witness.until(lambda: len(two.messages) == 3)
        assert [frame[1] for _, frame in two.messages] == [1, 2, 3]
        for member in (one, two):
            await member.transport.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(talk())


async def test_frames_arrive_once_and_in_order_under_load_in_both_directions(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    count = 3000

    async def send_all(member: Member, peer: str) -> None:
        for number in range(count):
            at_once = number % 3 == 0
            assert member.transport.send(peer, ["m", number, b"x" * (number * 37 % 5000)], at_once=at_once)
            if number % 100 == 0:
                await until(lambda: member.queued(peer) <= 1 << 20)

    async with asyncio.TaskGroup() as group:
        group.create_task(send_all(one, "n2"))
        group.create_task(send_all(two, "n1"))
    await witness.until(lambda: len(one.messages) == len(two.messages) == count)
    assert [frame[1] for _, frame in one.messages] == list(range(count))
    assert [frame[1] for _, frame in two.messages] == list(range(count))
    await until(lambda: one.queued("n2") == 0)
    assert not one.log.named("frame_dropped")


async def test_a_frame_of_the_largest_size_passes_and_a_larger_one_is_the_senders_error(
    start: Start, witness: Witness
) -> None:
    limits = replace(QUICK, frame_bytes=1 << 20)
    one, two = await start("n1", limits=limits), await start("n2", limits=limits)
    introduce_all(one, two)
    await until_connected(one, two)
    assert one.transport.send("n2", ["m", b"x" * ((1 << 20) - 8)])
    with pytest.raises(FrameError, match="the limit is 1048576"):
        one.transport.send("n2", ["m", b"x" * (1 << 20)])
    await witness.until(lambda: two.messages)
    assert len(two.messages[0][1][1]) == (1 << 20) - 8


async def test_a_frame_that_leaves_at_once_is_gone_before_the_loop_turns(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    assert one.transport.send("n2", ["m", 1], at_once=True)
    assert one.queued("n2") == 0
    assert one.transport.send("n2", ["m", 2])
    waits = one.queued("n2")
    assert one.transport.send("n2", ["m", 3], at_once=True)  # behind the one that waits
    assert one.queued("n2") == 2 * waits > 0
    await witness.until(lambda: len(two.messages) == 3)
    assert [frame[1] for _, frame in two.messages] == [1, 2, 3]


async def test_what_is_sent_at_once_to_a_peer_that_does_not_read_is_queued_within_the_limit(start: Start) -> None:
    limits = replace(QUICK, queue_bytes=64 << 20)
    one, two = await start("n1", limits=limits), await start("n2", limits=limits)
    wire = Wire(two.address)
    one.transport.set_peers({"n2": await wire.open()})
    two.transport.set_peers({"n1": one.address})
    await until_connected(one, two)
    sent = [one.transport.send("n2", ["m", bytes(20 << 20)], at_once=True) for _ in range(5)]
    # The first may have left in part: what the kernel hasn't taken of it counts as a whole.
    assert sent == [True] * 3 + [False] * 2
    assert one.queued("n2") > 60 << 20
    await wire.close()


async def test_a_full_queue_refuses_frames_and_says_so_once(start: Start, witness: Witness) -> None:
    limits = replace(QUICK, frame_bytes=100_000, queue_bytes=300_000)
    one, two = await start("n1", limits=limits), await start("n2", limits=limits)
    introduce_all(one, two)
    await until_connected(one, two)
    sent = [one.transport.send("n2", ["m", number, bytes(90_000)]) for number in range(10)]
    assert sent == [True] * 3 + [False] * 7
    assert one.queued("n2") <= 300_000
    assert len(one.log.named("frame_dropped")) == 1
    await until(lambda: one.queued("n2") == 0)
    assert one.transport.send("n2", ["m", 10, b""])
    await witness.until(lambda: len(two.messages) == 4)
    assert [frame[1] for _, frame in two.messages] == [0, 1, 2, 10]


async def test_a_restarted_member_is_found_again_at_its_address(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    await two.transport.stop()
    await witness.until(lambda: one.changes == [("n2", True), ("n2", False)])
    assert not one.transport.send("n2", ["m"])
    again = await start("n2", bind=two.address)
    again.transport.set_peers({"n1": one.address})
    await until_connected(one, again)
    assert one.changes[-1] == ("n2", True)
    assert one.transport.send("n2", ["m", 1])
    await witness.until(lambda: again.messages == [("n1", ["m", 1])])
    assert two.messages == []


async def test_a_dial_that_waits_is_hurried_by_the_peer_that_shows_up(start: Start) -> None:
    patient = replace(QUICK, reconnect_min=3600.0, reconnect_max=3600.0)
    one = await start("n1", limits=patient)
    spare = await start("spare")
    address = spare.address
    await spare.transport.stop()
    one.transport.set_peers({"n2": address})
    await one.witness.until(lambda: one.log.named("peer_unreachable"))
    two = await start("n2", bind=address)
    two.transport.set_peers({"n1": one.address})
    await until_connected(one, two)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
async def test_a_direction_that_goes_silent_is_noticed_by_both_and_mended(
    start: Start, witness: Witness, direction: str
) -> None:
    one, two = await start("n1"), await start("n2")
    wire = Wire(two.address)
    one.transport.set_peers({"n2": await wire.open()})
    two.transport.set_peers({"n1": one.address})
    await until_connected(one, two)
    wire.forward, wire.backward = direction == "backward", direction == "forward"
    await witness.until(lambda: ("n2", False) in one.changes and ("n1", False) in two.changes)
    assert "n2" not in one.transport.connected()
    wire.forward = wire.backward = True
    await until_connected(one, two)
    reasons = [fields["reason"] for m in (one, two) for fields in m.log.named("link_lost")]
    assert "silent for 4 keep-alive periods" in reasons
    await wire.close()


async def test_an_idle_connection_stays(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    await _heard_often(one, "n2", 10)  # more than two times the silence allowed
    assert one.changes == [("n2", True)]


async def test_a_pause_of_our_own_is_not_taken_for_the_silence_of_others(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    time.sleep(3 * QUICK.dead_after)  # noqa: ASYNC251  stops this loop as SIGSTOP or a paused machine would
    await _heard_often(one, "n2", 3)
    assert one.changes == [("n2", True)]
    assert two.changes == [("n1", True)]


async def _heard_often(member: Member, peer: str, times: int) -> None:
    """So many keep-alives come from `peer`, at as many moments."""
    for _ in range(times):
        before = member.transport.last_heard(peer)
        await until(lambda before=before: member.transport.last_heard(peer) != before)  # type: ignore[misc]


async def test_set_peers_drops_who_is_gone_and_redials_who_moved(start: Start, witness: Witness) -> None:
    one, two, three = await start("n1"), await start("n2"), await start("n3")
    introduce_all(one, two, three)
    await until_connected(one, two, three)
    one.transport.set_peers({"n2": two.address})
    assert one.transport.connected() == {"n2"}
    assert one.changes[-1] == ("n3", False)
    assert one.transport.last_heard("n3") is None
    wire = Wire(two.address)
    one.transport.set_peers({"n2": await wire.open()})
    assert one.transport.connected() == frozenset()
    await witness.until(lambda: one.transport.connected() == {"n2"})
    assert one.transport.send("n2", ["m"])
    await witness.until(lambda: two.messages == [("n1", ["m"])])
    await wire.close()


async def test_who_came_with_another_disk_than_is_known_now_loses_its_connections(
    start: Start, witness: Witness
) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    one.transport.keep_only("n2", b"disk-of-n2")
    one.transport.keep_only("n3", b"disk-of-n3")
    assert one.transport.connected() == {"n2"}
    one.transport.keep_only("n2", b"another disk")
    assert one.transport.connected() == frozenset()
    assert {lost["reason"] for lost in one.log.named("link_lost")} == {
        "it came with another disk than the one that is known now"
    }


async def test_a_member_cannot_be_its_own_peer(start: Start) -> None:
    one = await start("n1")
    with pytest.raises(ValueError, match="'n1' is this member"):
        one.transport.set_peers({"n1": one.address})


@pytest.mark.parametrize("defect", ["on_message", "on_peer", "admit"])
async def test_an_exception_in_a_callback_reaches_on_failure_once_and_ends_all_calls(
    start: Start, witness: Witness, defect: str
) -> None:
    one, two = await start("n1"), await start("n2")
    failure = one.raises[defect] = RuntimeError("a defect")
    introduce_all(one, two)
    if defect == "on_message":
        await until_connected(one, two)
        for number in range(10):
            assert two.transport.send("n1", ["m", number])
    await witness.until(lambda: one.failures)
    assert one.failures == [failure]
    assert one.log.named("transport_failed")[0]["exc_info"] is failure
    assert one.messages == []


async def test_stopping_calls_nothing_back_and_frees_the_port(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    assert two.transport.send("n1", ["m", 1])
    await one.transport.stop()
    assert one.changes == [("n2", True)]
    assert one.transport.connected() == frozenset()
    server = await asyncio.start_server(lambda *_: None, *one.address.split(":"))
    server.close()
    await one.transport.stop()


async def test_stopping_in_the_middle_of_dials_handshakes_and_full_queues_leaves_nothing(start: Start) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    host, port = one.address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    await until_connected(one, two)
    one.transport.set_peers({"n2": two.address, "n3": "127.0.0.1:1", "n4": one.address})
    for _ in range(2):
        one.transport.send("n2", ["m", bytes(30 << 20)])
    await one.transport.stop()  # what it leaves, the fixture and the interpreter's ResourceWarning would tell
    writer.transport.abort()


async def test_a_port_in_use_is_named(start: Start, witness: Witness) -> None:
    one = await start("n1")
    with pytest.raises(OSError, match=f"can't listen on {one.address}"):
        await Member("n2", witness, bind=one.address).start()


def test_a_queue_that_could_not_hold_the_largest_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="queue_bytes"):
        Member("n1", Witness(), limits=TransportLimits(queue_bytes=10, frame_bytes=100))
