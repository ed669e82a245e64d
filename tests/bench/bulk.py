"""A hundred thousand volumes on real nodes: bulk load, list, read, restart, memory.

    python -m tests.bench.bulk [--volumes 100000] [--nodes 1|3] [--snapshot]

Times are what one client sees that takes the answer as it is (no gzip); memory is the largest node's, after the load,
the lists and the reads, and for a node that was restarted after one list. With --snapshot 32 writers go on while the
leader writes a snapshot of it all, and their slowest request is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.connections import request, send_all
from tests.bench.processes import resident_mib
from tests.process.agents import Agent, add_plugin, agents, get, leader, volume

BODY = 1000
_LIST = "/v1/volumes?type=csi"


def volume_id(number: int) -> str:
    return f"bulk-{number:07}"


async def fill(session: aiohttp.ClientSession, url: str, first: int, end: int) -> None:
    """Register volumes `first` .. `end` - 1 in bodies of 1,000."""
    for start in range(first, end, BODY):
        body = {"Volumes": [volume(volume_id(n)) for n in range(start, min(start + BODY, end))]}
        async with session.put(f"{url}/v1/volume/csi/bulk", json=body) as response:
            assert response.status == 200, await response.text()
            await response.read()


async def run(count: int, nodes: int, snapshot: bool = False) -> dict[str, Any]:
    figures: dict[str, Any] = {"volumes": count, "nodes": nodes}
    flags = ["--snapshot-threshold", "1000"] if snapshot else []
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), nodes, *flags) as group:
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            for agent in group:
                agent.start()
            lead = await leader(session, group)
            await add_plugin(session, lead.url)
            start = time.perf_counter()
            await fill(session, lead.url, 0, count)
            figures["bulk_load_s"] = time.perf_counter() - start
            for name in ("list_cold_s", "list_again_s"):
                figures[name] = await send_all(lead.http, iter([request("GET", _LIST)]), 1)
            reads = (request("GET", f"/v1/volume/csi/{volume_id(n)}") for n in range(0, count, max(1, count // 200)))
            figures["read_one_ms"] = await send_all(lead.http, reads, 1) / 200 * 1000
            figures["rss_mib"] = resident_mib(_pids(group))
            if snapshot:
                figures["writers"] = await _write_beside(session, lead.url)
                figures["snapshots"] = lead.output().count("snapshot_written")
            if nodes == 1:
                lead.kill()
                start = time.perf_counter()
                lead.start()
                await leader(session, group)
                await get(session, f"{lead.url}/v1/volume/csi/{volume_id(0)}")
                figures["restart_to_first_answer_s"] = time.perf_counter() - start
                await send_all(lead.http, iter([request("GET", _LIST)]), 1)
                figures["rss_after_restart_mib"] = resident_mib(_pids(group))
    return figures


def _pids(group: list[Agent]) -> list[int]:
    return [agent.process.pid for agent in group if agent.process is not None]


async def _write_beside(session: aiohttp.ClientSession, url: str, seconds: float = 20.0) -> dict[str, float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def writer(number: int) -> None:
        count = 0
        while time.perf_counter() < end:
            start = time.perf_counter()
            id = f"w{number}-{count % 100}"
            count += 1
            async with session.put(f"{url}/v1/volume/csi/{id}", json={"Volumes": [volume(id)]}) as response:
                assert response.status == 200
                await response.read()
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(writer(n) for n in range(32)))
    took.sort()
    return {
        "requests_per_s": round(len(took) / seconds),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "slowest_ms": round(took[-1] * 1000, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--snapshot", action="store_true")
    given = parser.parse_args()
    figures = asyncio.run(run(given.volumes, given.nodes, given.snapshot))
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
