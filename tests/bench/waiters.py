"""Thousands of blocking queries on one volume of three real nodes: how long until the last is woken, and their memory.

    python -m tests.bench.waiters [--waiters 5000] [--rounds 5]

All wait on the leader, each on a connection of its own, and are asked by one process that does nothing but read.
The time runs from when a register of the volume is sent until the last waiter has its whole answer. Memory is what
the node grew by from before the connections were made until all wait, the rounds before included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from tests.bench.certificates import secured_agents
from tests.bench.connections import Connection, connect, request
from tests.bench.processes import processor_seconds, resident_mib
from tests.process.agents import add_plugin, leader, until, volume

_ID = "waited-for"


async def measure(waiters: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds: `last_ms`, `cpu_us_each` (of the leader), and the highest `kib_each`."""
    _raise_descriptor_limit(waiters + 200)
    last, cpu, memory = [], [], []
    answers = 0
    every_one: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(_: Connection) -> None:
        nonlocal answers
        answers += 1
        if answers == waiters:
            every_one.set_result(None)

    def failed(why: Exception) -> None:
        if not every_one.done():
            every_one.set_exception(why)

    with tempfile.TemporaryDirectory() as folder, secured_agents(Path(folder), 3) as nodes:
        for node in nodes:
            node.start()
        async with aiohttp.ClientSession() as session:
            lead = await leader(session, nodes)
            assert lead.process is not None
            pids = [lead.process.pid]
            await add_plugin(session, lead.url)

            async def register() -> int:
                body = {"Volumes": [volume(_ID)]}
                async with session.put(f"{lead.url}/v1/volume/csi/{_ID}", json=body) as response:
                    response.raise_for_status()
                    return int(response.headers["X-Nomad-Index"])

            async def all_wait() -> bool:
                async with session.get(f"{lead.url}/v1/metrics?format=prometheus") as response:
                    return f"\nvolstore_blocking_queries {waiters}.0\n" in await response.text()

            index = await register()
            before = resident_mib(pids)
            connections = await connect(lead.http, waiters, answered, failed)
            for _ in range(rounds):
                answers = 0
                every_one = asyncio.get_running_loop().create_future()
                asked = request("GET", f"/v1/volume/csi/{_ID}?index={index}&wait=5m")
                for connection in connections:
                    connection.send(asked)
                await until(all_wait, what="all waiters")
                memory.append((resident_mib(pids) - before) * 1024 / waiters)
                used, start = processor_seconds(pids), time.perf_counter()
                index = await register()
                async with asyncio.timeout(60):
                    await every_one
                last.append(time.perf_counter() - start)
                cpu.append(processor_seconds(pids) - used)
                assert {connection.index for connection in connections} == {index}
            for connection in connections:
                connection.close()
    return {
        "last_ms": statistics.median(last) * 1000,
        "cpu_us_each": statistics.median(cpu) / waiters * 1e6,
        "kib_each": max(memory),
    }


def _raise_descriptor_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        # The nodes inherit it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(waiters: int, rounds: int) -> dict[str, float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(waiters, rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(json.dumps({name: round(value, 2) for name, value in run(given.waiters, given.rounds).items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
