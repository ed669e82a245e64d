"""Requests that are answered without aiohttp get the answers that they would get with it, and its limits hold too."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.http.conftest import SETTINGS, Api, serve, volume
from tests.http.server.test_connections import all_of, answer, connect
from tests.process.agents import until
from volstore.http.server.answers import Answer, encode_head
from volstore.http.server.plain import PlainReader

HOST = b"Host: x\r\n"
BODY = json.dumps({"Volumes": [volume("v")]}).encode()


def request(method: str, target: str, body: bytes = b"", headers: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n".encode() if body else b""
    return f"{method} {target} HTTP/1.1\r\n".encode() + HOST + headers + length + b"\r\n" + body


REGISTER = request("PUT", "/v1/volume/csi/v", BODY)
WAIT = "/v1/volume/csi/v?index=1000&wait=30s"


@pytest.fixture
async def impatient() -> AsyncIterator[Api]:
    async for served in serve(replace(SETTINGS, idle_timeout=0.2)):
        yield served


def test_a_plain_request_is_read_whole() -> None:
    reader = PlainReader(4096)
    for body in (BODY, BODY + b" "):
        read = reader.read(request("PUT", "/v1/volume/csi/v%20?a=b#".rstrip("#"), body, b"X-Nomad-Token:  t \r\n"))
        assert read is not None
        assert (read.method, read.raw_path, read.body) == ("PUT", "/v1/volume/csi/v%20?a=b", body)
        assert read.headers["x-nomad-token"] == "t"
        assert read.headers["content-length"] == str(len(body))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REGISTER[:-1],
        REGISTER + b"x",
        REGISTER + REGISTER,
        request("HEAD", "/v1/volumes"),
        request("OPTIONS", "/v1/volumes"),
        request("get", "/v1/volumes"),
        request("GET", "*"),
        request("GET", "http://x/v1/volumes"),
        request("GET", "/v1/volumes#x"),
        request("GET", "/v1/volümes"),
        request("GET", "/v1/ volumes"),
        request("GET", "/v1/volumes").replace(b"1.1", b"1.0"),
        request("GET", "/v1/volumes").replace(b"\r\n", b"\n"),
        request("GET", "/v1/volumes").replace(HOST, b""),
        request("GET", "/v1/volumes", headers=HOST),
        request("GET", "/v1/volumes", headers=b"X: a\r\nx: b\r\n"),
        request("GET", "/v1/volumes", headers=b"X : a\r\n"),
        request("GET", "/v1/volumes", headers=b"X: a\r\n b\r\n"),
        request("GET", "/v1/volumes", headers=b"X: \xc3\xa4\r\n"),
        request("GET", "/v1/volumes", headers=b"X: a\x00\r\n"),
        request("GET", "/v1/volumes", headers=b"X: a\rb\r\n"),
        request("GET", "/v1/volumes", headers=b"Connection: close\r\n"),
        request("GET", "/v1/volumes", headers=b"Content-Length: -0\r\n"),
        request("GET", "/v1/volumes", headers=b"Content-Length: +0\r\n"),
        request("GET", "/v1/volumes", headers=b"Content-Length: 0, 0\r\n"),
        request("GET", "/v1/volumes", headers=b"Content-Length:\r\n"),
        request("GET", "/v1/volumes", headers=b"Transfer-Encoding: chunked\r\n"),
        request("GET", "/v1/volumes", headers=b"Expect: 100-continue\r\n"),
        request("GET", "/v1/volumes", headers=b"Upgrade: h2c\r\n"),
        request("PUT", "/v1/volumes", b"x", headers=b"Content-Encoding: gzip\r\n"),
        request("GET", "/v1/volumes", headers=b"X: " + b"x" * 4096 + b"\r\n"),
    ],
)
def test_anything_unusual_is_left_to_aiohttp(data: bytes) -> None:
    reader = PlainReader(4096)
    assert reader.read(request("GET", "/v1/volumes")) is not None
    assert reader.read(data) is None
    assert reader.read(REGISTER) is not None


@pytest.mark.parametrize(
    "sent",
    [
        REGISTER,
        request("PUT", "/v1/volume/csi/v", b"{"),
        request("PUT", "/v1/volume/csi/v"),
        request("PUT", "/v1/volume/csi/v", BODY, b"X-Request-Id: mine\r\n"),
        request("GET", "/v1/volume/csi/v"),
        request("GET", "/v1/volume/csi/v?pretty", headers=b"Accept-Encoding: gzip\r\n"),
        request("GET", "/v1/volume/csi/v?region=mars"),
        request("GET", "/v1/volume/csi/absent"),
        request("GET", "/v1/volume/csi/%ff"),
        request("GET", "/v1/volumes?type=csi&stale", headers=b"accept-encoding: gzip\r\n"),
        request("GET", "/v1/volumes?index=x"),
        request("GET", "/nowhere"),
        request("POST", "/v1/volumes", b"x"),
        request("DELETE", "/v1/volume/csi/absent", BODY),
    ],
)
async def test_both_ways_give_the_same_answer(api: Api, sent: bytes) -> None:
    await api.report_node()
    await api.register("v")
    ours, theirs = await connect(api), await connect(api)
    plain = await answer(ours, sent)
    head, end, body = sent.partition(b"\r\n\r\n")
    other = await answer(theirs, head + b"\r\nTE: trailers" + end + body)
    assert _comparable(plain) == _comparable(other)
    for _, writer in (ours, theirs):
        writer.close()


async def test_both_ways_give_the_same_long_answer(api: Api) -> None:
    await api.report_node()
    await api.register(*(f"v{number:04}" for number in range(1000)))
    ours, theirs = await connect(api), await connect(api)
    for _ in range(2):  # made, and kept
        plain = await answer(ours, request("GET", "/v1/volumes?type=csi"))
        assert len(plain) > 400_000
        other = await answer(theirs, request("GET", "/v1/volumes?type=csi", headers=b"TE: trailers\r\n"))
        assert _comparable(plain) == _comparable(other)
    for _, writer in (ours, theirs):
        writer.close()


def _comparable(received: bytes) -> tuple[bytes, set[bytes], bytes]:
    """First line, headers, body; without what differs between two registers of the same volume, and the time."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *headers = re.sub(rb"(Date|X-Nomad-Index): [^\r]*", rb"\1", head).split(b"\r\n")
    return first, set(headers), re.sub(rb'"(Index|ModifyIndex|ModifyTime)":\d+', b"", body)


