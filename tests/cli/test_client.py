"""The client: whom it asks and as whom, and what it makes of every kind of failure."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme
from aiohttp import web

from tests.cli.recorded import RecordedServer
from volstore.client import (
    BadAddress,
    BadAnswer,
    Client,
    Connection,
    HttpError,
    Unreachable,
    from_environment,
    segment,
)


def test_our_variables_beat_nomads_and_flags_beat_both() -> None:
    environ = {
        "VOLSTORE_ADDR": "http://ours:1",
        "NOMAD_ADDR": "http://theirs:1",
        "NOMAD_TOKEN": "theirs",
        "VOLSTORE_NAMESPACE": "",
        "NOMAD_NAMESPACE": "theirs",
        "VOLSTORE_REGION": "ours",
        "NOMAD_CACERT": "ca.pem",
    }
    connection = from_environment(environ, {"region": "flag", "token": None})
    assert connection == Connection("http://ours:1", "theirs", "theirs", "flag", cacert="ca.pem")


def test_without_anything_the_agent_on_this_machine_is_asked() -> None:
    assert from_environment({}, {}).address == "http://127.0.0.1:4646"


def test_a_connection_does_not_show_its_token() -> None:
    assert "hunter2" not in repr(Connection(token="hunter2"))


async def test_token_namespace_and_region_go_along(server: RecordedServer) -> None:
    server.will_answer("GET", "/v1/volumes?namespace=a%2Fb&region=eu&type=csi", json=[])
    client = Client(Connection(server.url, token="t", namespace="a/b", region="eu"))

    assert await asyncio.to_thread(client.get, "/v1/volumes", type="csi", prefix="") == []
    assert server.asked[0].headers["X-Nomad-Token"] == "t"


async def test_an_address_needs_no_scheme(server: RecordedServer) -> None:
    server.will_answer("GET", "/v1/regions", json=["global"])
    client = Client(Connection(server.url.removeprefix("http://")))
    assert await asyncio.to_thread(client.get, "/v1/regions") == ["global"]


@pytest.mark.parametrize(
    "address",
    ["ftp://h", "http://", "http://h:x", "http://h:99999", "http://h/path", "http://u@h", "http://h?x=1", "[::1"],
)
def test_an_address_that_is_none_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(BadAddress, match="bad address"):
        Client(Connection(address))


async def test_a_refusal_has_status_and_text(server: RecordedServer) -> None:
    server.will_answer("DELETE", "/v1/volume/csi/v", status=409, text="volume in use: v\n")
    with pytest.raises(HttpError, match=re.escape("volume in use: v (409)")) as caught:
        await asyncio.to_thread(Client(Connection(server.url)).delete, "/v1/volume/csi/v")
    assert (caught.value.status, caught.value.text) == (409, "volume in use: v")


async def test_an_answer_without_a_body_is_nothing(server: RecordedServer) -> None:
    server.will_answer("PUT", "/v1/volume/csi/v", text="")
    assert await asyncio.to_thread(Client(Connection(server.url)).put, "/v1/volume/csi/v", {}) is None


async def test_an_answer_that_is_not_json_is_told(server: RecordedServer) -> None:
    server.will_answer("GET", "/v1/volumes", text="<html>")
    with pytest.raises(BadAnswer, match="is it volstore"):
        await asyncio.to_thread(Client(Connection(server.url)).get, "/v1/volumes")


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"can't reach http://127\.0\.0\.1:{port}: Connection refused"):
        Client(Connection(f"http://127.0.0.1:{port}")).get("/v1/volumes")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def against(serve: Serve, patience: float, method: str) -> None:
    """Sends one request to a server that does as `serve` says."""
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(Connection(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"), timeout=patience)
    async with listening:
        await asyncio.to_thread(client.request, method, "/v1/volumes", {})


async def test_a_server_that_is_silent_is_told_and_so_is_that_a_write_may_count() -> None:
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    with pytest.raises(Unreachable, match=r"did not answer within 0\.05s$"):
        await against(silent, 0.05, "GET")
    with pytest.raises(Unreachable, match=r"did not answer within 0\.05s; the request may still take effect"):
        await against(silent, 0.05, "PUT")
    done.set()


async def test_an_answer_that_breaks_off_is_told() -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        writer.close()

    with pytest.raises(Unreachable, match="broke off the answer"):
        await against(broken, 5.0, "GET")


async def test_a_token_that_http_cannot_carry_is_refused_without_showing_it(server: RecordedServer) -> None:
    client = Client(Connection(server.url, token="hunter2\n"))
    with pytest.raises(BadAddress) as caught:
        await asyncio.to_thread(client.get, "/v1/volumes")
    assert "hunter2" not in str(caught.value)


async def test_https_takes_certificates_that_the_authority_signed() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=None)
    authority.issue_cert("volstore.example").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path("ca.pem")
    ours = authority.issue_cert("client.example")
    ours.private_key_and_cert_chain_pem.write_to_path("client.pem")

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response("ok")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening, ssl_context=context).start()
    address = f"https://127.0.0.1:{listening.getsockname()[1]}"
    try:
        good = Connection(address, cacert="ca.pem", client_cert="client.pem", tls_server_name="volstore.example")
        assert await asyncio.to_thread(Client(good).get, "/v1/x") == "ok"
        unnamed = Connection(address, cacert="ca.pem", client_cert="client.pem")
        with pytest.raises(Unreachable):  # the certificate is for another name than 127.0.0.1
            await asyncio.to_thread(Client(unnamed).get, "/v1/x")
    finally:
        await runner.cleanup()


def test_certificate_files_that_are_not_there_are_told() -> None:
    with pytest.raises(BadAddress, match="can't use the certificate files"):
        Client(Connection("https://127.0.0.1:1", cacert="nowhere.pem")).get("/v1/x")


def test_an_id_is_one_segment_of_a_path() -> None:
    assert segment("a/b c?é") == "a%2Fb%20c%3F%C3%A9"
