"""What a request costs a node that has a thousand volumes, and one that has a million: it should be the same.

    python -m tests.bench.growth [--sizes 1000,10000,100000,1000000]

One node is filled further and further. At each size the same numbers of requests are sent by 32 clients, and what
counts is the node's processor time for each, as its other core-mates don't show in that. Every volume that is read
or claimed is so the same number of times at each size, so that what is kept of answers helps equally often.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from tests.bench.bulk import fill, volume_id
from tests.bench.connections import request, send_all
from tests.bench.processes import processor_seconds, resident_mib
from tests.process.agents import Agent, add_plugin, agents, leader, volume

SIZES = (1_000, 10_000, 100_000, 1_000_000)
KINDS = ("register", "register again", "deregister", "read", "claim", "release", "list, each volume")
PICKED = 1_000
TIMES = 4
_ALLOCATION = "11111111-2222-3333-4444-555555555555"
_NODE = "00000001-1111-2222-3333-000000000001"

_PATIENT = ("--min-heartbeat-ttl", "1h")
"""Nobody sends heartbeats here, and without its node the plugin would be unhealthy and nothing could be claimed."""

Costs = dict[str, float]


async def measure(sizes: tuple[int, ...]) -> dict[int, Costs]:
    """By size: microseconds of processor time for each kind of request, and of a list for each volume; `rss_mib`."""
    found: dict[int, Costs] = {}
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), 1, *_PATIENT) as (node,):
        node.start()
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await leader(session, [node])
            await add_plugin(session, node.url)
            stub = {"ID": _ALLOCATION, "NodeID": _NODE, "JobID": "job"}
            stub |= {"ClientStatus": "running", "DesiredStatus": "run"}
            await send_all(node.http, iter([request("PUT", f"/v1/allocation/{_ALLOCATION}", json.dumps(stub))]), 1)
            filled = 0
            for size in sizes:
                await fill(session, node.url, filled, size)
                filled = size
                await _quiet(node)
                found[size] = await _costs(node, size)
    return found


async def _costs(node: Agent, size: int) -> Costs:
    """Each kind twice, the cheaper one counts: what else the node does now and then (a snapshot) belongs to neither."""
    ids = [volume_id(n) for n in random.Random(size).sample(range(size), PICKED)]
    kinds: dict[str, Callable[[], Iterator[bytes]]] = {
        "register": lambda: (_register(f"new-{n}") for n in range(PICKED * TIMES)),
        "deregister": lambda: (request("DELETE", f"/v1/volume/csi/new-{n}") for n in range(PICKED * TIMES)),
        "register again": lambda: (_register(id) for id in ids * TIMES),
        "read": lambda: (request("GET", f"/v1/volume/csi/{id}") for id in ids * TIMES),
        "claim": lambda: (_claim(id, "write") for id in ids),
        "release": lambda: (_claim(id, "release") for id in ids),
    }
    found: Costs = {}
    for _ in range(2):
        for kind, requests in kinds.items():
            used = await _used(node, requests())
            count = PICKED if kind in ("claim", "release") else PICKED * TIMES
            found[kind] = min(found.get(kind, sys.maxsize), used / count * 1e6)
    lists = max(1, 100_000 // size)
    # Pages of as good as everything, each of another size: a whole answer that is kept would cost nothing.
    pages = (request("GET", f"/v1/volumes?type=csi&per_page={size - n}") for n in range(lists))
    used = await _used(node, pages)
    return {**found, "list, each volume": used / lists / size * 1e6, "rss_mib": resident_mib(_pids(node))}


async def _used(node: Agent, requests: Iterator[bytes]) -> float:
    before = processor_seconds(_pids(node))
    await send_all(node.http, requests)
    return processor_seconds(_pids(node)) - before


def _register(id: str) -> bytes:
    return request("PUT", f"/v1/volume/csi/{id}", json.dumps({"Volumes": [volume(id)]}))


def _claim(id: str, mode: str) -> bytes:
    return request("PUT", f"/v1/volume/csi/{id}/claim", json.dumps({"AllocationID": _ALLOCATION, "Mode": mode}))


async def _quiet(node: Agent) -> None:
    """Return when the node has nothing left to do, no snapshot either."""
    while True:
        before = processor_seconds(_pids(node))
        await asyncio.sleep(0.5)
        if processor_seconds(_pids(node)) - before <= 0.05:
            return


def _pids(node: Agent) -> list[int]:
    assert node.process is not None
    return [node.process.pid]


def run(sizes: tuple[int, ...] = SIZES) -> dict[int, Costs]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(sizes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    given = parser.parse_args()
    costs: dict[int, dict[str, Any]] = {
        size: {kind: round(cost, 2) for kind, cost in found.items()}
        for size, found in run(tuple(map(int, given.sizes.split(",")))).items()
    }
    print(json.dumps(costs, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
