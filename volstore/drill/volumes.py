"""The drill's volumes: their namespace and plugin on the cluster, the pool that the load draws from, and cleanup."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from volstore.drill.exchange import Answer, Exchange
from volstore.drill.target import TargetNode

NAMESPACE = "volstore-drill"
PLUGIN = "volstore-drill"
NODE = "d0011d00-0000-4000-8000-000000000001"
OPERATIONS = 60
"""Operations on one volume before another takes its place: the checker's time grows faster than a history."""
_VALUE = "value"
_TIMEOUT = 5.0
_TRY_EVERY = 0.1
_AT_ONCE = 16


class VolumePool:
    """`count` volumes at a time, each for OPERATIONS operations. An ID is `prefix`, the slot, and the generation."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix = prefix
        self._generations = [0] * count
        self._operations = [0] * count

    def draw(self, random: Random) -> str:
        """Draw the volume of the next operation."""
        place = random.randrange(len(self._generations))
        if self._operations[place] >= OPERATIONS:
            self._generations[place] += 1
            self._operations[place] = 0
        self._operations[place] += 1
        return f"{self._prefix}-{place}-{self._generations[place]}"


def volume_body(volume: str, value: str) -> bytes:
    """The body that registers `volume`. Its context holds the value, as a volume that exists keeps its name."""
    body = {
        "ID": volume,
        "Name": volume,
        "Context": {_VALUE: value},
        "ExternalID": volume,
        "PluginID": PLUGIN,
        "AccessMode": "single-node-writer",
        "AttachmentMode": "file-system",
    }
    return msgspec.json.encode({"Volumes": [body]})


def value_of(volume: Answer) -> str | None:
    """The value that a read volume has."""
    value = volume.json()["Context"].get(_VALUE)
    return value if isinstance(value, str) else None


async def prepare(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> str:
    """Create namespace and plugin within `seconds`, through any node. Returns "" or the reason of the failure."""
    fingerprint = {"PluginID": PLUGIN, "Healthy": True, "Provider": PLUGIN, "ProviderVersion": "1"}
    report = {"ID": NODE, "Name": PLUGIN, "Status": "ready", "CSINodePlugins": {PLUGIN: fingerprint}}
    namespace = {"Name": NAMESPACE, "Description": "Volumes of volstore drill, which removes them"}
    for path, body in ((f"/v1/namespace/{NAMESPACE}", namespace), (f"/v1/node/{NODE}", report)):
        answer = await _retry(exchange, nodes, "PUT", path, seconds, body)
        if answer.status != 200:
            return f"PUT {path} was answered {_said(answer)}"
    return ""


async def remove_volumes(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> str:
    """Remove all volumes of drills, the namespace and the plugin. Returns "" or what is left and why.

    This also removes what a killed drill left behind.
    """
    path = f"/v1/volumes?type=csi&namespace={NAMESPACE}"
    answer = await _retry(exchange, nodes, "GET", path, seconds)
    if answer.status != 200:
        return f"the volumes in namespace {NAMESPACE}: listing them was answered {_said(answer)}"
    waiting = asyncio.Semaphore(_AT_ONCE)

    async def remove(volume: str) -> Answer:
        async with waiting:
            path = f"/v1/volume/csi/{volume}?namespace={NAMESPACE}"
            return await _retry(exchange, nodes, "DELETE", path, seconds)

    removed = await asyncio.gather(*(remove(volume["ID"]) for volume in answer.json()))
    for path in (f"/v1/namespace/{NAMESPACE}", f"/v1/node/{NODE}"):
        removed.append(await _retry(exchange, nodes, "DELETE", path, seconds))
    failed = [answer for answer in removed if answer.status not in (200, 404)]
    return f"{len(failed)} things in namespace {NAMESPACE}: {_said(failed[0])}" if failed else ""


async def _retry(
    exchange: Exchange,
    nodes: Sequence[TargetNode],
    method: str,
    path: str,
    seconds: float,
    body: dict[str, Any] | None = None,
) -> Answer:
    """Try one node after the other until an answer is final (no 5xx, no 429), for `seconds`.

    Returns the last answer.
    """
    loop = asyncio.get_running_loop()
    end, attempt = loop.time() + seconds, 0
    while True:
        node = nodes[attempt % len(nodes)]
        attempt += 1
        given = None if body is None else msgspec.json.encode(body)
        answer = await exchange.ask(method, node.url, path, body=given, within=_TIMEOUT)
        final = answer.status is not None and answer.status < 500 and answer.status != 429
        if final or loop.time() > end:
            return answer
        await asyncio.sleep(_TRY_EVERY)


def _said(answer: Answer) -> str:
    return f"{answer.status}: {answer.text[:200]}" if answer.status is not None else f"with nothing: {answer.error}"
