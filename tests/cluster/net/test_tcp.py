"""Real sockets: what is written arrives, what isn't verified doesn't come in, and nobody is waited for without end."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trustme
import uvloop

from cluster.net.tcp import TcpNetwork, TlsContexts
from cluster.ports import Listener, Stream
from tests.cluster.node.members import RecordedLog, Witness, contexts


class Door:
    """A listener that hands out what it accepted."""

    def __init__(self, tls: TlsContexts | None = None, *, handshake_timeout: float = 1.0) -> None:
        self.witness = Witness()
        self.log = RecordedLog(self.witness)
        self.network = TcpNetwork(self.log, tls, handshake_timeout=handshake_timeout, handshakes=2)
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue()
        self.leave = asyncio.Event()
        self.listener: Listener

    async def open(self, address: str = "127.0.0.1:0") -> str:
        self.listener = await self.network.listen(address, self._serve)
        return self.listener.address()

    async def _serve(self, stream: Stream) -> None:
        self.accepted.put_nowait(stream)
        await self.leave.wait()
        stream.close()

    async def close(self) -> None:
        self.leave.set()
        await self.listener.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.open()
    yield door
    await door.close()


async def read_exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.read(size - len(data))
        assert piece
        data += piece
    return data


async def test_bytes_arrive_in_both_directions_and_the_end_is_seen(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    here.write(b"hello")
    there.write(b"welcome")
    assert await read_exactly(there, 5) == b"hello"
    assert await read_exactly(here, 7) == b"welcome"
    assert here.peer() == door.listener.address()
    assert here.peer_names() == there.peer_names() == frozenset()
    here.close()
    assert await there.read(10) == b""


async def test_what_comes_is_handed_over_in_order_from_what_came_before_it_was_asked_for_to_the_end(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    there.write(b"0123456789" * 100_000)
    assert await here.read(3) == b"012"
    came = bytearray()

    def take(data: bytes) -> None:
        came.extend(data)
        door.witness.tell()

    reading = asyncio.create_task(here.read_into(take))
    there.write(b"the end")
    await door.witness.until(lambda: came.endswith(b"the end"))
    assert came == (b"0123456789" * 100_000)[3:] + b"the end"
    there.close()
    await reading
    with pytest.raises(ConnectionError):
        await here.drain()


async def test_an_error_of_who_takes_what_comes_is_raised_to_who_asked_and_nothing_more_is_handed_over(
    door: Door,
) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    came: list[bytes] = []

    def take(data: bytes) -> None:
        came.append(data)
        raise ValueError("not what was expected")

    reading = asyncio.create_task(here.read_into(take))
    there.write(b"one")
    with pytest.raises(ValueError, match="not what was expected"):
        await reading
    there.write(b"two")
    assert await here.read(3) == b"two"
    assert came == [b"one"]
    here.close()


async def test_a_stream_that_is_closed_while_it_hands_over_ends_there(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    came: list[bytes] = []

    def take(data: bytes) -> None:
        came.append(data)
        here.close()

    reading = asyncio.create_task(here.read_into(take))
    there.write(b"one")
    await reading
    assert came == [b"one"]
    assert not here.is_drained()


async def test_a_stream_is_drained_until_the_kernel_takes_no_more(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    assert here.is_drained()
    here.write(b"little")
    assert here.is_drained()
    here.write(bytes(32 << 20))
    assert not here.is_drained()
    await read_exactly(there, 6 + (32 << 20))
    await here.drain()
    assert here.is_drained()
    here.close()


async def test_closing_ends_a_waiting_read_and_a_waiting_drain_at_once(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    await door.accepted.get()  # and never reads
    here.write(bytes(32 << 20))
    reading, draining = asyncio.create_task(here.read(1)), asyncio.create_task(here.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    here.close()
    assert await reading == b""
    with pytest.raises(ConnectionError):
        await draining


async def test_drain_returns_only_when_the_other_side_takes_what_was_written(door: Door) -> None:
    here = await door.network.connect(door.listener.address())
    there = await door.accepted.get()
    size = 32 << 20
    here.write(bytes(size))
    draining = asyncio.create_task(here.drain())
    assert len(await read_exactly(there, size // 2)) == size // 2
    assert not draining.done()
    assert len(await read_exactly(there, size - size // 2)) == size - size // 2
    await draining
    here.close()


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:", ":80", "h:99999", "h:-1", "h:x", "h:²"])
async def test_an_address_that_is_none_is_an_error_that_shows_it(address: str) -> None:
    door = Door()
    for attempt in (door.network.connect(address), door.open(address)):
        with pytest.raises(OSError, match=r"HOST:PORT is expected") as refusal:
            await attempt
        assert repr(address) in str(refusal.value)


async def test_an_address_in_use_is_named(door: Door) -> None:
    with pytest.raises(OSError, match=f"can't listen on {door.listener.address()}"):
        await Door().open(door.listener.address())


async def test_a_port_where_nobody_listens_is_named(door: Door) -> None:
    address = door.listener.address()
    await door.close()
    with pytest.raises(ConnectionError, match=f"can't connect to {address}"):
        await door.network.connect(address)


async def test_ipv6_addresses_are_written_in_brackets() -> None:
    door = Door()
    try:
        address = await door.open("[::1]:0")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert address.startswith("[::1]:")
    (await door.network.connect(address)).close()
    await door.close()


async def test_with_mutual_tls_both_sides_know_the_names_in_the_others_certificate(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"))
    await door.open()
    here = await TcpNetwork(door.log, contexts(authority, "n2", "n2.example")).connect(door.listener.address())
    there = await door.accepted.get()
    assert here.peer_names() == {"n1"}
    assert there.peer_names() == {"n2", "n2.example"}
    there.write(b"x" * 1_000_000)
    draining = asyncio.create_task(there.drain())
    assert await read_exactly(here, 1_000_000) == b"x" * 1_000_000
    await draining
    await door.close()
    assert await here.read(1) == b""


def one_sided(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("stranger", ["another authority", "no certificate", "no name", "another role", "no TLS"])
async def test_who_cannot_prove_a_name_never_reaches_serve_and_is_logged_once(
    authority: trustme.CA, stranger: str
) -> None:
    door = Door(replace(contexts(authority, "n1", "member.test"), every_member="member.test"))
    host, port = (await door.open()).split(":")

    async def knock() -> None:
        context: ssl.SSLContext | None
        if stranger == "another authority":
            context = contexts(trustme.CA(), "n2", trusts=authority).client
        elif stranger == "no certificate":
            context = one_sided(authority)
        elif stranger == "no name":
            context = one_sided(authority)
            authority.issue_cert(common_name="n2", organization_name="x").configure_cert(context)
        elif stranger == "another role":
            context = contexts(authority, "n2", "client.test").client
        else:
            context = None
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        except OSError:
            return
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        try:
            await reader.read()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async with asyncio.timeout(20):
        for _ in range(3):
            await knock()
        await door.close()
    assert door.accepted.empty()
    assert len(door.log.named("stranger_refused")) == 1
    assert door.log.named("stranger_refused")[0]["reason"]


async def test_names_that_every_member_has_are_nobodys(authority: trustme.CA) -> None:
    tls = replace(
        contexts(authority, "n1", "localhost", "server.test", "host.example.org"),
        every_member="server.test",
        roles=".test",
    )
    door = Door(tls)
    stream = await TcpNetwork(door.log, tls).connect(await door.open())
    accepted = await door.accepted.get()
    assert stream.peer_names() == accepted.peer_names() == {"n1", "host.example.org"}
    stream.close()
    await door.close()


async def test_a_certificate_with_nothing_but_names_of_all_is_refused(authority: trustme.CA) -> None:
    tls = replace(contexts(authority, "n1", "server.test"), every_member="server.test", roles=".test")
    door = Door(tls)
    nobody = replace(contexts(authority, "localhost", "server.test"), every_member="server.test", roles=".test")
    stream = await TcpNetwork(door.log, nobody).connect(await door.open())
    assert await stream.read(1) == b""
    await door.close()
    assert "names no member" in door.log.named("stranger_refused")[0]["reason"]


def test_what_comes_early_is_part_of_the_handshake_on_the_loop_that_agents_run_on(authority: trustme.CA) -> None:
    async def handshakes() -> None:
        door = Door(contexts(authority, "n1"), handshake_timeout=10.0)
        host, port = (await door.open()).split(":")
        for _ in range(20):
            early = socket.create_connection((host, int(port)))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = contexts(authority, "n2").client.wrap_bio(incoming, outgoing, server_hostname="n1")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            early.sendall(outgoing.read())  # it lies in the kernel before the connection is accepted
            early.setblocking(False)
            async with asyncio.timeout(5):
                assert (await asyncio.get_running_loop().sock_recv(early, 1))[0] == 22  # of a TLS handshake
            early.close()
        await door.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(handshakes())


async def test_bytes_from_before_tls_do_not_pass_for_bytes_from_inside_it(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"))
    host, port = (await door.open()).split(":")
    sock = socket.create_connection((host, int(port)))
    sock.sendall(b"injected")
    sock.setblocking(False)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await asyncio.open_connection(sock=sock, ssl=contexts(authority, "n2").client, server_hostname="n1")
    await door.close()
    assert door.accepted.empty()


async def test_a_connection_that_comes_in_the_turn_of_the_close_is_closed() -> None:
    door = Door()
    host, port = (await door.open()).split(":")
    for _ in range(3):  # the kernel has them, the loop is told in one turn, and closes in the same
        socket.create_connection((host, int(port))).close()
    await asyncio.sleep(0)
    await door.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()  # a socket that was left open warns here


async def test_a_server_of_another_authority_is_not_talked_to(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"))
    await door.open()
    other = TcpNetwork(door.log, contexts(trustme.CA(), "n2"))
    with pytest.raises(ConnectionError, match="certificate verify failed"):
        await other.connect(door.listener.address())
    await door.close()


async def test_a_server_that_is_no_member_is_not_talked_to(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"))
    await door.open()
    member = TcpNetwork(door.log, replace(contexts(authority, "n2", "member.test"), every_member="member.test"))
    with pytest.raises(ConnectionError, match=r"isn't a member's: it lacks the name member\.test, and has n1"):
        await member.connect(door.listener.address())
    await door.close()


async def test_new_contexts_are_for_new_connections_and_open_ones_go_on(authority: trustme.CA) -> None:
    new = trustme.CA()
    door = Door(contexts(authority, "n1"))
    address = await door.open()
    here = await TcpNetwork(door.log, contexts(authority, "n2")).connect(address)
    there = await door.accepted.get()

    door.network.use(contexts(new, "n1"))

    with pytest.raises(ConnectionError, match="certificate verify failed"):
        await TcpNetwork(door.log, contexts(authority, "n2")).connect(address)
    late = await TcpNetwork(door.log, contexts(new, "n2")).connect(address)
    here.write(b"still here")
    assert await read_exactly(there, 10) == b"still here"
    for stream in (here, late):
        stream.close()
    await door.close()


def test_a_network_does_not_begin_with_tls_half_way(authority: trustme.CA) -> None:
    with pytest.raises(ValueError, match="began without TLS"):
        TcpNetwork(RecordedLog(Witness())).use(contexts(authority, "n1"))


async def test_silent_strangers_are_bounded_in_number_and_the_oldest_goes_first(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"), handshake_timeout=60.0)
    host, port = (await door.open()).split(":")
    async with asyncio.timeout(20):
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
        for reader, _ in silent[:3]:
            assert await reader.read() == b""
        member = await TcpNetwork(door.log, contexts(authority, "n2")).connect(door.listener.address())
        await door.accepted.get()
        await door.close()
    member.close()
    for _, writer in silent:
        writer.transport.abort()


async def test_a_silent_stranger_is_dropped_after_the_handshake_timeout(authority: trustme.CA) -> None:
    door = Door(contexts(authority, "n1"), handshake_timeout=0.05)
    host, port = (await door.open()).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await reader.read() == b""
    await door.witness.until(lambda: door.log.named("stranger_refused"))
    writer.transport.abort()
    await door.close()


def test_tls_that_verifies_one_side_only_is_not_accepted(authority: trustme.CA) -> None:
    good = contexts(authority, "n1")
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="must be mutual"):
        TcpNetwork(RecordedLog(Witness()), TlsContexts(lax, good.client))
