"""A real node that encrypts its files: nothing readable in them, keys rotated as it runs, no start without them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import Agent, add_plugin, agents, get, leader, until, volume
from volstore.agent.keys import create_keys, names, rotate_keys
from volstore.backup.archive import unpack
from volstore.cli import main

SECRET = "correct-horse-battery-staple"


async def register(session: aiohttp.ClientSession, node: Agent, volume_id: str) -> None:
    body = {"Volumes": [volume(volume_id, Secrets={"password": SECRET}, Name=f"name-{SECRET}")]}
    async with session.put(f"{node.url}/v1/volume/csi/{volume_id}", json=body) as response:
        assert response.status == 200, await response.text()


def on_disk(node: Agent) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((node.folder / node.name).rglob("*")) if path.is_file())


@pytest.mark.timeout(120)
async def test_a_nodes_files_hold_nothing_readable_and_its_keys_can_be_rotated(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = create_keys(keys)
    with agents(tmp_path, 1, "--encryption-key-file", str(keys), "--snapshot-threshold", "20") as (node,):
        node.start()
        async with aiohttp.ClientSession() as session:
            await leader(session, [node])
            await add_plugin(session, node.url)
            for n in range(30):
                await register(session, node, f"before-{n}")
            await until(lambda: list((tmp_path / "s1" / "snapshots").glob("*.snap")), what="a snapshot")
            rotate_keys(keys)
            node.send(signal.SIGHUP)
            await until(lambda: "reloaded" in node.output(), what="a reload")
            for n in range(30):
                await register(session, node, f"after-{n}")
            node.kill()
            assert SECRET.encode() not in on_disk(node)
            second = names(keys)[0]
            with (tmp_path / "dump").open("w") as dump:
                print(*shown(node), file=dump)
            assert first in (tmp_path / "dump").read_text() or second in (tmp_path / "dump").read_text()

            everything, kept = keys.read_text(), keys.with_name("kept")
            keys.rename(kept)
            create_keys(keys)
            node.start()
            assert node.process is not None
            assert await asyncio.to_thread(node.process.wait, 30) == 1
            assert "this node has only" in node.output()
            assert "remove this member from the cluster, empty its data directory, and add it anew" in node.output()
            for line in everything.splitlines():
                if not line.startswith("#"):
                    assert line not in node.output()

            kept.replace(keys)
            node.start()
            await leader(session, [node])
            status, volumes = await get(session, f"{node.url}/v1/volumes?type=csi")
            assert (status, len(volumes)) == (200, 60)


def shown(node: Agent) -> list[str]:
    from volstore.agent.offline import verify_journal

    return list(verify_journal(node.folder / node.name)["keys"])


@pytest.mark.timeout(60)
async def test_keys_that_can_not_be_used_stop_a_start_and_leave_a_running_node_as_it_was(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("nonsense")
    with agents(tmp_path, 1, "--encryption-key-file", str(keys)) as (node,):
        node.start()
        assert node.process is not None
        assert await asyncio.to_thread(node.process.wait, 30) == 1
        assert "line 1: a key is 32 random bytes in base64" in node.output()
        keys.unlink()
        assert main(["keys", "create", str(keys)]) == 0
        node.start()
        async with aiohttp.ClientSession() as session:
            await leader(session, [node])
            keys.write_text("nonsense")
            node.send(signal.SIGHUP)
            await until(lambda: "reload_refused" in node.output(), what="a refusal")
            await add_plugin(session, node.url)
            await register(session, node, "v")


@pytest.mark.timeout(60)
async def test_a_node_seals_its_backups_with_the_key_that_it_was_given_last(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = create_keys(keys)
    with agents(tmp_path, 1, "--backup-key-file", str(keys)) as (node,):
        node.start()
        async with aiohttp.ClientSession() as session:
            await leader(session, [node])
            await add_plugin(session, node.url)
            await register(session, node, "v")
            url, found = f"{node.url}/v1/operator/snapshot", []
            async with session.get(url) as response:
                found.append(await response.read())
            rotate_keys(keys)
            node.send(signal.SIGHUP)
            await until(lambda: "reloaded" in node.output(), what="a reload")
            async with session.get(url) as response:
                found.append(await response.read())
            assert [unpack(one)[0].key for one in found] == [first, names(keys)[0]]
            assert not any(SECRET.encode() in unpack(one)[1] for one in found)
            for one in found:
                async with session.put(url, data=one) as response:
                    assert response.status == 200, await response.text()
            status, volumes = await get(session, f"{node.url}/v1/volumes?type=csi")
            assert (status, len(volumes)) == (200, 1)
