"""The result of a real drill, kept for what is made of results: one leader killed under a small load, with its seed.

python -m tests.drill.recorded    records it anew
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from volstore.drill.local import LocalTarget
from volstore.drill.progress import Progress
from volstore.drill.record import Kind, Request, Result
from volstore.drill.run import rehearse
from volstore.drill.scenario import LoadSettings
from volstore.drill.scenarios import find

FILE = Path(__file__).with_name("recorded.json")
_DEFAULTS = {field.name: field.default for field in fields(Request)}


def recorded() -> Result:
    return msgspec.json.decode(FILE.read_bytes(), type=Result)


def record(result: Result) -> None:
    """Without what is as it is by default, times in whole microseconds, and one request a line."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    requests = [
        {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in request.items()
            if value != _DEFAULTS[name]
        }
        for request in plain.pop("requests")
    ]
    lines = b",\n".join(map(msgspec.json.encode, requests))
    head = msgspec.json.format(msgspec.json.encode(plain), indent=1)[:-2]
    FILE.write_bytes(head + b',\n "requests": [\n' + lines + b"\n]}\n")


async def _drill() -> Result:
    whole = find("leader-kill")
    kill = next(step for step in whole.steps if step.kind is not None)
    alone = next(step for step in whole.steps if step.kind is None)
    load = LoadSettings(clients=1, volumes=12, mix=dict.fromkeys(Kind, 1), timeout=5.0, pause=0.05)
    scenario = replace(whole, steps=(alone, kill, alone), load=load)
    with tempfile.TemporaryDirectory() as folder:
        target = LocalTarget(3, Path(folder), scenario.faults(), scenario.settings)
        return await rehearse(scenario, target, 4711, Progress(None, ""))


if __name__ == "__main__":
    made = asyncio.run(_drill())
    record(made)
    sys.stdout.write(f"{len(made.requests)} requests, passed: {made.passed}\n")
