"""Heartbeats of client nodes on real agents: they count wherever they arrive, and a new leader is patient."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.agents import Agent, agents, get, leader, until

QUICK = ("--min-heartbeat-ttl", "300ms", "--heartbeat-grace", "3s")
REPORT = {"Name": "n", "Status": "ready", "CSINodePlugins": {"p": {"Healthy": True, "Provider": "ebs"}}}
VOLUME = {
    "ID": "v",
    "ExternalID": "v",
    "PluginID": "p",
    "AccessMode": "single-node-writer",
    "AttachmentMode": "file-system",
}


async def put(session: aiohttp.ClientSession, url: str, body: Any = None) -> tuple[int, Any]:
    async with session.put(url, json=body) as response:
        text = await response.text()
        return response.status, await response.json() if response.content_type == "application/json" else text


async def state_of(session: aiohttp.ClientSession, agent: Agent, node_id: str) -> tuple[str, int]:
    """Status and ModifyIndex."""
    status, found = await get(session, f"{agent.url}/v1/node/{node_id}")
    assert status == 200, found
    return found["Status"], found["ModifyIndex"]


async def beat(session: aiohttp.ClientSession, agent: Agent, node_id: str, stop: asyncio.Event) -> int:
    """Heartbeats as often as the answers want them, until told to stop; how many there were."""
    count = 0
    while not stop.is_set():
        status, answer = await put(session, f"{agent.url}/v1/node/{node_id}/heartbeat")
        assert status == 200, answer
        count += 1
        try:
            async with asyncio.timeout(answer["HeartbeatTTL"] / 1e9):
                await stop.wait()
        except TimeoutError:
            continue
    return count


async def falls_silent(session: aiohttp.ClientSession, agent: Agent, node_id: str) -> None:
    """Be heard once, and then no more, until called down.

    On a busy machine the leader may change or be paused meanwhile, and is patient again: then be heard once more.
    """
    loop = asyncio.get_running_loop()
    heard = -math.inf

    async def is_down() -> bool:
        nonlocal heard
        if loop.time() - heard > 10:
            assert (await put(session, f"{agent.url}/v1/node/{node_id}/heartbeat"))[0] == 200
            heard = loop.time()
        return (await state_of(session, agent, node_id))[0] == "down"

    await until(is_down, seconds=60, what=f"{node_id}, silent and down")


@pytest.mark.timeout(120)
async def test_heartbeats_through_any_member_keep_a_node_and_silence_takes_it_down(tmp_path: Path) -> None:
    with agents(tmp_path, 3, *QUICK) as nodes:
        for agent in nodes:
            agent.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=100)) as session:
            led = await leader(session, nodes)
            one, other = [agent for agent in nodes if agent is not led]
            for id in ("heard", "silent"):
                await until(partial(reported, session, one, id))
            assert (await put(session, f"{one.url}/v1/volume/csi/v", {"Volumes": [VOLUME]}))[0] == 200
            before = [await state_of(session, other, id) for id in ("heard", "silent")]
            stop = asyncio.Event()
            beating = asyncio.create_task(beat(session, one, "heard", stop))

            _, volume = await get(session, f"{other.url}/v1/volume/csi/v")
            assert volume["NodesHealthy"] == 2
            waiting = f"{other.url}/v1/volume/csi/v?index={volume['ModifyIndex']}&wait=90s"
            watching = asyncio.create_task(get(session, waiting))
            await falls_silent(session, led, "silent")
            _, volume = await watching
            assert (volume["NodesHealthy"], volume["NodesExpected"]) == (1, 2)

            after = [await state_of(session, other, id) for id in ("heard", "silent")]
            assert after[0] == before[0] == ("ready", before[0][1])
            assert after[1][0] == "down"
            # One command took the silent node down; no heartbeat was one.
            assert after[1][1] == volume_index(before) + 2
            status, answer = await put(session, f"{other.url}/v1/node/silent/heartbeat")
            assert (status, answer["NodeModifyIndex"]) == (200, after[1][1] + 1)
            assert (await state_of(session, led, "silent"))[0] == "ready"
            stop.set()
            assert await beating > 1


def volume_index(before: list[tuple[str, int]]) -> int:
    """The index of the last node's report; the volume was registered at the next."""
    return max(index for _, index in before)


async def reported(session: aiohttp.ClientSession, agent: Agent, node_id: str) -> bool:
    return (await put(session, f"{agent.url}/v1/node/{node_id}", REPORT))[0] == 200


@pytest.mark.timeout(120)
async def test_a_new_leader_is_patient_and_hears_who_comes(tmp_path: Path) -> None:
    with agents(tmp_path, 3, *QUICK) as nodes:
        for agent in nodes:
            agent.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=100)) as session:
            led = await leader(session, nodes)
            for id in ("heard", "silent", "comes"):
                await until(partial(reported, session, led, id))
            led.kill()

            async def follows() -> Agent | None:
                found = await leader(session, nodes)
                return None if found is led else found

            new = await until(follows, what="another leader")
            other = next(agent for agent in nodes if agent not in (led, new))
            # It goes down, while those that the new leader hasn't heard yet have their five minutes.
            await falls_silent(session, other, "heard")
            assert (await state_of(session, new, "silent"))[0] == "ready"
            assert (await put(session, f"{new.url}/v1/node/comes/heartbeat"))[0] == 200
