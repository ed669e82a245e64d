"""Limits of connections and of heads, told by raw sockets: each refusal is clear, and none touches the others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import structlog
import trustme

from tests.http.cluster_admin import ONE_NODE
from tests.http.conftest import SETTINGS, Api, serve
from tests.http.registry import InProcessRegistry
from tests.process.agents import until
from volstore.http.server.admission import CLIENT_DEFAULT, Admission, Ticket, TurnedAway
from volstore.http.server.metrics import Figures, as_text, families
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

GET = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n"
Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def strict() -> AsyncIterator[Api]:
    """Limits that a test can reach."""
    limits = replace(
        SETTINGS,
        head_deadline=0.2,
        idle_timeout=0.4,
        send_deadline=0.2,
        body_deadline=0.2,
        max_url_bytes=200,
        max_header_bytes=500,
        max_connections=6,
        max_connections_per_client=3,
    )
    async for served in serve(limits):
        yield served


async def connect(api: Api, local: str = "127.0.0.1") -> Connected:
    host, port = api.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port), local_addr=(local, 0))


async def answer(connected: Connected, request: bytes) -> bytes:
    """One answer that keeps the connection open."""
    reader, writer = connected
    writer.write(request)
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)


async def all_of(connected: Connected, request: bytes = b"") -> bytes:
    """What comes until the server closes the connection."""
    reader, writer = connected
    writer.write(request)
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    return received


def close(*connections: Connected) -> None:
    for _, writer in connections:
        writer.transport.abort()


async def test_one_more_connection_of_a_client_is_429_and_the_others_are_served(strict: Api) -> None:
    mine = [await connect(strict) for _ in range(3)]
    for one in mine:
        assert (await answer(one, GET)).startswith(b"HTTP/1.1 200 OK")
    refused = await all_of(await connect(strict), GET)
    assert refused.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert refused.endswith(b"\r\n\r\n3 connections from 127.0.0.1 are open already: use those, or try again")
    another = await connect(strict, "127.0.0.2")
    for one in (*mine, another):
        assert (await answer(one, GET)).startswith(b"HTTP/1.1 200 OK")
    close(mine.pop())
    await until(lambda: strict.server.admission.connections == 3)
    mine.append(await connect(strict))
    assert (await answer(mine[-1], GET)).startswith(b"HTTP/1.1 200 OK")
    close(*mine, another)
    await until(lambda: strict.server.admission.connections == 0)
    assert strict.server.admission.refused == {429: 1}


async def test_one_more_connection_than_a_node_serves_is_503(strict: Api) -> None:
    mine = [await connect(strict, f"127.0.0.{1 + n // 3}") for n in range(6)]
    for one in mine:
        assert (await answer(one, GET)).startswith(b"HTTP/1.1 200 OK")
    refused = await all_of(await connect(strict, "127.0.0.3"), GET)
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert refused.endswith(b"6 connections are open already: try again")
    assert (await answer(mine[0], GET)).startswith(b"HTTP/1.1 200 OK")
    close(*mine)


async def test_limits_that_change_hold_from_the_next_connection_on(strict: Api) -> None:
    mine = [await connect(strict) for _ in range(3)]
    for one in mine:
        await answer(one, GET)
    strict.server.use(replace(SETTINGS, max_connections_per_client=4, max_url_bytes=1000))
    mine.append(await connect(strict))
    long = b"GET /v1/regions?pretty=" + b"x" * 493 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await answer(mine[3], long)).startswith(b"HTTP/1.1 200 OK")
    assert (await all_of(await connect(strict), GET)).startswith(b"HTTP/1.1 429 ")
    close(*mine)


def test_by_default_other_machines_are_bounded_and_this_one_is_not() -> None:
    admission = Admission(10_000, None)
    for client in ("127.0.0.1", "::1", "127.9.9.9"):
        assert all(isinstance(admission.admit(client), Ticket) for _ in range(CLIENT_DEFAULT + 1))
    tickets = [admission.admit("fe80::1%eth0") for _ in range(CLIENT_DEFAULT)]
    assert isinstance(refused := admission.admit("fe80::1%eth0"), TurnedAway)
    assert refused.status == 429
    for _ in range(2):  # given back once, however often
        assert isinstance(tickets[0], Ticket)
        tickets[0].give_back()
    assert isinstance(admission.admit("fe80::1%eth0"), Ticket)
    assert isinstance(admission.admit("fe80::1%eth0"), TurnedAway)
    admission.most_of_client = 0
    assert isinstance(admission.admit("fe80::1%eth0"), Ticket)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v1/regions?pretty=" + b"x" * 181 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /v1/regions?pretty=" + b"x" * 182 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET /v1/regions?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 494 + b"\r\n\r\n", b"200"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 495 + b"\r\n\r\n", b"431"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 90 + b"\r\n", b"200"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 101 + b"\r\n", b"431"),
        (b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n" + b"Xxxx: yyyyy\r\n" * 60 + b"\r\n", b"431"),
    ],
)
async def test_urls_and_headers_have_limits_that_are_told(strict: Api, request_bytes: bytes, status: bytes) -> None:
    with structlog.testing.capture_logs() as logged:
        received = await all_of(await connect(strict), request_bytes)
    assert received.split()[1] == status
    if status == b"414":
        assert received.endswith(b"\r\n\r\nvalidation: the URL is longer than 200 bytes")
    if status == b"431":
        assert received.endswith(b"validation: the headers are more than 100, or larger than 500 bytes in all")
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]


async def test_the_limits_by_default_suit_what_browsers_and_proxies_send(api: Api) -> None:
    token = b"X-Nomad-Token: " + b"x" * 4000 + b"\r\n"
    received = await answer(
        one := await connect(api),
        b"GET /v1/regions?prefix=" + b"x" * 8000 + b" HTTP/1.1\r\nHost: x\r\n" + b"Cookie: " + token * 4 + b"\r\n",
    )
    assert received.split()[1] != b"414"
    assert received.split()[1] != b"431"
    close(one)


async def test_a_head_that_trickles_in_is_408_and_the_connection_is_closed(strict: Api) -> None:
    reader, writer = await connect(strict)
    neighbour = await connect(strict)

    async def trickle() -> None:
        writer.write(b"GET /v1/regions HTTP/1.1\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)

    task = asyncio.create_task(trickle())
    received = await asyncio.wait_for(reader.read(), 20)
    assert received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert received.endswith(b"the head of the request did not come within 0.2 s")
    task.cancel()
    close((reader, writer), neighbour)


async def test_a_head_without_end_is_431_before_its_time_is_over(strict: Api) -> None:
    strict.server.use(replace(SETTINGS, head_deadline=60.0, max_url_bytes=200, max_header_bytes=500))
    reader, writer = await connect(strict)
    writer.write(b"GET /v1/regions HTTP/1.1\r\n")
    task = asyncio.create_task(reader.read(64))
    while not task.done():
        writer.write(b"X: " + b"y" * 100 + b"\r\n")
        await asyncio.sleep(0.001)
    assert (await task).startswith(b"HTTP/1.1 431 ")
    close((reader, writer))


@pytest.mark.parametrize("first", [b"", GET, GET + b"GET /v1/reg"])
async def test_a_silent_connection_is_closed(strict: Api, first: bytes) -> None:
    connected = await connect(strict)
    received = await all_of(connected, first)
    assert received.count(b"HTTP/1.1 200 OK") == first.count(b"Host")
    await until(lambda: strict.server.admission.connections == 0)


async def test_a_connection_that_waits_for_its_answer_is_not_silent(strict: Api) -> None:
    await strict.report_node()
    index = await strict.register("v")
    connected = await connect(strict)
    request = b"GET /v1/volume/csi/v?index=%d&wait=1s HTTP/1.1\r\nHost: x\r\n\r\n" % index
    assert (await answer(connected, request)).startswith(b"HTTP/1.1 200 OK")
    close(connected)


async def test_a_body_that_trickles_in_is_408(strict: Api) -> None:
    reader, writer = await connect(strict)
    writer.write(b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
    # The beginning of the answer: what trickles in after it is met by a closed connection, which breaks its end off.
    task = asyncio.create_task(reader.read(64))
    while not task.done():
        writer.write(b" ")
        await asyncio.sleep(0.02)
    assert (await task).startswith(b"HTTP/1.1 408 ")
    close((reader, writer))


async def test_who_takes_nothing_of_a_large_answer_is_dropped(strict: Api) -> None:
    await strict.report_node()
    for n in range(0, 3000, 500):
        await strict.register(*(f"volume-{m}" for m in range(n, n + 500)))
    await strict.session.close()
    await until(lambda: strict.server.admission.connections == 0)
    reader, writer = await connect(strict)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as one that writes alone
    for _ in range(8):
        writer.write(b"GET /v1/volumes?type=csi&pretty HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: strict.server.admission.connections == 1)
    await until(lambda: strict.server.admission.connections == 0)
    close((reader, writer))


async def test_refusals_and_connections_are_figures(strict: Api) -> None:
    for request in (b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTT"):
        await all_of(await connect(strict), request)
    open_now = [await connect(strict) for _ in range(3)]
    for one in open_now:
        await answer(one, GET)
    await all_of(await connect(strict), GET)
    figures = Figures(strict.server.requests, admission=strict.server.admission)
    told = as_text(families(ONE_NODE.node(), strict.registry.state, 0, figures)).decode()
    for status in (400, 408, 414, 429):
        assert f'volstore_http_refused_total{{code="{status}"}} 1.0\n' in told
    assert "volstore_http_connections 3.0\n" in told
    assert "volstore_http_connections_limit 6.0\n" in told
    close(*open_now)


async def test_pipelined_requests_are_answered_in_their_order(api: Api) -> None:
    last = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = await all_of(await connect(api), GET * 50 + last)
    assert received.count(b"HTTP/1.1 200 OK") == 51
    assert received.count(b'["global"]') == 50


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_https_serves_turns_away_and_takes_new_certificates_without_dropping_connections() -> None:
    registry = InProcessRegistry(10)
    served = HttpServer(registry, HttpSettings(head_deadline=0.3, max_connections_per_client=2))
    old, new = trustme.CA(), trustme.CA()
    server, client = contexts(old)
    host, port = (await served.start("127.0.0.1", 0, server)).split(":")

    async def secured(context: ssl.SSLContext) -> Connected:
        return await asyncio.open_connection(host, int(port), ssl=context)

    first = await secured(client)
    assert (await answer(first, GET)).startswith(b"HTTP/1.1 200 OK")
    plain = await asyncio.open_connection(host, int(port))
    assert b"200" not in await all_of(plain, GET)
    silent = await asyncio.open_connection(host, int(port))
    assert await all_of(silent) == b""  # past the time for a handshake
    await until(lambda: served.admission.connections == 1)

    other_server, other_client = contexts(new)
    served.use_tls(other_server)
    with pytest.raises(ssl.SSLError, match="verify failed"):
        await secured(client)
    await until(lambda: served.admission.connections == 1)
    second = await secured(other_client)
    for one in (first, second):
        assert (await answer(one, GET)).startswith(b"HTTP/1.1 200 OK")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await secured(other_client)
    close(first, second)
    await served.stop()


async def test_a_server_stops_while_handshakes_go_on() -> None:
    served = HttpServer(InProcessRegistry(10), HttpSettings(head_deadline=60.0))
    host, port = (await served.start("127.0.0.1", 0, contexts(trustme.CA())[0])).split(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    await until(lambda: served.admission.connections == 3)
    async with asyncio.timeout(10):
        await served.stop()
    for one in silent:
        assert await all_of(one) == b""
    assert served.admission.connections == 0


async def test_whether_there_is_tls_is_decided_at_the_start(api: Api) -> None:
    with pytest.raises(RuntimeError, match="decided at the start"):
        api.server.use_tls(contexts(trustme.CA())[0])
