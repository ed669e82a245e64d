"""Members that are replaced in turn under their old names: who lags behind mustn't end who is well by its old view."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

import aiohttp

from tests.process.agents import Agent, add_plugin, agents, until, volume
from tests.process.test_operations import members, ready

_ENTRIES, _WRITERS = 2500, 4
_PADDING = "x" * 4000
"""A log that takes a new disk seconds to catch up with, long enough for everybody to meet it meanwhile."""


async def _fill(session: aiohttp.ClientSession, nodes: list[Agent]) -> None:
    async def write(start: int) -> None:
        for number in range(start, _ENTRIES, _WRITERS):
            body = {"Volumes": [volume(f"v{number % 40}", Parameters={"padding": _PADDING, "n": str(number)})]}
            url = f"{nodes[number % len(nodes)].url}/v1/volume/csi/v{number % 40}"
            async with session.put(url, json=body) as response:
                assert response.status == 200, await response.text()

    await asyncio.gather(*(write(start) for start in range(_WRITERS)))


async def _replace(session: aiohttp.ClientSession, lost: Agent, others: list[Agent]) -> None:
    """A lost disk, as deploy/README.md has it: the same name again."""
    lost.kill()
    shutil.rmtree(lost.folder / lost.name)
    said: list[str] = []

    async def removed() -> bool:
        async with session.delete(f"{others[0].url}/v1/operator/raft/peer?id={lost.name}") as response:
            said.append(await response.text())
            return response.status == 200

    try:
        await until(removed)
    except AssertionError:
        raise AssertionError(f"the old disk of {lost.name} can't be removed: {said[-1]}") from None
    lost.flags, lost.servers = [flag for other in others for flag in ("--join", other.http)], []
    lost.start()

    async def votes() -> bool:
        for other in others:
            found = (await members(session, other)).get(lost.name)
            if found is None or not found["Voter"]:
                return False
        return await ready(session, lost)

    await until(votes, seconds=60, what=f"the vote of {lost.name}'s new disk")


async def test_every_member_is_replaced_in_turn_and_nobody_ends_itself(tmp_path: Path) -> None:
    with agents(tmp_path, 3) as nodes:
        async with aiohttp.ClientSession() as session:
            for node in nodes:
                node.start()
            for node in nodes:
                await until(partial(ready, session, node), what=f"{node.name}'s start")
            await add_plugin(session, nodes[0].url)
            await _fill(session, nodes)
            for lost in (nodes[1], nodes[2], nodes[0]):
                others = [node for node in nodes if node is not lost]
                await _replace(session, lost, others)
                for node in nodes:
                    assert node.process is not None
                    assert node.process.poll() is None, f"{node.name} ended: {node.output()[-800:]}"
                    await until(partial(ready, session, node), what=f"{node.name} to be well")
