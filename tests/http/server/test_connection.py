"""What `connection.py` knows of aiohttp's inside is so: this fails when an upgrade of aiohttp changes it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from tests.process.agents import until
from volstore.http.server.admission import Admission, Ticket
from volstore.http.server.bodies import Turns
from volstore.http.server.connection import Connection
from volstore.http.server.settings import HttpSettings


async def test_what_is_private_in_aiohttp_means_what_it_did() -> None:
    handling, go_on = asyncio.Event(), asyncio.Event()

    async def handle(_request: Any) -> web.Response:
        handling.set()
        await go_on.wait()
        return web.Response()

    server, admission, connections = web.Server(handle), Admission(10, None), list[Connection]()
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        ticket = admission.admit("127.0.0.1")
        assert isinstance(ticket, Ticket)
        connections.append(Connection(server, ticket, HttpSettings(), Turns(), loop=loop))
        return connections[-1]

    listening = await loop.create_server(connection, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    await until(lambda: connections)
    (ours,) = connections
    assert (ours.heads_read, ours.waits_for_head, ours.is_closing) == (0, True, False)

    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(head[:10])
    await until(lambda: ours._head_bytes == 10)
    assert (ours.heads_read, ours.waits_for_head) == (0, True)
    writer.write(head[10:])
    await handling.wait()
    assert (ours.heads_read, ours.waits_for_head, ours._head_bytes) == (1, False, 0)

    go_on.set()
    await until(lambda: ours.waits_for_head)
    assert ours.heads_read == 1
    writer.write(head)
    await until(lambda: ours.heads_read == 2 and ours.waits_for_head)

    ours.close()
    assert ours.is_closing
    ours.data_received(head)
    assert ours.heads_read == 2
    writer.close()
    listening.close()
    await server.shutdown()
    await until(lambda: admission.connections == 0)
