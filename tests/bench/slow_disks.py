"""What the wait in `Intake.due` is good for: registers over HTTP on three nodes whose disks are slow, with and without.

    python -m tests.bench.slow_disks [--delay 5] [--seconds 5] [--rounds 2]

Each sync of a node's log takes `delay` milliseconds longer. Without the wait, a leader makes an entry of what is there
as soon as the one before it is committed, and clients fall into two groups that alternate. Commands an entry and
processor time a command say it better than the rate where other work shares the machine. Needs `wrk`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from cluster.node import intake
from cluster.storage.disk import RealDisk
from tests.bench.peers import FILLER, wrk
from tests.bench.processes import processor_seconds
from tests.process.agents import Agent, add_plugin, agents, leader
from volstore.cli import main as volstore

CLIENTS = (32, 256)
_INDEX = "raft_commit_index"


def node(delay: float, *, waits: bool) -> int:
    """A node with a slow disk, in this process; its arguments are those of the program."""
    begin = RealDisk.begin

    def slow(self: RealDisk, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        def slowly() -> None:
            work()
            time.sleep(delay)

        begin(self, slowly, done)

    setattr(RealDisk, "begin", slow)  # noqa: B010 (a method is replaced)
    if not waits:
        intake._MOST_COME_BACK = 0.0
    return volstore()


async def _led(nodes: list[Agent]) -> Agent:
    async with aiohttp.ClientSession() as session:
        found = await leader(session, nodes)
        await add_plugin(session, found.url)
        return found


async def _commit_index(url: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/metrics?format=prometheus") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].endswith(_INDEX))


def run(delay: str, seconds: int, *, waits: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), 3) as nodes:
        for one in nodes:
            one.program = ["-m", "tests.bench.slow_disks", "--node", delay, "waits" if waits else "at-once"]
            one.start()
        led = asyncio.run(_led(nodes))
        pids = [one.process.pid for one in nodes if one.process is not None]
        for clients in CLIENTS:
            before, used = asyncio.run(_commit_index(led.url)), processor_seconds(pids)
            figures = wrk("register.lua", led.url, clients, seconds, f"r{clients}-{os.urandom(3).hex()}", FILLER)
            entries, used = asyncio.run(_commit_index(led.url)) - before, processor_seconds(pids) - used
            commands = figures["per_s"] * seconds
            print(
                f"{'with' if waits else 'without'} the wait, {clients} clients: {commands / entries:.1f} commands an "
                f"entry, {used / commands * 1e6:.0f} us of all processors a command, {figures['per_s']:,.0f}/s",
                flush=True,
            )


def main() -> int:
    if sys.argv[1:2] == ["--node"]:
        delay, waits = float(sys.argv[2]) / 1e3, sys.argv[3] == "waits"
        sys.argv = ["volstore", *sys.argv[4:]]
        return node(delay, waits=waits)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=5.0, help="milliseconds that each sync takes longer")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for waits in (True, False):
            run(str(options.delay), options.seconds, waits=waits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
