"""The server around the endpoints: limits, framing, faults, identities of requests, and its end."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from tests.http.conftest import Api, serve, volume
from volstore.core.errors import NoLeader
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

REGISTER = "/v1/volume/csi/v"
BODY = json.dumps({"Volumes": [volume("v")]}).encode()


async def raw(api: Api, request: bytes) -> bytes:
    """Everything the server answers to these bytes until it closes the connection."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_body_over_the_limit_is_413_however_it_is_framed(small_api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 500

    for body in (b" " * 2049, chunks()):
        status, _, text = await small_api.do("PUT", REGISTER, data=body)
        assert (status, text) == (413, "validation: the body is larger than 2048 bytes")
    await small_api.report_node()
    padded = BODY + b" " * (2048 - len(BODY))
    assert (await small_api.do("PUT", REGISTER, data=padded))[0] == 200


async def test_a_chunked_body_works(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 7):
            yield BODY[start : start + 7]

    await api.report_node()
    assert (await api.do("PUT", REGISTER, data=chunks()))[0] == 200


async def test_a_body_is_asked_for_when_the_client_waits_for_that(api: Api) -> None:
    await api.report_node()
    assert (await api.do("PUT", REGISTER, data=BODY, expect100=True))[0] == 200
    status, _, _ = await api.do("PUT", REGISTER, data=io.BytesIO(b" " * (5 * 1024 * 1024)), expect100=True)
    assert status == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
async def test_a_packed_body_is_refused(api: Api, encoding: str) -> None:
    status, _, text = await api.do("PUT", REGISTER, data=BODY, headers={"Content-Encoding": encoding})
    assert (status, "Content-Encoding" in text) == (400, True)
    assert api.registry.state.index == 1


async def test_a_body_that_does_not_come_is_408(small_api: Api) -> None:
    answer = await raw(small_api, b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert small_api.registry.state.index == 1


async def test_a_client_that_leaves_in_the_middle_of_its_body_changes_nothing_and_is_no_defect(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    with structlog.testing.capture_logs() as logged:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + BODY)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await api.get("/v1/regions"))[0] == 200
        await api.server.stop()
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]
    assert api.registry.state.index == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v1/volumes HTTP/9.9\r\n\r\n",
        b"GET /v1/volumes HTTP/1.1\r\nHost x\r\n\r\n",
        b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_what_is_not_http_is_refused_and_the_log_stays_calm(api: Api, request_bytes: bytes) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await raw(api, request_bytes)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Traceback" not in answer
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]
    assert api.registry.state.index == 1


@pytest.mark.parametrize("target", [b"*", b"http://x/v1/regions", b"x:80", b"/v1/regions#x", b"/v1/regions?a=b#x"])
async def test_every_form_of_target_gets_an_answer(api: Api, target: bytes) -> None:
    for method in (b"GET", b"OPTIONS", b"CONNECT"):
        answer = await raw(api, method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert re.match(rb"HTTP/1.[01] [24]\d\d ", answer)
    answer = await raw(api, b"GET http://x/v1/regions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b'["global"]')


async def test_a_fault_inside_is_told_to_the_log_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("the-secret-detail")

    monkeypatch.setattr(api.registry, "cluster", broken)
    with structlog.testing.capture_logs() as logged:
        status, headers, text = await api.get("/v1/status/leader?namespace=hidden")
    assert status == 500
    assert "the-secret-detail" not in text
    (fault,) = [event for event in logged if event["event"] == "http_request_failed"]
    assert fault["request_id"] == headers["X-Request-Id"]
    assert fault["request_id"] in text
    assert fault["exc_info"]
    assert "hidden" not in str(logged)
    monkeypatch.undo()
    assert (await api.get("/v1/status/leader"))[0] == 200


@pytest.fixture
async def debugged_api(quiet_log: None) -> AsyncIterator[Api]:
    """With a log that was set to debug, the access log's level, before the server was made."""
    structlog.reset_defaults()
    async for served in serve():
        yield served


async def test_every_request_is_logged_once_without_its_query(debugged_api: Api) -> None:
    api = debugged_api
    with structlog.testing.capture_logs() as logged:
        await api.get("/v1/volumes?type=csi&prefix=hidden", headers={"X-Request-Id": "mine-1", "X-Nomad-Token": "hush"})
        await api.get("/v1/volume/csi/none")
    assert [(event["event"], event["method"], event["path"], event["status"]) for event in logged] == [
        ("http_request", "GET", "/v1/volumes", 200),
        ("http_request", "GET", "/v1/volume/csi/none", 404),
    ]
    assert logged[0]["request_id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9]+", logged[1]["request_id"])
    assert "hidden" not in str(logged)
    assert "hush" not in str(logged)


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("a b", False), ("x" * 129, False), ("<script>", False)])
async def test_a_sane_request_id_comes_back(api: Api, given: str, kept: bool) -> None:
    _, headers, _ = await api.get("/v1/regions", headers={"X-Request-Id": given})
    assert headers.get("X-Request-Id") == (given if kept else None)


async def test_without_a_leader_reads_and_writes_are_503_and_stale_reads_say_how_stale(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    api.registry.cut_off = True
    for method, path, body in (
        ("GET", "/v1/volumes?type=csi", None),
        ("GET", "/v1/volume/csi/v?consistent", None),
        ("GET", "/v1/volume/csi/v?stale&consistent", None),
        ("PUT", REGISTER, BODY),
        ("DELETE", REGISTER, None),
        ("GET", "/v1/status/leader", None),
        ("GET", "/v1/status/peers", None),
        ("PUT", "/v1/search", b"{}"),
    ):
        status, headers, text = await api.do(method, path, data=body)
        assert (status, headers["Retry-After"], text[:17]) == (503, "1", "No cluster leader"), path
        assert "X-Nomad-Index" not in headers
    status, headers, text = await api.get("/v1/agent/health")
    assert (status, json.loads(text)) == (503, {"server": {"ok": False, "message": "No cluster leader"}})
    for path in ("/v1/volume/csi/v?stale", "/v1/volumes?type=csi&stale=", "/v1/nodes?stale=true"):
        status, headers, _ = await api.get(path)
        assert (status, headers["X-Nomad-KnownLeader"], headers["X-Nomad-LastContact"]) == (200, "false", "15694")
    assert api.registry.state.volume_count() == 1


async def test_a_write_of_unknown_fate_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*arguments: object) -> None:
        raise NoLeader(may_happen=True)

    monkeypatch.setattr(api.registry, "submit", unknown)
    status, _, text = await api.do("DELETE", REGISTER)
    assert (status, text) == (503, "No cluster leader: the write may still be applied")


async def test_an_address_in_use_is_told_at_the_start(api: Api) -> None:
    other = HttpServer(api.registry, HttpSettings())
    with pytest.raises(OSError, match="in use"):
        await other.start("127.0.0.1", int(api.url.rpartition(":")[2]))


async def test_it_serves_ipv6_and_stops_twice(api: Api) -> None:
    other = HttpServer(api.registry, HttpSettings())
    address = await other.start("::1", 0)
    assert address.startswith("[::1]:")
    async with api.session.get(f"http://{address}/v1/regions") as response:
        assert await response.json() == ["global"]
    await other.stop()
    await other.stop()
