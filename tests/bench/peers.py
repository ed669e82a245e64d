"""Registers on three real nodes against puts on three etcd members, in turn, on this machine, as ratios.

    python -m tests.bench.peers [--rounds 3] [--seconds 5]

Needs Debian's `wrk` and `etcd-server`. Both keep three members on loopback with fdatasync on every one; commands
carry about 400 bytes; wrk asks the leader over HTTP with JSON. Figures are medians over the rounds; each round runs
both peers, so that the ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.process.agents import add_plugin, agents, free_ports, leader, until

HERE = Path(__file__).parent
CLIENTS = (1, 32, 256)
FILLER = "x" * 280


def wrk(script: str, url: str, clients: int, seconds: int, *arguments: str) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / script), url, "--"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    if figures["bad"]:
        raise RuntimeError(f"{figures['bad']:.0f} requests failed: {done.stdout}")
    return {"per_s": figures["requests"] / figures["seconds"], "p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"]}


@contextmanager
def etcd(folder: Path) -> Iterator[list[str]]:
    """Three members; the client URLs."""
    ports = free_ports(6)
    peers = [f"http://127.0.0.1:{port}" for port in ports[:3]]
    clients = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    cluster = ",".join(f"e{n}={url}" for n, url in enumerate(peers))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    running = []
    try:
        for n in range(3):
            command = ["etcd", "--name", f"e{n}", "--data-dir", str(folder / f"e{n}")]
            command += ["--listen-peer-urls", peers[n], "--initial-advertise-peer-urls", peers[n]]
            command += ["--listen-client-urls", clients[n], "--advertise-client-urls", clients[n]]
            command += ["--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error"]
            with (folder / f"e{n}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        yield clients
    finally:
        for process in running:
            process.kill()
            process.wait()


async def etcd_leader(session: aiohttp.ClientSession, clients: list[str]) -> str:
    async def found() -> str | None:
        for url in clients:
            try:
                async with session.post(f"{url}/v3/maintenance/status", json={}) as response:
                    status = await response.json()
            except (aiohttp.ClientError, ValueError):
                continue
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return url
        return None

    result = await until(found, what="etcd's leader")
    return str(result)


async def one_round(number: int, seconds: int) -> dict[str, dict[int, dict[str, float]]]:
    figures: dict[str, dict[int, dict[str, float]]] = {"volstore": {}, "etcd": {}}
    async with aiohttp.ClientSession() as session:
        with tempfile.TemporaryDirectory() as folder, agents(Path(folder), 3) as nodes:
            for node in nodes:
                node.start()
            lead = await leader(session, nodes)
            await add_plugin(session, lead.url)
            for clients in CLIENTS:
                prefix = f"r{number}c{clients}"
                figures["volstore"][clients] = wrk("register.lua", lead.url, clients, seconds, prefix, FILLER)
        with tempfile.TemporaryDirectory() as folder, etcd(Path(folder)) as urls:
            url = await etcd_leader(session, urls)
            for index, clients in enumerate(CLIENTS):
                figures["etcd"][clients] = wrk("put.lua", url, clients, seconds, "ABCD"[index] * 4)
    return figures


def median(rounds: list[dict[str, dict[int, dict[str, float]]]], peer: str, clients: int, what: str) -> float:
    return statistics.median(one[peer][clients][what] for one in rounds)


def report(rounds: list[dict[str, dict[int, dict[str, float]]]]) -> dict[str, Any]:
    rows = []
    for clients in CLIENTS:
        row: dict[str, Any] = {"clients": clients}
        for peer in ("volstore", "etcd"):
            for what in ("per_s", "p50_ms", "p99_ms"):
                row[f"{peer}_{what}"] = round(median(rounds, peer, clients, what), 2)
        for what in ("per_s", "p99_ms"):
            ratios = [one["volstore"][clients][what] / one["etcd"][clients][what] for one in rounds]
            row[f"ratio_{what}"] = round(statistics.median(ratios), 2)
        rows.append(row)
    version = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "rows": rows,
        "rounds": len(rounds),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "etcd": version,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of wrk")
    given = parser.parse_args()
    missing = [program for program in ("wrk", "etcd") if shutil.which(program) is None]
    if missing:
        print(f"not found: {', '.join(missing)}; on Debian: apt-get install wrk etcd-server", file=sys.stderr)
        return 2
    rounds = [asyncio.run(one_round(number, given.seconds)) for number in range(given.rounds)]
    print(json.dumps(report(rounds), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
