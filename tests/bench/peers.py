"""Registers on three real nodes against puts on three etcd members, in turn, on this machine, as ratios.

    python -m tests.bench.peers [--rounds 3] [--seconds 5]

Needs `wrk` and `etcd` (`make bench` installs them). Both keep three members on loopback with mutual TLS between them
and fdatasync on every one; commands carry about 400 bytes; wrk asks over plain HTTP with JSON. Figures are medians over
the rounds; each round runs both peers, so that the ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.bulk import fill
from tests.bench.certificates import secured_agents
from tests.bench.etcd import etcd, etcd_leader, etcd_version
from tests.bench.processes import processor_seconds, resident_mib
from tests.bench.programs import ensure
from tests.process.agents import add_plugin, leader, volume

HERE = Path(__file__).parent
CLIENTS = {1: "1 client", 32: "32 clients", 256: "256 clients"}
FILLER = "x" * 280
LISTED = 6098


def wrk(script: str, url: str, clients: int, seconds: int, *arguments: str) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / script), url, "--"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    if figures["bad"]:
        raise RuntimeError(f"{figures['bad']:.0f} requests failed: {done.stdout}")
    return {"per_s": figures["requests"] / figures["seconds"], "p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"]}


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
    Case(f"list {LISTED:,} volumes, 8 clients", 8, "once.lua", path="/v1/volumes?type=csi"),
    *(Case(f"register, {clients}", n, "register.lua", peer=f"put, {clients}") for n, clients in CLIENTS.items()),
    Case("register via a follower, 32 clients", 32, "register.lua", "follower", peer="put, 32 clients"),
    Case("read one, 32 clients", 32, "once.lua", path=f"/v1/volume/csi/{_ID}", peer="range, 32 clients"),
    Case("read one via a follower, 32 clients", 32, "once.lua", "follower", f"/v1/volume/csi/{_ID}"),
    Case("read one, stale, 32 clients", 32, "once.lua", "follower", f"/v1/volume/csi/{_ID}?stale"),
)
ETCD = (
    *(Case(f"put, {clients}", n, "put.lua") for n, clients in CLIENTS.items()),
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
    with tempfile.TemporaryDirectory() as folder, secured_agents(Path(folder), 3) as nodes:
        for node in nodes:
            node.start()
        async with aiohttp.ClientSession() as session:
            lead = await leader(session, nodes)
            await add_plugin(session, lead.url)
            body = {"Volumes": [volume(_ID)]}
            async with session.put(f"{lead.url}/v1/volume/csi/{_ID}", json=body) as response:
                response.raise_for_status()
            await fill(session, lead.url, 1, LISTED)
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
    return {"rounds": len(ours), "etcd_version": etcd_version(), **found}


def run(rounds: int, seconds: int) -> dict[str, Any]:
    both = [(asyncio.run(volstore_round(n, seconds)), asyncio.run(etcd_round(seconds))) for n in range(rounds)]
    return report([ours for ours, _ in both], [theirs for _, theirs in both])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of wrk")
    given = parser.parse_args()
    if ensure():
        return 2
    print(json.dumps(run(given.rounds, given.seconds), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
