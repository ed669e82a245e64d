"""kill -9 of real agents under load: what was answered is there afterwards, and was applied once."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import Agent, add_plugin, agents, get, leader, until, volume

KILLS = 100


class Writer:
    """Registers volumes of its own, one after the other, and remembers which registers were answered."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self.session = session
        self.name = name
        self.count = 0
        self.acknowledged: dict[str, int] = {}
        self.unknown: set[str] = set()

    async def write(self, url: str) -> None:
        """Until the connection breaks."""
        while True:
            volume_id = f"{self.name}-{self.count}"
            self.count += 1
            try:
                body = {"Volumes": [volume(volume_id)]}
                async with self.session.put(f"{url}/v1/volume/csi/{volume_id}", json=body) as response:
                    if response.status == 200:
                        index = int(response.headers["X-Nomad-Index"])
                        answered = (await response.json())["Volumes"][0]
                        assert (answered["CreateIndex"], answered["ModifyIndex"]) == (index, index)
                        self.acknowledged[volume_id] = index
                    else:
                        assert response.status == 503, await response.text()
                        self.unknown.add(volume_id)
            except (aiohttp.ClientError, ConnectionError):
                self.unknown.add(volume_id)
                return


def _acknowledged(writers: list[Writer], count: int) -> bool:
    return sum(len(writer.acknowledged) for writer in writers) >= count


async def registered(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    status, volumes = await get(session, f"{url}/v1/volumes?type=csi")
    assert status == 200
    return {one["ID"]: one["CreateIndex"] for one in volumes}


@pytest.mark.timeout(300)
async def test_a_hundred_kills_of_one_node_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    chance = random.Random(7)
    with agents(tmp_path, 1) as (node,):
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            node.start()
            await add_plugin(session, node.url)
            writers = [Writer(session, f"w{n}") for n in range(4)]
            for _ in range(KILLS):
                await _ready(session, node)
                tasks = [asyncio.create_task(writer.write(node.url)) for writer in writers]
                before = sum(len(writer.acknowledged) for writer in writers)
                enough = before + chance.randrange(1, 60)
                await until(partial(_acknowledged, writers, enough))
                node.kill()
                await asyncio.gather(*tasks)
                node.start()
            await _ready(session, node)
            found = await registered(session, node.url)
        acknowledged = {k: v for writer in writers for k, v in writer.acknowledged.items()}
        assert len(acknowledged) > KILLS
        # There, and created by the command that was answered: a second application would have another index.
        assert {volume_id: found.get(volume_id) for volume_id in acknowledged} == acknowledged
        assert set(found) - set(acknowledged) <= {v for writer in writers for v in writer.unknown}


async def _ready(session: aiohttp.ClientSession, node: Agent) -> None:
    await leader(session, [node])
