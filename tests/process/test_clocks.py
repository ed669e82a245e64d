"""Real nodes whose wall clocks are ten years wrong (libfaketime); and a cluster whose time an old build led astray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import PLUGIN, Agent, agents, leader, until, volume
from tests.process.builds import build_before
from tests.process.test_operations import ready
from tests.process.test_removed_token import Client, bootstrapped
from volstore.drill import faults_clock

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(faults_clock.library() is None, reason="there is no libfaketime"),
]

YEARS = 10 * 365 * 86_400


@asynccontextmanager
async def cluster(folder: Path, tree: Path | None = None) -> AsyncIterator[tuple[list[Agent], Client]]:
    """Three nodes whose clocks can be moved, with access control."""
    with agents(folder, 3, "--acl-enabled") as nodes:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            for node in nodes:
                set_clock(node, 0)
                node.environment = faults_clock.environment(clock_file(node))
                node.tree = tree
                node.start()
            await leader(session, nodes)
            management = await bootstrapped(session, nodes[0].url)
            plugins = {PLUGIN: {"PluginID": PLUGIN, "Healthy": True, "Provider": "ebs"}}
            report = {"Name": "n1", "Status": "ready", "CSINodePlugins": plugins}
            await management.put(f"{nodes[0].url}/v1/node/00000001-1111-2222-3333-000000000001", report)
            yield nodes, management


def clock_file(node: Agent) -> Path:
    return node.folder / f"{node.name}.clock"


def set_clock(node: Agent, ahead: int) -> None:
    clock_file(node).write_text(f"{ahead:+d}\n")


async def jumped(node: Agent, client: Client, ahead: int) -> None:
    """Return once the node shows it."""

    async def shows() -> bool:
        status, text = await client.do("GET", f"{node.url}/v1/metrics")
        assert status == 200, text
        shown = datetime.strptime(text.split('"Timestamp":"')[1][:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return abs(shown.timestamp() - time.time() - ahead) < 10

    set_clock(node, ahead)
    await until(shows, what=f"a clock {ahead} s ahead on {node.name}")


async def measured(nodes: list[Agent]) -> None:
    await until(lambda: any("measured_time_began" in node.output() for node in nodes), what="measured time")


async def write(client: Client, node: Agent, name: str, key: str) -> str:
    """Register volume v with this in its context; the index that the answer has."""
    headers = {**client.headers, "Idempotency-Key": key}
    body = {"Volumes": [{**volume("v"), "Context": {"name": name}}]}
    async with client._session.put(f"{node.url}/v1/volume/csi/v", json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        return response.headers["X-Nomad-Index"]


async def make_token(client: Client, node: Agent, ttl: str) -> tuple[Client, float]:
    """One that may do everything; and in how many seconds it ends, as its ExpirationTime has it."""
    body = {"Name": ttl, "Type": "management", "ExpirationTTL": ttl}
    made = await client.put(f"{node.url}/v1/acl/token", body)
    ends = datetime.fromisoformat(made["ExpirationTime"][:19] + "+00:00").timestamp() - time.time()
    return Client(client._session, made["SecretID"]), ends


async def works(client: Client, nodes: list[Agent]) -> set[int]:
    return {(await client.do("GET", f"{node.url}/v1/acl/token/self"))[0] for node in nodes}


@pytest.mark.parametrize("ahead", [YEARS, -YEARS], ids=["ahead", "behind"])
@pytest.mark.parametrize("whose", ["follower", "leader", "all"])
async def test_a_clock_that_is_ten_years_wrong_ends_nothing_and_prolongs_nothing(
    tmp_path: Path, whose: str, ahead: int
) -> None:
    async with cluster(tmp_path) as (nodes, management):
        await measured(nodes)
        leading = await leader(management._session, nodes)
        others = [node for node in nodes if node is not leading]
        wrong = {"follower": others[:1], "leader": [leading], "all": nodes}[whose]
        hour, _ = await make_token(management, leading, "1h")
        first = await write(management, leading, "A", "key")
        for node in wrong:
            await jumped(node, management, ahead)
        await write(management, wrong[0], "B", "another key")
        brief, _ = await make_token(management, wrong[0], "6s")
        assert await works(brief, nodes) == {200}
        assert await works(hour, nodes) == {200}
        assert await write(management, others[0], "A", "key") == first
        for node in wrong:
            await jumped(node, management, 0)
        assert await write(management, leading, "A", "key") == first
        assert await works(hour, nodes) == {200}
        _, ends = await make_token(management, leading, "1m")
        assert 50 < ends <= 61

        async def ended() -> bool:
            return await works(brief, nodes) == {403}

        await until(ended, what="the end of a token of 6 s")


async def test_an_upgrade_heals_a_cluster_whose_time_is_in_the_future(tmp_path: Path) -> None:
    async with cluster(tmp_path, build_before(tmp_path)) as (nodes, management):
        leading = await leader(management._session, nodes)
        wrong = next(node for node in nodes if node is not leading)
        await jumped(wrong, management, YEARS)
        await write(management, wrong, "A", "in the future")
        await jumped(wrong, management, 0)
        brief, ends = await make_token(management, leading, "8s")
        assert ends > YEARS / 2, "the old build isn't poisoned: this test shows nothing"
        first = await write(management, leading, "B", "key")
        for node in nodes:
            assert await asyncio.to_thread(node.stop) == 0
            node.tree = None
            node.start()
            await until(partial(ready, management._session, node), what=f"{node.name} upgraded")
        await measured(nodes)
        assert await write(management, nodes[0], "B", "key") == first

        async def ended() -> bool:
            return await works(brief, nodes) == {403}

        await until(ended, what="the end of a token of 8 s")
        _, ends = await make_token(management, nodes[0], "1m")
        assert 50 < ends <= 61
