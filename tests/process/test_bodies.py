"""Hundreds of large bodies at once, from strangers and others: a real node stays within its memory, and serves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.http.json.hostile_bodies import FULL, SHAPES
from tests.process.agents import Agent, add_plugin, agents, leader, volume

AT_ONCE = 200
MOST_MIB = 400
HOSTILE = (
    "900 levels, and a key twice behind",
    "empty volumes",
    "small volumes",
    "volumes with unknown members",
    "one object of many keys",
    "a long text of escapes",
    "quotes",
    "a key twice in the last",
)


def most_resident_mib(agent: Agent) -> float:
    """The most that it ever was."""
    assert agent.process is not None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{agent.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def attack(agent: Agent, body: bytes, path: str = "/v1/volume/csi/x") -> int:
    """The status of the answer; 0 where the connection was closed before it could be read."""
    url = urlsplit(agent.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode())
        writer.write(body)
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.transport.abort()


async def beside(session: aiohttp.ClientSession, agent: Agent, work: Sequence[asyncio.Task[int]]) -> int:
    """How many registers of another client were answered while `work` went on; each must be."""
    answered = 0
    while not all(one.done() for one in work):
        body = json.dumps({"Volumes": [volume(f"v{answered % 100}")]})
        async with session.put(f"{agent.url}/v1/volume/csi/v{answered % 100}", data=body) as response:
            assert response.status == 200, await response.text()
        answered += 1
    return answered


@pytest.mark.parametrize("shape", HOSTILE)
async def test_no_shape_of_body_sent_200_times_at_once_stops_or_swells_a_node(tmp_path: Path, shape: str) -> None:
    with agents(tmp_path, 1) as (agent,):
        agent.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
            await leader(session, [agent])
            await add_plugin(session, agent.url)
            body = SHAPES[shape](FULL)
            work = [asyncio.create_task(attack(agent, body)) for _ in range(AT_ONCE)]
            answered = await beside(session, agent, work)
        statuses = {one.result() for one in work}
        assert statuses <= {400, 413, 503, 0}, statuses
        assert statuses & {400, 503}
        assert answered > 0
        assert most_resident_mib(agent) < MOST_MIB
        assert agent.process is not None
        assert agent.process.poll() is None


async def test_a_thousand_unfinished_bodies_hold_no_more_than_the_budget(tmp_path: Path) -> None:
    with agents(tmp_path, 1) as (agent,):
        agent.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
            await leader(session, [agent])
            await add_plugin(session, agent.url)
            url, writers = urlsplit(agent.url), []
            for _ in range(1000):
                _, writer = await asyncio.open_connection(url.hostname, url.port)
                writer.write(b"PUT /v1/volume/csi/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % FULL)
                writer.write(b" " * (FULL // 16))
                writers.append(writer)
            body = json.dumps({"Volumes": [volume("small")]})
            async with session.put(f"{agent.url}/v1/volume/csi/small", data=body) as response:
                assert response.status == 200, await response.text()
            assert most_resident_mib(agent) < MOST_MIB
            for writer in writers:
                writer.transport.abort()