def test_an_answer_can_not_be_split_by_its_headers() -> None:
    with pytest.raises(ValueError, match="line break"):
        encode_head(Answer(200, {"X": "a\r\nSet-Cookie: b"}, b""))


async def test_requests_that_come_before_the_answer_are_answered_in_their_order(api: Api) -> None:
    await api.report_node()
    index = await api.register("v")
    connected = await connect(api)
    reader, writer = connected
    writer.write(request("GET", f"/v1/volume/csi/v?index={index}&wait=30s"))
    await until(lambda: len(api.registry.watch) == 1)
    for target in ("/v1/regions", "/v1/status/leader"):
        writer.write(request("GET", target))
        await asyncio.sleep(0)
    await api.register("v", Context={"changed": "yes"})
    async with asyncio.timeout(20):
        found = [await reader.readuntil(b"HTTP/1.1 200 OK"), *[await answer((reader, writer), b"") for _ in range(3)]]
    assert b'"Context":{"changed":"yes"}' in found[1]
    assert found[2].endswith(b'["global"]')
    assert found[3].endswith(b'"')
    writer.close()


async def test_many_requests_in_one_piece_are_all_answered(api: Api) -> None:
    received = await all_of(
        await connect(api),
        request("GET", "/v1/regions") * 3 + request("GET", "/v1/regions", headers=b"Connection: close\r\n"),
    )
    assert received.count(b'["global"]') == 4


