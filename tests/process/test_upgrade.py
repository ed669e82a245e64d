"""Two builds of the tree in one cluster: what each may say, who may join, and how far there is a way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import Agent, add_plugin, agents, get, leader, until, volume
from tests.process.builds import build_before, next_build, this_build
from tests.process.test_operations import joining, loaded, members, more, quiet, ready, registered
from volstore.backup.archive import unpack
from volstore.core.levels import LEVEL
from volstore.core.snapshot import level_of

pytestmark = pytest.mark.timeout(180)

OFTEN = ("--snapshot-threshold", "64", "--snapshot-trailing-entries", "16")
"""Snapshots pass between builds as well as entries."""


@asynccontextmanager
async def cluster(folder: Path, tree: Path, count: int) -> AsyncIterator[tuple[list[Agent], aiohttp.ClientSession]]:
    """Nodes of one build that run, one of which leads; what is appended to the list ends with them."""
    timeout = aiohttp.ClientTimeout(total=20)
    with agents(folder, count, *OFTEN) as nodes:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            for node in nodes:
                node.tree = tree
                node.start()
            await leader(session, nodes)
            await add_plugin(session, nodes[0].url)
            yield nodes, session


async def turned(session: aiohttp.ClientSession, node: Agent, tree: Path) -> None:
    """Stop `node`, and start it again as another build."""
    assert await asyncio.to_thread(node.stop) == 0
    node.tree = tree
    node.start()
    await until(partial(ready, session, node), what=f"{node.name}'s return")


async def joined(session: aiohttp.ClientSession, nodes: list[Agent], tree: Path, name: str) -> Agent:
    """A new node of this build, started; the first one adds it, if it may."""
    node = joining(nodes[0].folder, name, nodes[0].http)
    node.flags += OFTEN
    node.tree = tree
    nodes.append(node)
    node.start()
    return node


async def describe(session: aiohttp.ClientSession, node: Agent, text: str) -> tuple[int, str, str]:
    """Say what only the next build can say: status, text, Retry-After."""
    async with session.put(f"{node.url}/v1/namespace/default", json={"Description": text}) as response:
        return response.status, await response.text(), response.headers.get("Retry-After", "")


async def described(session: aiohttp.ClientSession, node: Agent) -> str:
    status, namespace = await get(session, f"{node.url}/v1/namespace/default")
    assert status == 200
    return str(namespace["Description"])


async def ends(node: Agent) -> str:
    """Wait until `node` has stopped by itself, for a defect or a refusal; what it said."""
    assert node.process is not None
    assert await asyncio.to_thread(node.process.wait, 30) == 1
    return node.output()


async def test_a_rolling_upgrade_fails_no_request_and_its_last_step_brings_what_is_new(tmp_path: Path) -> None:
    old, new = this_build(tmp_path), next_build(tmp_path)
    async with cluster(tmp_path, old, 3) as (nodes, session):
        async with loaded(session, nodes) as load:
            for node in (nodes[0], nodes[0], *nodes):  # the first one goes back once: nothing new was used yet
                await quiet(load, node)
                await turned(session, node, new if node.tree == old else old)
                load.dead.discard(node.name)
                await more(load, 40)
                if node.tree == new and (behind := [one for one in nodes if one.tree == old]):
                    status, text, retry_after = await describe(session, node, "not yet")
                    assert (status, bool(retry_after)) == (503, True), text
                    assert f"'{behind[0].name}'" in text
                    assert "upgrade it" in text
            for node in nodes:
                assert (await describe(session, node, f"by {node.name}"))[0] == 200
        assert load.failed == []
        for node in nodes:
            assert load.acknowledged <= await registered(session, node)
            assert await described(session, node) == "by s3"

        # There is no way back now, and the node that tries says so and loses nothing.
        back = nodes[1]
        assert await asyncio.to_thread(back.stop) == 0
        back.tree = old
        back.start()
        assert f"feature level {LEVEL + 1}, and this version of volstore is at {LEVEL}" in (said := await ends(back))
        assert "upgrade this node" in said
        back.tree = new
        back.start()
        await until(partial(ready, session, back), what="its return")
        assert load.acknowledged <= await registered(session, back)


async def test_either_build_joins_a_cluster_of_the_other_until_that_used_what_is_new(tmp_path: Path) -> None:
    old, new = this_build(tmp_path), next_build(tmp_path)
    async with cluster(tmp_path, old, 1) as (nodes, session):
        first = nodes[0]
        for number in range(100):
            body = {"Volumes": [volume(f"v{number}")]}
            async with session.put(f"{first.url}/v1/volume/csi/v{number}", json=body) as response:
                assert response.status == 200

        newer = await joined(session, nodes, new, "s2")
        await until(partial(ready, session, newer), what="the newer one's vote")
        assert len(await registered(session, newer)) == 100
        status, text, _ = await describe(session, newer, "not yet")
        assert (status, "'s1'" in text) == (503, True), text

        await turned(session, first, new)
        older = await joined(session, nodes, old, "s3")
        await until(partial(ready, session, older), what="the older one's vote")
        assert len(await registered(session, older)) == 100
        for node in (first, newer):
            status, text, _ = await describe(session, node, "not yet")
            assert (status, "'s3'" in text) == (503, True), text

        # Away it counts as what it was; removed it doesn't count.
        assert await asyncio.to_thread(older.stop) == 0
        status, text, _ = await describe(session, newer, "not yet")
        assert (status, "'s3'" in text) == (503, True), text
        async with session.delete(f"{first.url}/v1/operator/raft/peer?id=s3") as response:
            assert response.status == 200, await response.text()
        assert (await describe(session, newer, "now"))[0] == 200
        assert await described(session, first) == "now"

        late = await joined(session, nodes, old, "s4")
        await until(lambda: "upgrade 's4' first" in late.output(), what="the refusal of an older build")
        assert set(await members(session, first)) == {"s1", "s2"}


async def test_claims_go_on_beside_a_member_of_the_level_before_and_stay_in_their_namespace(tmp_path: Path) -> None:
    old, new = build_before(tmp_path), this_build(tmp_path)
    async with cluster(tmp_path, old, 3) as (nodes, session):
        for node in nodes[1:]:
            await turned(session, node, new)

        async def put(node: Agent, path: str, body: object) -> tuple[int, str]:
            async with session.put(f"{node.url}{path}", json=body) as response:
                return response.status, await response.text()

        assert (await put(nodes[1], "/v1/volume/csi/v", {"Volumes": [volume("v")]}))[0] == 200
        for id, namespace in (("here", "default"), ("there", "other")):
            stub = {"NodeID": "n", "JobID": "j", "ClientStatus": "running", "DesiredStatus": "run"}
            assert (await put(nodes[0], f"/v1/allocation/{id}?namespace={namespace}", stub))[0] == 200

        async def claims(level: int) -> None:
            await add_plugin(session, nodes[1].url)  # its node may have been silent for too long
            for node in nodes:
                for mode in ("write", "release"):
                    status, text = await put(node, "/v1/volume/csi/v/claim", {"AllocationID": "here", "Mode": mode})
                    assert status == 200, (node.name, text)
                answers = [
                    await put(node, "/v1/volume/csi/v/claim", {"AllocationID": id, "Mode": mode})
                    for id, mode in (("there", "read"), ("here", "release"))
                ]
                assert [status for status, _ in answers] == [404, 404], (node.name, answers)
                async with session.get(f"{node.url}/v1/operator/snapshot") as saved:
                    assert level_of_backup(await saved.read()) == level

        await claims(1)
        await turned(session, nodes[0], new)
        await claims(2)


def level_of_backup(packed: bytes) -> int:
    return level_of(unpack(packed)[1])
