"""Three real agents that are killed, paused and starved: what was answered stays, and no answer comes from the past."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.bench.failover import Load
from tests.process.agents import Agent, add_plugin, agents, digests_agree, get, leader, until, volume
from tests.process.test_operations import cluster, loaded, more, ready, registered

pytestmark = pytest.mark.timeout(240)

LEADER_KILLS = 4
TOTAL_KILLS = 5


async def test_leaders_that_are_killed_take_nothing_with_them(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        async with loaded(session, nodes) as load:
            for _ in range(LEADER_KILLS):
                victim = await leader(session, nodes)
                load.dead.add(victim.name)
                victim.kill()
                await more(load, 20)
                victim.start()
                await until(partial(ready, session, victim), what="its return")
                load.dead.discard(victim.name)
                await more(load, 20)
        for node in nodes:
            assert load.acknowledged <= await registered(session, node)
        await digests_agree(session, nodes)


async def test_all_nodes_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        load = Load(session)
        for _ in range(TOTAL_KILLS):
            load.running = True
            load.dead.clear()
            tasks = [asyncio.create_task(load.write(node, number)) for node in nodes for number in range(2)]
            await more(load, 30)
            load.dead = {node.name for node in nodes}
            load.running = False
            for node in nodes:
                node.send(signal.SIGKILL)
            for node in nodes:
                node.kill()
            await asyncio.gather(*tasks)
            for node in nodes:
                node.start()
            for node in nodes:
                await until(partial(ready, session, node), what="a node's return")
                assert load.acknowledged <= await registered(session, node)
        await digests_agree(session, nodes)


async def test_a_leader_that_was_paused_answers_no_default_read_from_the_past(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        for _ in range(3):
            paused = await leader(session, nodes)
            other = next(node for node in nodes if node is not paused)
            paused.send(signal.SIGSTOP)
            try:
                name = f"written-{os.urandom(4).hex()}"
                await until(partial(_written, session, other, name), what="a write with another leader")
                # Asked while it sleeps: it reads the requests when it wakes, and still believes that it leads.
                asked = [await _ask(paused, how) for how in ("", "&consistent", "&max_stale=1ms", "") * 2]
            finally:
                paused.send(signal.SIGCONT)
            for reader, writer in asked:
                answer = (await reader.read()).decode()
                writer.close()
                assert name in answer if answer.startswith("HTTP/1.1 200 ") else answer.startswith("HTTP/1.1 503 ")
            await until(partial(ready, session, paused), what="the paused node's return")
            assert name in await registered(session, paused)


async def _ask(node: Agent, how: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A list, asked for: when this returns, the request is in the node's kernel, whether it runs or not."""
    host, port = node.http.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v1/volumes?type=csi{how} HTTP/1.1\r\nHost: {node.http}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    return reader, writer


async def _written(session: aiohttp.ClientSession, node: Agent, name: str) -> bool:
    async with session.put(f"{node.url}/v1/volume/csi/{name}", json={"Volumes": [volume(name)]}) as response:
        return response.status == 200


async def test_stale_reads_need_no_leader_and_say_how_old_they_are(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        assert await _written(session, nodes[0], "v")
        alone, *others = nodes
        await until(partial(_stale_has, session, alone, "v"), what="the write on the follower")
        for node in others:
            node.kill()

        async def cut_off() -> bool:
            async with session.get(f"{alone.url}/v1/volumes?type=csi&stale") as response:
                assert response.status == 200
                return response.headers["X-Nomad-KnownLeader"] == "false"

        await until(cut_off, what="a node that knows no leader")
        async with session.get(f"{alone.url}/v1/volumes?type=csi&stale") as response:
            assert int(response.headers["X-Nomad-LastContact"]) > 0
        for path in ("/v1/volumes?type=csi", "/v1/volumes?type=csi&stale&max_stale=1ms"):
            async with session.get(alone.url + path) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
                assert (await response.text()).startswith("No cluster leader")
        assert (await get(session, f"{alone.url}/v1/agent/health/ready"))[0] == 503
        assert (await get(session, f"{alone.url}/v1/agent/health"))[0] == 503
        assert (await get(session, f"{alone.url}/v1/agent/health/live"))[0] == 200
        async with session.get(f"{alone.url}/v1/operator/health") as response:
            words = " ".join((await response.json())["Problems"])
        assert "no node leads: 1 of 3 voters can be asked, 2 are needed" in words


async def _stale_has(session: aiohttp.ClientSession, node: Agent, name: str) -> bool:
    async with session.get(f"{node.url}/v1/volumes?type=csi&max_stale=10s") as response:
        return response.status == 200 and name in {one["ID"] for one in await response.json()}


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of that size at `place`; skips where it can't be had."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_is_a_lost_node_and_no_more(tmp_path: Path) -> None:
    with small_disk(tmp_path / "s1", "24m"), agents(tmp_path, 3) as nodes:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            for node in nodes:
                node.start()
            full = nodes[0]
            await until(partial(ready, session, full), what="the node with the small disk")
            await add_plugin(session, full.url)
            async with session.put(f"{nodes[1].url}/v1/operator/raft/transfer-leadership?id=s1") as response:
                assert response.status == 200, await response.text()
            with (tmp_path / "s1" / "filler").open("wb") as filler:
                _fill(filler.fileno())

            async def shows() -> bool:
                # In its log: it frees what room it can, and is back a moment later, until that is used up too.
                await _put_large(session, nodes[1])
                return "disk_failed" in full.output()

            await until(shows, what="the full disk to show")
            for _ in range(3):
                await until(partial(_put_large, session, nodes[2]), what="a write without the full disk")
            (tmp_path / "s1" / "filler").unlink()
            await until(partial(ready, session, full), what="the node's recovery")
            await digests_agree(session, nodes)


def _fill(descriptor: int) -> None:
    try:
        while os.write(descriptor, bytes(1 << 16)):
            pass
    except OSError:
        return


async def _put_large(session: aiohttp.ClientSession, node: Agent) -> bool:
    """A write of some size, whatever becomes of it."""
    name = os.urandom(4).hex()
    body = {"Volumes": [volume(name, Context={"filling": "x" * 60_000})]}
    async with session.put(f"{node.url}/v1/volume/csi/{name}", json=body) as response:
        return response.status == 200