async def test_a_client_that_hangs_up_frees_its_waiter_and_its_place(api: Api) -> None:
    _, writer = await connect(api)
    writer.write(request("GET", WAIT))
    await until(lambda: len(api.registry.watch) == 1)
    writer.transport.abort()
    await until(lambda: len(api.registry.watch) == 0 and api.server.admission.connections == 0)


@pytest.mark.parametrize("first", [b"", b"TE: trailers\r\n"], ids=["plain", "aiohttp"])
@pytest.mark.parametrize("behind", [b"G", REGISTER, REGISTER * 2, request("PUT", "/v1/volume/csi/v", b" " * 30_000)])
async def test_a_hang_up_behind_another_request_frees_the_waiter_and_its_place(
    api: Api, first: bytes, behind: bytes
) -> None:
    connected = [await connect(api) for _ in range(20)]
    for _, writer in connected:
        writer.write(request("GET", WAIT, headers=first))
    await until(lambda: len(api.registry.watch) == 20)
    for _, writer in connected:
        writer.write(behind)
        await writer.drain()
        writer.close()
    await until(lambda: len(api.registry.watch) == 0 and api.server.admission.connections == 0, 5)


@pytest.mark.parametrize("hang_up", ["close", "abort"])
async def test_a_hang_up_behind_more_than_is_read_frees_the_waiter(api: Api, hang_up: str) -> None:
    _, writer = await connect(api)
    writer.write(request("GET", WAIT))
    await until(lambda: len(api.registry.watch) == 1)
    writer.write(request("PUT", "/v1/volume/csi/v", b" " * 200_000))
    await until(lambda: not writer.transport.get_write_buffer_size())
    getattr(writer.transport, hang_up)()
    await until(lambda: len(api.registry.watch) == 0 and api.server.admission.connections == 0, 5)


async def test_what_was_left_unread_is_read_after_the_answer(api: Api) -> None:
    await api.report_node()
    index = await api.register("v")
    connected = await connect(api)
    long = request("PUT", "/v1/volume/csi/v", BODY + b" " * 200_000)
    connected[1].write(request("GET", f"/v1/volume/csi/v?index={index}&wait=30s"))
    await until(lambda: len(api.registry.watch) == 1)
    connected[1].write(long * 3)
    await api.register("v", Secrets={"new": "one"})
    found = [await answer(connected, b"") for _ in range(4)]
    assert [head.partition(b"\r\n")[0] for head in found] == [b"HTTP/1.1 200 OK"] * 4
    connected[1].close()


async def test_the_server_answers_who_waits_before_it_closes(api: Api) -> None:
    waiting, idle = await connect(api), await connect(api)
    await answer(idle, request("GET", "/v1/regions"))
    waiting[1].write(request("GET", WAIT))
    await until(lambda: len(api.registry.watch) == 1)
    await api.server.stop()
    assert (await all_of(waiting)).startswith(b"HTTP/1.1 404 ")
    assert await all_of(idle) == b""


async def test_a_connection_that_waits_is_not_idle(impatient: Api) -> None:
    waiting, idle = await connect(impatient), await connect(impatient)
    await answer(idle, request("GET", "/v1/regions"))
    waiting[1].write(request("GET", "/v1/volume/csi/v?index=1000&wait=1s"))
    assert await all_of(idle) == b""
    assert (await answer(waiting, b"")).startswith(b"HTTP/1.1 404 ")
    waiting[1].close()


async def test_a_fault_in_the_answer_itself_ends_the_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volstore.http.server.answers._unpacked", lambda _reply: Answer(200, {"X": "a\nb"}, b""))
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    assert await all_of(await connect(api), request("GET", "/v1/regions")) == b""
    await until(lambda: faults)
