"""What operators do to real agents that serve meanwhile: restart, replace, back up, restore, recover."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster.storage.disk import RealDisk
from tests.bench.failover import Load
from tests.process.agents import Agent, add_plugin, agents, free_ports, get, leader, until, volume
from volstore.agent import offline
from volstore.core.snapshot import Reader

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def cluster(folder: Path, *flags: str) -> AsyncIterator[tuple[list[Agent], aiohttp.ClientSession]]:
    """Three nodes that run, one of which leads, and a plugin to register volumes with."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=20)
    with agents(folder, 3, *flags) as nodes:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            for node in nodes:
                node.start()
            await leader(session, nodes)
            await add_plugin(session, nodes[0].url)
            yield nodes, session


@asynccontextmanager
async def loaded(session: aiohttp.ClientSession, nodes: list[Agent]) -> AsyncIterator[Load]:
    """Two writers on each node, which leave nodes in `dead` alone; all have ended afterwards."""
    load = Load(session)
    tasks = [asyncio.create_task(load.write(node, number)) for node in nodes for number in range(2)]
    try:
        await more(load, 20)
        yield load
        await more(load, 20)
    finally:
        load.running = False
        await asyncio.gather(*tasks)


async def more(load: Load, count: int) -> None:
    enough = len(load.successes) + count
    await until(lambda: len(load.successes) >= enough, what="writes")


async def quiet(load: Load, node: Agent) -> None:
    """Nobody writes to `node` any more: what was under way there has been answered."""
    load.dead.add(node.name)
    await until(lambda: load.under_way[node.name] == 0, what=f"the last writes on {node.name}")


async def ready(session: aiohttp.ClientSession, node: Agent) -> bool:
    try:
        return (await get(session, f"{node.url}/v1/agent/health/ready"))[0] == 200
    except aiohttp.ClientError:
        return False


async def registered(session: aiohttp.ClientSession, node: Agent) -> set[str]:
    status, volumes = await get(session, f"{node.url}/v1/volumes?type=csi")
    assert status == 200, volumes
    return {one["ID"] for one in volumes}


async def members(session: aiohttp.ClientSession, node: Agent) -> dict[str, dict[str, Any]]:
    status, found = await get(session, f"{node.url}/v1/operator/raft/configuration")
    assert status == 200
    return {server["Name"]: server for server in found["Servers"]}


def joining(folder: Path, name: str, *addresses: str, raft: str = "") -> Agent:
    ports = free_ports(2)
    flags = [flag for address in addresses for flag in ("--join", address)]
    return Agent(name, folder, f"127.0.0.1:{ports[0]}", raft or f"127.0.0.1:{ports[1]}", [], flags)


