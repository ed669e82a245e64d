"""Every bench in turn, as one Markdown table and one JSON document, with the machine and the versions.

    python -m tests.bench [--rounds 3] [--seconds 5] [--kills 10] [--largest 1000000] [--json FILE]

As root on Debian it installs `wrk` and `etcd-server` where they are missing (no service is started); else it says how
to, and ends with exit code 2. A million volumes take some 3 GiB; --largest asks for fewer. A budget that is missed
shows in the table and is no failure: what the machine does besides counts too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import bulk, failover, growth, peers, waiters
from tests.bench.budgets import BUDGETS
from tests.bench.programs import ensure
from tests.bench.report import Row, markdown

VOLUMES = 100_000
WAITERS = 5000


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    names = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in names.splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        # How it was built matters by up to a sixth (NOTES.md), and its version alone doesn't tell.
        "python": f"{platform.python_version()}, built {platform.python_build()[1]} with {platform.python_compiler()}",
        **{name: version(name) for name in ("volstore", "aiohttp", "pysyncobj", "uvloop", "msgspec")},
    }


def against_etcd(found: dict[str, Any]) -> Iterator[Row]:
    peer_of = {case.name: case.peer for case in peers.VOLSTORE}
    for case, figures in found["volstore"].items():
        peer = peer_of[case]
        yield Row(case, figures, found["etcd"][peer] if peer is not None else {})


def with_many_volumes(three: dict[str, Any], one: dict[str, Any]) -> Iterator[Row]:
    yield Row(f"bulk load of {VOLUMES:,} volumes", {"seconds": three["bulk_load_s"]})
    yield Row(f"list {VOLUMES:,} volumes, cold", {"seconds": three["list_cold_s"]})
    yield Row(f"list {VOLUMES:,} volumes, again", {"seconds": three["list_again_s"]})
    yield Row(f"memory with {VOLUMES:,} volumes, largest of three nodes", {"rss_mib": three["rss_mib"]})
    restart = {"seconds": one["restart_to_first_answer_s"], "rss_mib": one["rss_after_restart_mib"]}
    yield Row(f"restart with {VOLUMES:,} volumes, to the first answer", restart)


def waiting(found: dict[str, float]) -> Iterator[Row]:
    woken = {"last_ms": found["last_ms"], "cpu_s_per_1000": found["cpu_us_each"] / 1000}
    yield Row(f"{WAITERS:,} waiters on one volume, the last one woken", woken)
    yield Row(f"{WAITERS:,} waiters, memory", {"kib_each": found["kib_each"]})


def growing(found: dict[int, growth.Costs]) -> Iterator[Row]:
    """The largest size against the smallest; the budgets are those of a million."""
    smallest, largest = min(found), max(found)
    named = "a million volumes" if largest == 1_000_000 else f"{largest:,} volumes"
    for kind in growth.KINDS:
        costs = {f"cpu_us_with_{size}": cost[kind] for size, cost in found.items()}
        figures = {
            "growth": found[largest][kind] / found[smallest][kind],
            "cpu_s_per_1000": found[largest][kind] / 1000,
        }
        yield Row(f"{named}: {kind}", {**figures, "rss_mib": found[largest]["rss_mib"], **costs})


def outages(found: dict[str, Any]) -> Row:
    figures = {
        "p50_ms": found["outage_p50_s"] * 1000,
        "p99_ms": found["outage_worst_s"] * 1000,
        "worst_s": found["outage_worst_s"],
        "failed": found["failed_requests"],
        "lost": max(found["lost"].values()),
    }
    return Row("kill -9 of the leader under load, outage of writers", figures)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of wrk")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--largest", type=int, default=1_000_000, help="volumes of the bench of growth")
    parser.add_argument("--json", type=Path, help="where the JSON goes; after the table if absent")
    given = parser.parse_args()
    if ensure():
        return 2
    found: dict[str, Any] = {"machine": machine()}
    peer = peers.run(given.rounds, given.seconds)
    found["machine"]["etcd"] = peer["etcd_version"]
    rows = [*against_etcd(peer)]
    rows += with_many_volumes(asyncio.run(bulk.run(VOLUMES, 3)), asyncio.run(bulk.run(VOLUMES, 1)))
    rows += waiting(waiters.run(WAITERS, given.rounds))
    rows += growing(growth.run(tuple(size for size in growth.SIZES if size <= given.largest)))
    rows.append(outages(asyncio.run(failover.run(given.kills, "KILL", 2))))
    print("; ".join(f"{name} {value}" for name, value in found["machine"].items()))
    print(f"\n{markdown(rows)}", flush=True)
    if unmeasured := BUDGETS.keys() - {row.case for row in rows}:
        print(f"budgets that nothing was held against: {', '.join(sorted(unmeasured))}", file=sys.stderr)
    text = json.dumps({**found, "rounds": given.rounds, "cases": [row.json() for row in rows]}, indent=2)
    if given.json is None:
        print(f"\n{text}")
    else:
        given.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
