"""A hundred thousand volumes on one real node: bulk load, list, read, restart, memory.

    python -m tests.bench.bulk [--volumes 100000] [--nodes 1|3] [--snapshot]

With --snapshot 32 writers go on while the leader writes a snapshot of it all, and their slowest request is printed.
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

from tests.process.agents import Agent, add_plugin, agents, get, leader, volume

BODY = 1000


def resident_mib(agent: Agent) -> float:
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def fill(session: aiohttp.ClientSession, url: str, count: int) -> None:
    for start in range(0, count, BODY):
        body = {"Volumes": [volume(f"bulk-{n:07}") for n in range(start, min(start + BODY, count))]}
        async with session.put(f"{url}/v1/volume/csi/bulk", json=body) as response:
            assert response.status == 200, await response.text()
            await response.read()


async def run(count: int, nodes: int, snapshot: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {"volumes": count, "nodes": nodes}

    def timed(name: str, start: float) -> None:
        figures[name] = round(time.perf_counter() - start, 3)

    flags = ["--snapshot-threshold", "1000"] if snapshot else []
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), nodes, *flags) as group:
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            for agent in group:
                agent.start()
            lead = await leader(session, group)
            await add_plugin(session, lead.url)
            start = time.perf_counter()
            await fill(session, lead.url, count)
            timed("bulk_load_s", start)
            for name in ("list_cold_s", "list_again_s"):
                start = time.perf_counter()
                async with session.get(f"{lead.url}/v1/volumes?type=csi") as response:
                    figures["list_bytes"] = len(await response.read())
                timed(name, start)
            start = time.perf_counter()
            for n in range(0, count, max(1, count // 200)):
                assert (await get(session, f"{lead.url}/v1/volume/csi/bulk-{n:07}"))[0] == 200
            figures["read_one_ms"] = round((time.perf_counter() - start) / 200 * 1000, 3)
            figures["rss_mib"] = round(resident_mib(lead))
            if snapshot:
                figures["writers"] = await _write_beside(session, lead.url)
                figures["snapshots"] = lead.output().count("snapshot_written")
            if nodes == 1:
                lead.kill()
                start = time.perf_counter()
                lead.start()
                await leader(session, group)
                await get(session, f"{lead.url}/v1/volume/csi/bulk-0000000")
                timed("restart_to_first_answer_s", start)
                figures["rss_after_restart_mib"] = round(resident_mib(lead))
    return figures


async def _write_beside(session: aiohttp.ClientSession, url: str, seconds: float = 20.0) -> dict[str, float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def writer(number: int) -> None:
        count = 0
        while time.perf_counter() < end:
            start = time.perf_counter()
            volume_id = f"w{number}-{count % 100}"
            count += 1
            body = {"Volumes": [volume(volume_id)]}
            async with session.put(f"{url}/v1/volume/csi/{volume_id}", json=body) as response:
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
    print(json.dumps(asyncio.run(run(given.volumes, given.nodes, given.snapshot)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
