"""Clients that lie about where a request ends, what it names, or what it is: nothing gets in, the others are served."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import structlog

from tests.http.conftest import SETTINGS, Api, serve
from tests.http.json.hostile_bodies import SHAPES
from tests.process.agents import until

SMUGGLED = b"DELETE /v1/volume/csi/victim HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"0\r\n\r\n"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Nothing that is left half done is waited for long."""
    async for served in serve(replace(SETTINGS, head_deadline=0.3, idle_timeout=0.5, body_deadline=0.3)):
        yield served


async def answers(api: Api, request: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    return received


def statuses(received: bytes) -> list[str]:
    """Those of the answers."""
    return [status.decode() for status in re.findall(rb"HTTP/\d\.\d (\d{3}) [^\r]*\r\n", received)]


async def with_victim(api: Api) -> int:
    await api.report_node()
    return await api.register("victim")


async def unharmed(api: Api, index: int) -> None:
    """Nothing was changed, and the others are served."""
    assert api.registry.state.index == index
    status, _, found = await api.get("/v1/volumes?type=csi")
    assert (status, [volume["ID"] for volume in found]) == (200, ["victim"])


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: Content-Length\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity, chunked, gzip\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding\x00: chunked\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"X: \x00\r\n",
        b": chunked\r\n",
        b"\xff\xfe: y\r\n",
    ],
)
async def test_a_request_whose_end_can_be_read_in_two_ways_is_refused_with_all_that_follows(
    api: Api, framing: bytes
) -> None:
    index = await with_victim(api)
    request = b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n" + CHUNKED + SMUGGLED
    with structlog.testing.capture_logs() as logged:
        received = await answers(api, request)
    assert statuses(received) == ["400"], received
    await unharmed(api, index)
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]


@pytest.mark.parametrize(
    "chunks",
    [
        b"ffffffffffffffffff\r\n",
        b"-1\r\n",
        b"0x1\r\n{\r\n0\r\n\r\n",
        b"1 \r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"\r\n\r\n",
    ],
)
async def test_chunks_that_lie_about_their_size_change_nothing(api: Api, chunks: bytes) -> None:
    index = await with_victim(api)
    head = b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = await answers(api, head + chunks + SMUGGLED)
    assert set(statuses(received)) <= {"400", "408"}, received
    await unharmed(api, index)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/regions\r\n\r\n",
        b"G\x00ET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/regions HTTP/1.1\r\n\r\n" + b"\x00" * 100,
        b"GET /v1/re\x00gions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/re\xffgions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * 1000,
        bytes(range(256)) * 100,
    ],
)
async def test_what_is_hardly_http_gets_a_refusal_at_most(api: Api, request_bytes: bytes) -> None:
    index = await with_victim(api)
    with structlog.testing.capture_logs() as logged:
        received = await answers(api, request_bytes)
    assert b" 200 " not in received
    assert b" 500 " not in received
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]
    await unharmed(api, index)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("chunked", [False, True])
async def test_what_follows_a_body_that_is_made_to_cost_is_answered_or_nothing(
    api: Api, shape: str, chunked: bool
) -> None:
    """Whatever the body, as it was framed: one answer to it, and one to the next request, or the end."""
    index = await with_victim(api)
    body = SHAPES[shape](30_000)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    head = b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
    received = await answers(api, head + framed + b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert statuses(received) in (["400", "200"], ["400"]), received[:500]
    assert api.registry.state.index <= index + 1  # a command may say no too
    assert api.registry.state.volume_count() == 1


async def test_an_upgrade_is_ignored_and_what_follows_is_no_other_protocol(api: Api) -> None:
    index = await with_victim(api)
    for protocol in (b"websocket", b"h2c"):
        request = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        received = await answers(api, request)
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert b"101" not in received.split(b"\r\n")[0]
    await unharmed(api, index)


TRICKS = [
    "/v1/volume/csi/%2e%2e/%2e%2e/v1/volumes",
    "/v1/volume/csi/..%2f..%2fvolumes",
    "/v1/volume/csi/../../v1/volumes",
    "/v1/volume/csi/victim/..",
    "/v1/volume/csi/victim/%2e%2e",
    "/v1/volume/csi/victim%2f",
    "/v1/volume/csi/victim%2f..",
    "/v1/volume/csi/./victim",
    "/v1/volume/csi/%2e/victim",
    "/v1/volume/csi//victim",
    "/v1//volume/csi/victim",
    "//v1/volume/csi/victim",
    "/v1/./volume/csi/victim",
    "/V1/volume/csi/victim",
    "/v1/volume/csi/victim%00",
    "/v1/volume/csi/victim%0d%0a",
    "/v1/volume/csi/%ff%fe",
    "/v1/volume/csi/victim;x=y",
    "/v1/volume/csi\\victim",
    "/v1/volume/csi/victim%5c",
    "/v1/volume/csi/victim%",
    "/v1/volume/csi/victim%2",
    "/v1/volume/csi/victim%25",
    "/v1/volume/csi/%76ictim%20",
    "/v1/volume/csi/",
    "/v1/volume/csi/%20",
    "/v1/volume/csi/v",
    "/v1/volume/csi/*",
    "/v1/volume/csi/%2a",
]


@pytest.mark.parametrize("path", TRICKS)
async def test_no_spelling_of_a_path_reaches_what_another_path_names(api: Api, path: str) -> None:
    index = await with_victim(api)
    for method in ("GET", "DELETE", "PUT"):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        received = await answers(api, head.encode())
        assert re.match(rb"HTTP/1\.[01] (400|404|405) ", received), (method, received)
        assert b'victim","' not in received
    assert api.registry.state.volume_count() == 1
    status, _, found = await api.get("/v1/volume/csi/victim")
    assert (status, found["ModifyIndex"]) == (200, index)


@pytest.mark.parametrize(
    "injected", ["%0d%0aX-Evil:%20yes", "%0aX-Evil:%20yes", "%0dX-Evil:%20yes", "\u2028X-Evil: yes"]
)
async def test_nothing_that_a_client_names_becomes_a_header(api: Api, injected: str) -> None:
    index = await with_victim(api)
    for path in (
        f"/v1/volume/csi/{injected}",
        f"/v1/{injected}",
        f"/v1/volumes?type=csi&region={injected}",
        f"/v1/volumes?type=csi&next_token={injected}",
        f"/v1/volumes?type=csi&index={injected}",
        f"/v1/plugin/csi/{injected}",
        f"/v1/node/{injected}",
    ):
        received = await answers(api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = received.partition(b"\r\n\r\n")[0]
        assert received.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
        assert b"X-Evil" not in head
        assert not re.search(rb"[\r\n]X-Evil", received.replace(b"\r\n\r\n", b"", 1))
    status, headers, _ = await api.get("/v1/regions", headers={"X-Request-Id": "a\tX-Evil: yes"})
    assert status == 200
    assert "X-Request-Id" not in headers
    await unharmed(api, index)


async def test_a_host_that_is_not_ours_changes_nothing(api: Api) -> None:
    for host in (b"evil.example", b"", b"x:99999", b"[::1"):
        received = await answers(api, b"GET /v1/regions HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert re.match(rb"HTTP/1\.[01] (200|400) ", received)
        assert b"evil" not in received


async def test_hundreds_of_broken_connections_leave_none_behind(api: Api) -> None:
    index = await with_victim(api)
    host, port = api.url.removeprefix("http://").split(":")
    for n in range(300):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"[: n % 70])
        writer.transport.abort()
    await unharmed(api, index)
    await until(lambda: api.server.admission.connections <= 1)  # that of the session
