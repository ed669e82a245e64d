"""Who leads is who says so in the latest term; who doesn't answer leads nobody."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from tests.process.agents import until
from volstore.drill.exchange import Exchange
from volstore.drill.leaders import Leaders
from volstore.drill.record import Event
from volstore.drill.target import Access, TargetNode


@dataclass
class Said:
    """What a node says of itself; `role` "" : nothing, it hangs up."""

    role: str
    term: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if self.role:
            body = json.dumps({"role": self.role, "term": self.term}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()


async def test_leaders_come_and_go_as_the_nodes_say() -> None:
    said = {"s1": Said("leader", 3), "s2": Said("follower", 3)}
    events: list[Event] = []
    exchange, ended = Exchange(Access()), asyncio.Event()
    leaders = Leaders(lambda: 1.5, events.append)
    servers = {name: await asyncio.start_server(one.serve, "127.0.0.1", 0) for name, one in said.items()}
    nodes = [TargetNode(n, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") for n, server in servers.items()]
    following = [asyncio.create_task(leaders.follow(node, exchange, ended)) for node in nodes]
    try:
        await until(lambda: events == [Event(1.5, "leader", "s1 leads, term 3", "s1")], what="the first leader")
        # s1 has not heard yet that it is none any more.
        said["s2"].role, said["s2"].term = "leader", 4
        await until(lambda: events[1:] == [Event(1.5, "leader", "s2 leads, term 4", "s2")], what="the second leader")
        said["s1"].role, said["s2"].role = "follower", ""
        # That s1 follows now may be heard later than that s2 is gone: then s1 is taken for the leader once more.
        await until(
            lambda: events[-1] == Event(1.5, "leader", "no node says that it leads", None), what="nobody leading"
        )
    finally:
        ended.set()
        await asyncio.gather(*following)
        await exchange.close()
        for server in servers.values():
            server.close()
