"""A token that was removed writes nowhere and reads nothing new, also through a node that slept meanwhile."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.agents import PLUGIN, Agent, agents, leader, until, volume

REQUESTS = 15
RULES = 'namespace "default" { policy = "write" } plugin { policy = "read" }'


class Client:
    """Asks with one token."""

    def __init__(self, session: aiohttp.ClientSession, secret: str) -> None:
        self._session = session
        self.headers = {"X-Nomad-Token": secret}

    async def do(self, method: str, url: str, body: Any = None) -> tuple[int, str]:
        async with self._session.request(method, url, json=body, headers=self.headers) as response:
            return response.status, await response.text()

    async def put(self, url: str, body: Any = None) -> Any:
        async with self._session.put(url, json=body, headers=self.headers) as response:
            text = await response.text()
            assert response.status == 200, text
            return await response.json() if text else None

    async def register(self, url: str, name: str) -> tuple[int, str]:
        return await self.do("PUT", f"{url}/v1/volume/csi/{name}", {"Volumes": [volume(name)]})


async def bootstrapped(session: aiohttp.ClientSession, url: str) -> Client:
    async with session.post(f"{url}/v1/acl/bootstrap") as response:
        assert response.status == 200, await response.text()
        return Client(session, (await response.json())["SecretID"])


async def all_applied(session: aiohttp.ClientSession, client: Client, nodes: list[Agent]) -> None:
    """Return when every node has applied the same, so that what follows finds each of them up to date."""

    async def same() -> bool:
        indexes = set()
        for node in nodes:
            async with session.get(f"{node.url}/v1/volumes?type=csi&stale", headers=client.headers) as response:
                indexes.add((response.status, response.headers.get("X-Nomad-Index")))
        return len(indexes) == 1 and indexes.pop()[0] == 200

    await until(same, what="the same index everywhere")


@pytest.mark.timeout(120)
async def test_a_removed_token_is_worth_nothing_on_a_node_that_has_not_heard_of_it(tmp_path: Path) -> None:
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    with agents(tmp_path, 3, "--acl-enabled") as nodes:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            for node in nodes:
                node.start()
            leading = await leader(session, nodes)
            management = await bootstrapped(session, leading.url)
            report = {
                "Name": "n1",
                "CSINodePlugins": {PLUGIN: {"Healthy": True, "Provider": "ebs", "ProviderVersion": "1"}},
            }
            await management.put(f"{leading.url}/v1/node/n1", report)
            await management.put(f"{leading.url}/v1/acl/policy/write", {"Name": "write", "Rules": RULES})
            body = {"Name": "doomed", "Type": "client", "Policies": ["write"]}
            made = await management.put(f"{leading.url}/v1/acl/token", body)
            doomed = Client(session, made["SecretID"])
            follower = next(node for node in nodes if node is not leading)
            status, text = await doomed.register(follower.url, "before")
            assert status == 200, text
            await all_applied(session, doomed, nodes)

            follower.send(signal.SIGSTOP)
            status, text = await management.do("DELETE", f"{leading.url}/v1/acl/token/{made['AccessorID']}")
            assert (status, text) == (200, "")
            # They wait in the sleeper's sockets, so that it answers them as soon as it wakes, before it hears the rest.
            writes = [asyncio.create_task(doomed.register(follower.url, f"after-{n}")) for n in range(REQUESTS)]
            reads = [
                asyncio.create_task(doomed.do("GET", f"{follower.url}/v1/volume/csi/before")) for _ in range(REQUESTS)
            ]
            await until(lambda: _sent(writes + reads, connector, 2 * REQUESTS), what="all requests to be sent")
            follower.send(signal.SIGCONT)
            answers = set(await asyncio.gather(*writes, *reads))
            assert answers == {(403, "ACL token not found")}

            for node in nodes:
                _, listed = await get_as(session, management, f"{node.url}/v1/volumes?type=csi")
                assert [one["ID"] for one in listed] == ["before"]


def _sent(tasks: list[asyncio.Task[Any]], connector: aiohttp.TCPConnector, count: int) -> bool:
    """Whether each request has a connection of its own, over which it went at once."""
    assert not any(task.done() for task in tasks)
    return len(connector._acquired) >= count


async def get_as(session: aiohttp.ClientSession, client: Client, url: str) -> tuple[int, Any]:
    async with session.get(url, headers=client.headers) as response:
        return response.status, await response.json()
