"""The story of three real Nomad servers, told again by three real agents."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import agents, leader, until
from tests.process.test_operations import ready
from tests.replay import Replay, Step


@pytest.mark.timeout(120)
async def test_the_cluster_story_goes_as_recorded(tmp_path: Path) -> None:
    with agents(tmp_path, 3) as nodes:

        async def kill(_replay: Replay, _session: aiohttp.ClientSession, step: Step) -> None:
            for place in step["servers"]:
                nodes[place].kill()
            # The one that is left may have led; the story goes on when it has noticed.
            async with aiohttp.ClientSession() as session:

                async def alone() -> bool:
                    return not await ready(session, nodes[2])

                await until(alone, what="a node that knows no leader")

        async def lead(_replay: Replay, session: aiohttp.ClientSession, step: Step) -> None:
            chosen = nodes[step["server"]]
            url = f"{nodes[0].url}/v1/operator/raft/transfer-leadership?id={chosen.name}"
            async with session.put(url) as response:
                assert response.status == 200, await response.text()

        async with aiohttp.ClientSession() as session:
            for node in nodes:
                node.start()
            await leader(session, nodes)
            for node in nodes:
                await until(partial(ready, session, node), what=f"{node.name}")
        replay = Replay([node.url for node in nodes], others={"kill": kill, "leader": lead})
        assert await replay.file("cluster.jsonl") == []
        assert replay.comparison.compared > 40
