"""Every bench in turn, as one Markdown table and one JSON document, with the machine and the versions.

    python -m tests.bench [--rounds 3] [--seconds 5] [--volumes 100000] [--json FILE]

Installs nothing: what is missing is named, and the benches that need it are left out (exit code 2).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import bulk, peers

_COLUMNS = {
    "per_s": "per second",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_s_per_1000": "CPU s per 1,000",
    "rss_mib": "RSS MiB",
    "ratio_per_s": "rate / etcd",
    "ratio_p50_ms": "p50 / etcd",
    "ratio_p99_ms": "p99 / etcd",
}


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    names = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in names.splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("volstore", "aiohttp", "pysyncobj", "uvloop", "msgspec")},
    }


def table(found: dict[str, Any]) -> str:
    lines = ["| case | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for peer in ("volstore", "etcd"):
        for name, figures in found.get("peers", {}).get(peer, {}).items():
            cells = [f"{figures[what]:,g}" if what in figures else "" for what in _COLUMNS]
            lines.append(f"| {peer}: {name} | " + " | ".join(cells) + " |")
    lines += ["", f"| {found['volumes']:,} volumes on one node | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found["bulk"].items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of each run of wrk")
    parser.add_argument("--volumes", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="where the JSON goes; after the table if absent")
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "volumes": given.volumes}
    if missing := peers.missing():
        print(f"not found: {', '.join(missing)}; on Debian: apt-get install wrk etcd-server", file=sys.stderr)
    else:
        found["peers"] = peers.run(given.rounds, given.seconds)
    found["bulk"] = asyncio.run(bulk.run(given.volumes, 1, False))
    print(table(found), flush=True)
    text = json.dumps(found, indent=2)
    if given.json is None:
        print(f"\n{text}")
    else:
        given.json.write_text(text + "\n")
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
