"""A server over a registry in this process, and a client that talks to it over a real socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from yarl import URL

from tests.http.registry import InProcessRegistry
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

SETTINGS = HttpSettings(deadline=0.3)


@dataclass
class Api:
    """The server's address, what is behind it, and a client."""

    url: str
    registry: InProcessRegistry
    server: HttpServer
    session: aiohttp.ClientSession

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Like aiohttp's, with the path sent as it stands."""
        return self.session.request(method, URL(self.url + path, encoded=True), **options)

    async def get(self, path: str, **options: Any) -> tuple[int, Any, Any]:
        return await self.do("GET", path, **options)

    async def do(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the JSON (or the text where it isn't JSON)."""
        async with self.request(method, path, **options) as response:
            if response.content_type == "application/json" and method != "HEAD":
                return response.status, response.headers, await response.json()
            return response.status, response.headers, await response.text()

    async def report_node(self, id: str = "node-1", plugin: str = "plugin-id1", **fingerprint: Any) -> None:
        seen = {"Healthy": True, "Provider": "ebs", "ProviderVersion": "1.0.1", **fingerprint}
        body = {"Name": id, "Status": "ready", "CSINodePlugins": {plugin: seen}}
        status, _, answer = await self.do("PUT", f"/v1/node/{id}", json=body)
        assert status == 200, answer

    async def register(self, *ids: str, namespace: str = "default", **fields: Any) -> int:
        """Register volumes by their IDs; the index of the write."""
        volumes = [volume(id, **fields) for id in ids]
        path = f"/v1/volume/csi/{quote(ids[0])}?namespace={namespace}"
        status, headers, answer = await self.do("PUT", path, json={"Volumes": volumes})
        assert status == 200, answer
        return int(headers["X-Nomad-Index"])

    async def allocate(self, *ids: str, **fields: Any) -> None:
        """Report allocations that run."""
        body = {"Allocations": [stub(id, **fields) for id in ids]}
        status, _, answer = await self.do("PUT", "/v1/allocations", json=body)
        assert status == 200, answer

    async def claim(self, volume_id: str, allocation_id: str, mode: str = "read", **fields: Any) -> tuple[int, Any]:
        body = {"AllocationID": allocation_id, "Mode": mode, **fields}
        status, _, answer = await self.do("PUT", f"/v1/volume/csi/{volume_id}/claim", json=body)
        return status, answer

    async def register_one(self, id: str, **fields: Any) -> None:
        path = f"/v1/volume/csi/{quote(id, safe='')}"
        status, _, answer = await self.do("PUT", path, json={"Volumes": [volume(id, **fields)]})
        assert status == 200, answer


def volume(id: str, **fields: Any) -> dict[str, Any]:
    return {
        "ID": id,
        "Name": id,
        "ExternalID": id,
        "PluginID": "plugin-id1",
        "AccessMode": "multi-node-multi-writer",
        "AttachmentMode": "file-system",
        **fields,
    }


def stub(id: str, **fields: Any) -> dict[str, Any]:
    """An allocation that runs on node-1."""
    return {
        "ID": id,
        "NodeID": "node-1",
        "JobID": "web",
        "ClientStatus": "running",
        "DesiredStatus": "run",
        **fields,
    }


async def serve(settings: HttpSettings = SETTINGS, max_waiters: int = 50_000) -> AsyncIterator[Api]:
    registry = InProcessRegistry(max_waiters)
    server = HttpServer(registry, settings, draw=lambda: 0.0)
    address = await server.start("127.0.0.1", 0)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, timeout=aiohttp.ClientTimeout(total=60)
    )
    try:
        yield Api(f"http://{address}", registry, server, session)
    finally:
        await session.close()
        await server.stop()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async for served in serve():
        yield served


@pytest.fixture
async def small_api() -> AsyncIterator[Api]:
    """With limits that a test can reach."""
    settings = replace(SETTINGS, max_body_bytes=2048, body_deadline=0.2)
    async for served in serve(settings, max_waiters=2):
        yield served


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Only warnings and worse, as an access log tells nothing when a test fails."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()