async def test_a_rolling_restart_fails_no_request(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        async with loaded(session, nodes) as load:
            for node in nodes:
                await quiet(load, node)
                assert await asyncio.to_thread(node.stop) == 0
                await more(load, 10)
                node.start()
                await until(partial(ready, session, node), what=f"{node.name}'s return")
                load.dead.discard(node.name)
                await more(load, 10)
        assert load.failed == []
        for node in nodes:
            assert load.acknowledged <= await registered(session, node)


async def test_a_wiped_node_comes_back_under_its_name_while_writes_go_on(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        wiped = next(node for node in nodes if node is not nodes[0])
        async with loaded(session, nodes) as load:
            load.dead.add(wiped.name)
            wiped.kill()
            shutil.rmtree(tmp_path / wiped.name)

            # Started as if nothing had happened, it is refused, and says what to do.
            wiped.start()
            assert wiped.process is not None
            assert await asyncio.to_thread(wiped.process.wait, 30) == 1
            assert "another disk" in wiped.output()
            assert "remove the old" in wiped.output()

            shutil.rmtree(tmp_path / wiped.name)
            wiped.flags = ["--join", nodes[0].http]
            wiped.start()
            await until(lambda: "raft remove-peer -peer-id" in wiped.output(), what="word of what to do")
            before = (await members(session, nodes[0]))[wiped.name]["ID"]
            async with session.delete(f"{nodes[0].url}/v1/operator/raft/peer?id={wiped.name}") as response:
                assert response.status == 200, await response.text()
            await until(partial(ready, session, wiped), what="the new disk's vote")
            after = (await members(session, wiped))[wiped.name]
            assert after["Voter"]
            assert after["ID"] != before
            load.dead.discard(wiped.name)
        assert load.failed == []
        assert load.acknowledged <= await registered(session, wiped)

        # And as before the next time, without --join.
        await asyncio.to_thread(wiped.stop)
        wiped.flags = []
        wiped.start()
        await until(partial(ready, session, wiped), what="its return")


async def test_a_new_node_takes_the_place_of_another_through_any_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        led = await leader(session, nodes)
        others = [node for node in nodes if node is not led]
        fresh = joining(tmp_path, "s4", others[0].http, others[1].http)
        try:
            fresh.start()
            async with loaded(session, others) as load:
                await until(partial(ready, session, fresh), what="the new node's vote")
                # The one that leads, asked for on one that doesn't: it hands over first.
                url = f"{others[1].url}/v1/operator/raft/peer?address={led.raft}"
                async with session.delete(url) as response:
                    assert response.status == 200, await response.text()
                assert set(await members(session, fresh)) == {fresh.name, *(node.name for node in others)}
                assert led.process is not None
                assert await asyncio.to_thread(led.process.wait, 30) == 1
                assert "was removed from the cluster" in led.output()
            assert load.failed == []
            assert load.acknowledged <= await registered(session, fresh)
        finally:
            fresh.kill()


async def test_leadership_is_handed_over_from_any_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        for node in nodes:
            url = f"{nodes[0].url}/v1/operator/raft/transfer-leadership?id={node.name}"
            async with session.put(url) as response:
                assert (response.status, (await response.json())["Leader"]) == (200, node.name)
            await until(partial(_leads, session, node), what=f"{node.name} to lead")
        async with session.put(f"{nodes[0].url}/v1/operator/raft/transfer-leadership?id=nobody") as response:
            assert (response.status, await response.text()) == (
                404,
                'id "nobody" was not found in the Raft configuration',
            )


async def _leads(session: aiohttp.ClientSession, node: Agent) -> bool:
    return (await get(session, f"{node.url}/v1/agent/health/leader"))[0] == 200


def rows(packed: bytes) -> list[bytes]:
    """All rows of a backup's tables."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        content = archive.extractfile("state.bin")
        assert content is not None
        reader = Reader([content.read()])
    return [row for _, count in reader.header.tables for row in reader.rows(count)]


async def backup(session: aiohttp.ClientSession, node: Agent) -> bytes:
    async with session.get(f"{node.url}/v1/operator/snapshot") as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def test_a_backup_under_load_is_restored_elsewhere_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with cluster(tmp_path / "a") as (nodes, session), loaded(session, nodes) as load:
        before = set(load.acknowledged)
        saved = await backup(session, nodes[1])
    async with cluster(tmp_path / "b") as (others, session):
        # Who waits on any node is woken, and sees an index that only went up.
        index = await _index(session, others[0])
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(_changed(session, node, index)) for node in others]
            for node in others:
                await until(partial(_waiting, session, node), what="a blocking query")
            async with session.put(f"{others[2].url}/v1/operator/snapshot", data=saved) as response:
                assert response.status == 200, await response.text()
                restored_at = int(response.headers["X-Nomad-Index"])
        assert restored_at > index
        assert all(wait.result() >= restored_at for wait in waits)
        assert before <= await registered(session, others[0])
        for node in others:
            assert rows(await backup(session, node)) == rows(saved)
        digests = {(await get(session, f"{node.url}/v1/operator/node"))[1]["digest"] for node in others}
        assert len(digests) == 1


async def _index(session: aiohttp.ClientSession, node: Agent) -> int:
    async with session.get(f"{node.url}/v1/volumes?type=csi") as response:
        return int(response.headers["X-Nomad-Index"])


async def _changed(session: aiohttp.ClientSession, node: Agent, index: int) -> int:
    async with session.get(f"{node.url}/v1/volume/csi/none?index={index}&wait=60s") as response:
        assert response.status == 404
        return int(response.headers["X-Nomad-Index"])


async def _waiting(session: aiohttp.ClientSession, node: Agent) -> bool:
    async with session.get(f"{node.url}/v1/metrics?format=prometheus") as response:
        return "volstore_blocking_queries 1.0" in await response.text()


async def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        async with session.put(f"{nodes[0].url}/v1/volume/csi/v", json={"Volumes": [volume("v")]}) as response:
            assert response.status == 200
        saved = await backup(session, nodes[0])
        for broken in (b"", b"nonsense", saved[:-20], saved[:100] + bytes(10) + saved[110:]):
            async with session.put(f"{nodes[1].url}/v1/operator/snapshot", data=broken) as response:
                assert response.status == 400
                assert (await response.text()).startswith("validation: ")
        assert await registered(session, nodes[2]) == {"v"}


async def test_a_survivor_is_made_a_cluster_of_one_that_grows_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (nodes, session):
        async with loaded(session, nodes) as load:
            pass
        survivor, *lost = nodes
        await until(partial(_has, session, survivor, load.acknowledged), what="the survivor to have all")
        for node in nodes:
            node.kill()
        directory = tmp_path / survivor.name
        words = await asyncio.to_thread(offline.plan_recovery, directory, None)
        assert "The other members (s2, s3) would no longer be members" in words
        assert "a cluster of one now" in await asyncio.to_thread(offline.recover, directory, None)
        survivor.start()
        await until(partial(ready, session, survivor), what="the survivor to serve")
        assert load.acknowledged <= await registered(session, survivor)
        assert list(await members(session, survivor)) == [survivor.name]

        # The old ones are of another cluster now: they are refused, and elect nobody who could reach it.
        for node in lost:
            node.start()
        await until(lambda: "I belong to cluster" in survivor.output() + lost[0].output(), what="a refusal")
        assert list(await members(session, survivor)) == [survivor.name]
        for node in lost:
            node.kill()
        fresh = joining(tmp_path, "s2b", survivor.http)
        try:
            fresh.start()
            await until(partial(ready, session, fresh), what="the new node's vote")
            assert load.acknowledged <= await registered(session, fresh)
        finally:
            fresh.kill()


async def _has(session: aiohttp.ClientSession, node: Agent, volumes: set[str]) -> bool:
    status, found = await get(session, f"{node.url}/v1/volumes?type=csi&stale")
    return status == 200 and volumes <= {one["ID"] for one in found}


async def test_a_running_node_is_not_recovered(tmp_path: Path) -> None:
    with agents(tmp_path, 1) as (node,):
        async with aiohttp.ClientSession() as session:
            node.start()
            await until(partial(ready, session, node), what="the node")
            with pytest.raises(offline.OfflineError, match="in use"):
                await asyncio.to_thread(offline.recover, tmp_path / node.name, None)
            assert await ready(session, node)
    RealDisk(tmp_path / "empty").close()
    with pytest.raises(offline.OfflineError, match="holds no identity"):
        await asyncio.to_thread(offline.plan_recovery, tmp_path / "empty", None)


async def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text('log_level = "info"\n')
    with agents(tmp_path, 1, "--config", str(file)) as (node,):
        async with aiohttp.ClientSession() as session:
            node.start()
            await until(partial(ready, session, node), what="the node")
            assert "http_request" not in node.output()
            file.write_text('log_level = "debug"\nmax_body_bytes = "1KiB"\n')
            node.send(signal.SIGHUP)
            await until(lambda: "reloaded" in node.output(), what="the reload")
            async with session.put(f"{node.url}/v1/volume/csi/v", data=json.dumps({"x": "y" * 2000})) as response:
                assert response.status == 413
            await until(lambda: "http_request" in node.output(), what="a line of debug")
            file.write_text("log_level = 3\n")
            node.send(signal.SIGHUP)
            await until(lambda: "reload_refused" in node.output(), what="the refusal")
            assert await ready(session, node)
