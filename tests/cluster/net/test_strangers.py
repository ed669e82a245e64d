"""Who isn't the member that it says, or says nothing, changes nothing and is logged once."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace

import pytest
import trustme

from cluster.net import handshake
from cluster.net.frames import Decoder, encode
from cluster.net.handshake import Card, Hello, Identity, hello_frame, read_invitation
from tests.cluster.node.members import QUICK, Member, Start, Witness, contexts, introduce_all, until_connected


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
