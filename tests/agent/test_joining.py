"""A node that joins: it asks the members over HTTP, and gives its token to nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from volstore.agent.joining import ask_to_be_added, learn_cluster
from volstore.http.cluster_admin import NewPeer
from volstore.http.server.members import MembersClient, MemberUnreachable

PEER = NewPeer("s4", "127.0.0.1:4647", b"\x01")


@pytest.fixture
async def members() -> AsyncIterator[MembersClient]:
    client = MembersClient()
    yield client
    await client.close()


@asynccontextmanager
async def served(handle: Callable[[BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """Serve HTTP on a free port, with its address."""
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def stranger(seen: list[str]) -> AsyncIterator[str]:
    """Somebody who notes the tokens that come."""

    async def note(request: BaseRequest) -> web.Response:
        seen.append(request.headers.get("X-Nomad-Token", ""))
        return web.Response(text='{"ClusterID": "another"}')

    async with served(note) as address:
        yield address


async def test_a_token_does_not_follow_a_redirect(members: MembersClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLSTORE_TOKEN", "the-token")
    seen: list[str] = []
    asked: list[str] = []
    async with stranger(seen) as elsewhere:

        async def member(request: BaseRequest) -> web.Response:
            asked.append(f"{request.method} {request.headers['X-Nomad-Token']}")
            # The first answer sends the node elsewhere.
            if len(asked) == 1:
                return web.Response(status=307, headers={"Location": f"http://{elsewhere}{request.path}"})
            return web.Response(text='{"ClusterID": "ours"}')

        async with served(member) as address:
            assert await learn_cluster([address], members) == "ours"
            asked.clear()
            await ask_to_be_added([address], PEER, lambda: len(asked) > 1, members)
    assert asked == ["PUT the-token"] * 2
    assert seen == []


async def test_a_node_asks_one_member_after_the_other_until_it_is_added(members: MembersClient) -> None:
    bodies: list[object] = []

    async def refuse(request: BaseRequest) -> web.Response:
        return web.Response(status=503, text="No cluster leader")

    async def take(request: BaseRequest) -> web.Response:
        bodies.append(json.loads(await request.read()))
        return web.Response()

    async with served(refuse) as first, served(take) as second:
        await ask_to_be_added(["127.0.0.1:1", first, second], PEER, lambda: bool(bodies), members)
    assert bodies == [{"Address": "127.0.0.1:4647", "Incarnation": "01", "Level": 1, "Name": "s4"}]


@pytest.mark.parametrize("answer", ["", "[]", "{}", "not JSON", '"text"'])
async def test_what_is_no_member_is_not_believed(members: MembersClient, answer: str) -> None:
    asked: list[str] = []

    async def other(request: BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(text=answer)

    async def member(request: BaseRequest) -> web.Response:
        return web.Response(text='{"ClusterID": "ours"}')

    async with served(other) as first, served(member) as second:
        assert await learn_cluster([first, second], members) == "ours"
    assert asked == ["/v1/operator/raft/configuration"]


async def test_a_member_that_does_not_answer_in_time_is_called_so(members: MembersClient) -> None:
    async def silent(request: BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with served(silent) as address:
        with pytest.raises(MemberUnreachable, match=r"no answer within 0\.1 s"):
            await members.ask(address, "/", seconds=0.1)
