"""Members talk in order, notice each other's end, and don't let strangers, floods or defects pass for anything else."""

from __future__ import annotations

import asyncio
import gc
import pickle
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import trustme
import uvloop

from cluster import handshake
from cluster.frames import Decoder, FrameError, encode
from cluster.handshake import Card, Hello, Identity, hello_frame, read_invitation
from cluster.network import TcpNetwork
from cluster.ports import Listener, Stream
from cluster.transport import TransportLimits
from tests.cluster.members import QUICK, Member, RecordedLog, Witness, contexts, introduce_all, until_connected

Start = Callable[..., Awaitable[Member]]


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
    assert one.transport.stats["n2"].connects == 1


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
                await member.transport.writable(peer, 1 << 20)

    async with asyncio.TaskGroup() as group:
        group.create_task(send_all(one, "n2"))
        group.create_task(send_all(two, "n1"))
    await witness.until(lambda: len(one.messages) == len(two.messages) == count)
    assert [frame[1] for _, frame in one.messages] == list(range(count))
    assert [frame[1] for _, frame in two.messages] == list(range(count))
    await one.transport.writable("n2", 0)
    assert one.transport.queued_bytes("n2") == 0
    assert one.transport.stats["n2"].frames_out == one.transport.stats["n2"].frames_in == count
    assert one.transport.stats["n2"].dropped == 0


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
    stats = one.transport.stats["n2"]
    assert one.transport.send("n2", ["m", 1], at_once=True)
    assert (stats.frames_out, one.transport.queued_bytes("n2")) == (1, 0)
    assert one.transport.send("n2", ["m", 2])
    assert one.transport.send("n2", ["m", 3], at_once=True)  # behind the one that waits
    assert stats.frames_out == 1
    assert one.transport.queued_bytes("n2") > 0
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
    assert one.transport.queued_bytes("n2") > 60 << 20
    await wire.close()


async def test_a_full_queue_refuses_frames_counts_them_and_says_so_once(start: Start, witness: Witness) -> None:
    limits = replace(QUICK, frame_bytes=100_000, queue_bytes=300_000)
    one, two = await start("n1", limits=limits), await start("n2", limits=limits)
    introduce_all(one, two)
    await until_connected(one, two)
    sent = [one.transport.send("n2", ["m", number, bytes(90_000)]) for number in range(10)]
    assert sent == [True] * 3 + [False] * 7
    assert one.transport.queued_bytes("n2") <= 300_000
    assert one.transport.stats["n2"].dropped == 7
    assert len(one.log.named("frame_dropped")) == 1
    await one.transport.writable("n2", 0)
    assert one.transport.send("n2", ["m", 10, b""])
    await witness.until(lambda: len(two.messages) == 4)
    assert [frame[1] for _, frame in two.messages] == [0, 1, 2, 10]


async def test_writable_waits_for_a_peer_that_does_not_read_and_fails_when_it_is_gone(start: Start) -> None:
    one, two = await start("n1"), await start("n2")
    wire = Wire(two.address)
    two_behind = await wire.open()
    one.transport.set_peers({"n2": two_behind})
    two.transport.set_peers({"n1": one.address})
    await until_connected(one, two)
    with pytest.raises(ConnectionError, match="'n3' is not connected"):
        await one.transport.writable("n3", 0)
    for _ in range(2):
        assert one.transport.send("n2", ["m", bytes(30 << 20)])
    waiting = asyncio.create_task(one.transport.writable("n2", 1 << 20))
    await asyncio.sleep(0)
    assert not waiting.done()
    one.transport.set_peers({})
    with pytest.raises(ConnectionError, match="no longer a member"):
        await waiting
    assert not one.transport.send("n2", ["m"])
    await wire.close()


