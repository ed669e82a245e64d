"""What a drill's volumes need on a cluster, and its removal: a namespace and a plugin of their own, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from volstore.drill.exchange import Answer, Exchange
from volstore.drill.target import TargetNode

NAMESPACE = "volstore-drill"
PLUGIN = "volstore-drill"
NODE = "d0011d00-0000-4000-8000-000000000001"
_TIMEOUT = 5.0
_TRY_EVERY = 0.1
_AT_ONCE = 16


def volume_body(volume: str, value: str) -> bytes:
    """A register of `volume`. The value is its name: lists show names too, and one call then reads all of them."""
    body = {
        "ID": volume,
        "Name": value,
        "ExternalID": volume,
        "PluginID": PLUGIN,
        "AccessMode": "single-node-writer",
        "AttachmentMode": "file-system",
    }
    return msgspec.json.encode({"Volumes": [body]})


async def prepare(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> str:
    """Make it, by whichever node takes it; "" or why it could not be made within `seconds`."""
    fingerprint = {"PluginID": PLUGIN, "Healthy": True, "Provider": PLUGIN, "ProviderVersion": "1"}
    report = {"ID": NODE, "Name": PLUGIN, "Status": "ready", "CSINodePlugins": {PLUGIN: fingerprint}}
    namespace = {"Name": NAMESPACE, "Description": "Volumes of volstore drill; it removes them"}
    for path, body in ((f"/v1/namespace/{NAMESPACE}", namespace), (f"/v1/node/{NODE}", report)):
        answer = await _insist(exchange, nodes, "PUT", path, seconds, body)
        if answer.status != 200:
            return f"PUT {path} was answered {_said(answer)}"
    return ""


async def clear(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> str:
    """Remove all volumes of drills, the namespace and the plugin; "" or what is left, and why.

    What a drill that was killed left behind goes with it; where nothing is there, nothing is done.
    """
    path = f"/v1/volumes?type=csi&namespace={NAMESPACE}"
    answer = await _insist(exchange, nodes, "GET", path, seconds)
    if answer.status != 200:
        return f"the volumes in namespace {NAMESPACE}: listing them was answered {_said(answer)}"
    waiting = asyncio.Semaphore(_AT_ONCE)

    async def remove(volume: str) -> Answer:
        async with waiting:
            path = f"/v1/volume/csi/{volume}?namespace={NAMESPACE}"
            return await _insist(exchange, nodes, "DELETE", path, seconds)

    removed = await asyncio.gather(*(remove(volume["ID"]) for volume in answer.json()))
    for path in (f"/v1/namespace/{NAMESPACE}", f"/v1/node/{NODE}"):
        removed.append(await _insist(exchange, nodes, "DELETE", path, seconds))
    failed = [answer for answer in removed if answer.status not in (200, 404)]
    return f"{len(failed)} things in namespace {NAMESPACE}: {_said(failed[0])}" if failed else ""


async def _insist(
    exchange: Exchange,
    nodes: Sequence[TargetNode],
    method: str,
    path: str,
    seconds: float,
    body: dict[str, Any] | None = None,
) -> Answer:
    """The first answer that another try wouldn't better, from one node after the other; else the last one."""
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
