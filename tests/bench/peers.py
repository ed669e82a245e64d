"""Registers on three real nodes against puts on three etcd members, in turn, on this machine, as ratios.

    python -m tests.bench.peers [--rounds 3] [--seconds 5]

Needs Debian's `wrk` and `etcd-server`. Both keep three members on loopback with fdatasync on every one; commands
carry about 400 bytes; wrk asks the leader over HTTP with JSON. Figures are medians over the rounds; each round runs
both peers, so that the ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.processes import processor_seconds, resident_mib
from tests.process.agents import add_plugin, agents, free_ports, leader, until, volume

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
def etcd(folder: Path) -> Iterator[tuple[list[str], list[int]]]:
    """Three members: their client URLs, and their process IDs."""
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
        yield clients, [process.pid for process in running]
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


@dataclass(frozen=True, slots=True)
class Case:
    """`target` is "leader" or "follower"; `peer` says against which of etcd's runs it is held (None: none)."""

    name: str
    clients: int
    script: str
    target: str = "leader"
    path: str = ""
    peer: str | None = None


_ID = "read-one"
_KEY = base64.b64encode(_ID.encode()).decode()
VOLSTORE = (
    *(Case(f"register, {n} clients", n, "register.lua", peer=f"put, {n} clients") for n in CLIENTS),
    Case("register via a follower, 32 clients", 32, "register.lua", "follower", peer="put, 32 clients"),
    Case("read one, 32 clients", 32, "once.lua", path=f"/v1/volume/csi/{_ID}", peer="range, 32 clients"),
    Case("read one via a follower, 32 clients", 32, "once.lua", "follower", f"/v1/volume/csi/{_ID}"),
    Case("read one, stale, 32 clients", 32, "once.lua", "follower", f"/v1/volume/csi/{_ID}?stale"),
)
ETCD = (
    *(Case(f"put, {n} clients", n, "put.lua") for n in CLIENTS),
    Case("range, 32 clients", 32, "once.lua", path="/v3/kv/range"),
)

Figures = dict[str, float]


def measured(pids: list[int], run: Callable[[], Figures], seconds: int) -> Figures:
    """`run`, with the processor time of the processes for 1,000 requests, and the largest one's memory after it."""
    before = processor_seconds(pids)
    figures = run()
    used = processor_seconds(pids) - before
    return {**figures, "cpu_s_per_1000": used / (figures["per_s"] * seconds) * 1000, "rss_mib": resident_mib(pids)}


async def volstore_round(number: int, seconds: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), 3) as nodes:
        for node in nodes:
            node.start()
        async with aiohttp.ClientSession() as session:
            lead = await leader(session, nodes)
            await add_plugin(session, lead.url)
            body = {"Volumes": [volume(_ID)]}
            async with session.put(f"{lead.url}/v1/volume/csi/{_ID}", json=body) as response:
                response.raise_for_status()
        follower = next(node for node in nodes if node is not lead)
        pids = [node.process.pid for node in nodes if node.process is not None]
        for index, case in enumerate(VOLSTORE):
            url = (lead if case.target == "leader" else follower).url
            given = ("GET", case.path) if case.path else (f"r{number}c{index}", FILLER)
            found[case.name] = measured(pids, partial(wrk, case.script, url, case.clients, seconds, *given), seconds)
    return found


async def etcd_round(seconds: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder, etcd(Path(folder)) as (urls, pids):
        async with aiohttp.ClientSession() as session:
            url = await etcd_leader(session, urls)
            pair = {"key": _KEY, "value": base64.b64encode(b"x" * 400).decode()}
            async with session.post(f"{url}/v3/kv/put", json=pair) as response:
                response.raise_for_status()
        for index, case in enumerate(ETCD):
            given = ("POST", case.path, json.dumps({"key": _KEY})) if case.path else ("ABCD"[index] * 4,)
            found[case.name] = measured(pids, partial(wrk, case.script, url, case.clients, seconds, *given), seconds)
    return found


def median(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    return {
        name: {what: round(statistics.median(one[name][what] for one in rounds), 3) for what in rounds[0][name]}
        for name in rounds[0]
    }


def report(ours: list[dict[str, Figures]], theirs: list[dict[str, Figures]]) -> dict[str, Any]:
    """Medians, and the medians of the ratios in each round."""
    found = {"volstore": median(ours), "etcd": median(theirs)}
    for case in VOLSTORE:
        if case.peer is not None:
            for what in ("per_s", "p50_ms", "p99_ms"):
                ratios = [one[case.name][what] / two[case.peer][what] for one, two in zip(ours, theirs, strict=True)]
                found["volstore"][case.name][f"ratio_{what}"] = round(statistics.median(ratios), 2)
    version = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {"rounds": len(ours), "etcd_version": version, **found}


def missing() -> list[str]:
    """What this bench needs and isn't here."""
    return [program for program in ("wrk", "etcd") if shutil.which(program) is None]


def run(rounds: int, seconds: int) -> dict[str, Any]:
    both = [(asyncio.run(volstore_round(n, seconds)), asyncio.run(etcd_round(seconds))) for n in range(rounds)]
    return report([ours for ours, _ in both], [theirs for _, theirs in both])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of wrk")
    given = parser.parse_args()
    if missing():
        print(f"not found: {', '.join(missing())}; on Debian: apt-get install wrk etcd-server", file=sys.stderr)
        return 2
    print(json.dumps(run(given.rounds, given.seconds), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