async def test_a_restarted_member_is_found_again_at_its_address(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    await two.transport.stop()
    await witness.until(lambda: one.changes == [("n2", True), ("n2", False)])
    assert not one.transport.send("n2", ["m"])
    assert one.transport.stats["n2"].dropped == 1
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
    heard = one.transport.stats["n2"]
    enough = (
        heard.bytes_in + 4 * 2 * 10
    )  # ten keep-alives, more than two times the silence allowed, on each of the two connections
    ticks = asyncio.create_task(_ticking(witness))
    await witness.until(lambda: heard.bytes_in >= enough)
    ticks.cancel()
    assert one.changes == [("n2", True)]
    assert heard.connects == 1


async def test_a_pause_of_our_own_is_not_taken_for_the_silence_of_others(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    time.sleep(3 * QUICK.dead_after)  # noqa: ASYNC251  stops this loop as SIGSTOP or a paused machine would
    heard = one.transport.stats["n2"]
    enough = heard.bytes_in + 4 * 2 * 3
    ticks = asyncio.create_task(_ticking(witness))
    await witness.until(lambda: heard.bytes_in >= enough)
    ticks.cancel()
    assert one.changes == [("n2", True)]
    assert two.changes == [("n1", True)]


async def _ticking(witness: Witness) -> None:
    """Look again and again: a keep-alive tells nobody that it came."""
    while True:
        await asyncio.sleep(0.02)
        witness.tell()


async def test_set_peers_drops_who_is_gone_and_redials_who_moved(start: Start, witness: Witness) -> None:
    one, two, three = await start("n1"), await start("n2"), await start("n3")
    introduce_all(one, two, three)
    await until_connected(one, two, three)
    one.transport.set_peers({"n2": two.address})
    assert one.transport.connected() == {"n2"}
    assert one.changes[-1] == ("n3", False)
    assert "n3" not in one.transport.stats
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


async def test_who_is_not_admitted_is_told_why_and_both_sides_log_it(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    one.admits["n2"] = "n2 was removed from this cluster"
    introduce_all(one, two)
    await witness.until(lambda: two.refusals and one.log.named("stranger_refused"))
    assert two.refusals[0] == ("n1", "n2 was removed from this cluster")
    assert one.log.named("stranger_refused")[0]["reason"] == "n2 was removed from this cluster"
    assert two.log.named("refused_by_peer")[0]["reason"] == "n2 was removed from this cluster"
    assert one.transport.connected() == two.transport.connected() == frozenset()


async def test_members_of_two_clusters_refuse_each_other(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2", cluster_id="c2")
    one.transport.set_peers({"n2": two.address})
    await witness.until(lambda: one.log.named("peer_refused") and two.log.named("refused_by_stranger"))
    assert "cluster 'c1', you to 'c2'" in one.log.named("peer_refused")[0]["reason"]
    assert "cluster 'c1', you to 'c2'" in two.log.named("refused_by_stranger")[0]["reason"]
    assert one.refusals == []


async def test_an_address_that_leads_to_another_member_is_refused(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    one.transport.set_peers({"n3": two.address})
    await witness.until(lambda: one.log.named("peer_refused"))
    assert one.log.named("peer_refused")[0]["reason"] == "I look for 'n3', you are 'n2': check the address of 'n3'"
    assert two.messages == []


async def test_a_certificate_of_another_member_does_not_pass(start: Start, witness: Witness) -> None:
    authority = trustme.CA()
    one = await start("n1", tls=contexts(authority, "n1"))
    liar = await start("n2", tls=contexts(authority, "n3"))
    introduce_all(one, liar)
    await witness.until(lambda: one.log.named("peer_refused") and one.log.named("stranger_refused"))
    for event in ("peer_refused", "stranger_refused"):
        assert "your certificate says n3" in one.log.named(event)[0]["reason"]
    assert one.transport.connected() == liar.transport.connected() == frozenset()


async def test_a_certificate_of_another_authority_does_not_pass(start: Start, witness: Witness) -> None:
    one = await start("n1", tls=contexts(trustme.CA(), "n1"))
    two = await start("n2", tls=contexts(trustme.CA(), "n2"))
    introduce_all(one, two)
    await witness.until(lambda: one.log.named("peer_unreachable") and two.log.named("peer_unreachable"))
    assert "certificate verify failed" in one.log.named("peer_unreachable")[0]["reason"]
    assert one.transport.connected() == frozenset()


STRANGERS = {
    "random bytes": bytes(range(97, 256)) * 40,
    "an old pickle": pickle.dumps({"type": "append_entries", "term": 99, "entries": [b"x" * 100]}),
    "a giant length": b"\xff\xff\xff\xff" + bytes(100),
    "a length beyond a handshake's": (5000).to_bytes(4, "big") + bytes(5000),
    "keep-alives only": bytes(4000),
    "a depth bomb": (4000).to_bytes(4, "big") + b"\x91" * 4000,
    "a frame without a handshake": encode(["append", 99, 0, []], handshake.LIMITS),
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a hang-up": None,
}


async def _knock(address: str, data: bytes | None) -> bytes:
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        if data is None:
            return b""
        writer.write(data)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS.keys())
async def test_strangers_change_nothing_and_are_logged_once(start: Start, witness: Witness, data: bytes | None) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    for _ in range(3):
        await _knock(one.address, data)
    assert one.transport.send("n2", ["m", 1])
    await witness.until(lambda: two.messages and one.log.named("stranger_refused"))
    assert one.messages == []
    assert one.changes == [("n2", True)]
    assert len(one.log.named("stranger_refused")) == 1


async def test_a_silent_stranger_is_dropped_after_the_handshake_timeout(start: Start, witness: Witness) -> None:
    one = await start("n1", limits=replace(QUICK, handshake_timeout=0.05))
    await _knock(one.address, b"")
    await witness.until(lambda: one.log.named("stranger_refused"))
    assert one.log.named("stranger_refused")[0]["reason"] == "no hello within 0.05 s"


async def test_silent_strangers_in_any_number_do_not_keep_a_member_out(start: Start, witness: Witness) -> None:
    limits = replace(QUICK, handshake_timeout=60.0, handshakes=3)
    one, two = await start("n1", limits=limits), await start("n2", limits=limits)
    host, port = one.address.split(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
    introduce_all(one, two)
    await until_connected(one, two)
    async with asyncio.timeout(20):
        for reader, _ in silent[:7]:
            while await reader.read(1000):  # the invitation, then the end
                pass
    assert "too many handshakes" in one.log.named("stranger_refused")[0]["reason"]
    for _, writer in silent:
        writer.transport.abort()


class Impostor:
    """Speaks the handshake by hand, over plain TCP."""

    async def greet(self, member: Member, name: str = "n2") -> None:
        host, port = member.address.split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        decoder = Decoder(handshake.LIMITS)
        while (frame := decoder.take()) is None:
            decoder.feed(await self.reader.read(4096))
        invitation = read_invitation(frame)
        assert not isinstance(invitation, handshake.Refuse)
        card = Card(Identity(name, b"disk-of-" + name.encode(), "c1"), b"r" * 16)
        self.hello = encode(hello_frame(Hello(card, member.name, invitation.nonce)), handshake.LIMITS)
        self.writer.write(self.hello)
        while decoder.take() is None:
            decoder.feed(await self.reader.read(4096))


async def test_a_replayed_hello_is_refused(start: Start, witness: Witness) -> None:
    one = await start("n1")
    impostor = Impostor()
    await impostor.greet(one)
    impostor.writer.transport.abort()
    answer = await _knock(one.address, impostor.hello)
    assert b"doesn't answer my invitation" in answer
    await witness.until(lambda: one.log.named("stranger_refused"))
    assert one.log.named("stranger_refused")[0]["cause"] == "replayed"


async def test_a_malformed_frame_of_a_member_closes_that_connection_only(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    impostor = Impostor()
    await impostor.greet(one, "n3")
    impostor.writer.write(encode(["m", 1], handshake.LIMITS) + (6).to_bytes(4, "big") + b"\xc1broke")
    async with asyncio.timeout(20):
        while await impostor.reader.read(1000):
            pass
    impostor.writer.transport.abort()
    await witness.until(lambda: one.log.named("link_lost"))
    assert one.messages == [("n3", ["m", 1])]
    assert one.log.named("link_lost")[0]["reason"].startswith("malformed frame: ")
    assert one.changes == [("n2", True)]


async def test_frames_on_a_connection_that_we_dialled_are_refused(start: Start, witness: Witness) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        card = Card(Identity("n2", b"d", "c1"), b"r" * 16)
        writer.write(encode(handshake.invitation_frame(handshake.Invitation(card, b"n" * 16)), handshake.LIMITS))
        await reader.read(4096)
        writer.write(encode(handshake.welcome_frame(1), handshake.LIMITS) + encode(["m", 1], handshake.LIMITS))
        await reader.read(4096)
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    one = await start("n1")
    one.transport.set_peers({"n2": f"{host}:{port}"})
    await witness.until(lambda: one.log.named("link_lost"))
    assert "frames come only on connections that their sender dialled" in one.log.named("link_lost")[0]["reason"]
    assert one.messages == []
    server.close()


async def test_a_newer_run_of_a_peer_replaces_the_connections_of_the_older_one(start: Start, witness: Witness) -> None:
    one, two = await start("n1"), await start("n2")
    introduce_all(one, two)
    await until_connected(one, two)
    impostor = Impostor()
    await impostor.greet(one)
    await witness.until(lambda: one.changes[:2] == [("n2", True), ("n2", False)])
    reasons = {fields["direction"]: fields["reason"] for fields in one.log.named("link_lost")}
    assert reasons["incoming"] == "replaced by a newer connection"
    assert reasons["outgoing"] == "left over from an earlier run of the peer"
    impostor.writer.transport.abort()
    await until_connected(one, two)


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
