"""The steps of a recorded story that Nomad takes by internal calls and we by HTTP: allocations and claims."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from yarl import URL

from tests.replay import Replay, Step

_STATUSES = {"controller publish: volume not found": 404, "controller publish: Unknown": 404, "missing volume ID": 400}


async def allocation(replay: Replay, session: aiohttp.ClientSession, step: Step) -> None:
    stub = step["stub"]
    await replay.must(session, "PUT", f"/v1/allocation/{stub['ID']}", stub)


async def claim(replay: Replay, session: aiohttp.ClientSession, step: Step) -> None:
    """Taken where the reference took it, and else refused with its words."""
    asked = step["claim"]
    body: dict[str, Any] = {"AllocationID": asked["AllocID"], "NodeID": asked["NodeID"], "Mode": asked["Mode"]}
    if "State" in asked:
        body["State"] = asked["State"]
    url = URL(f"{replay.urls[0]}/v1/volume/csi/{asked['VolumeID']}/claim", encoded=True)
    async with session.put(url, json=body) as response:
        text = await response.text()
    replay.comparison.compared += 1
    status, words = _expected(step)
    if response.status != status or not text.startswith(words):
        replay.comparison.differ(f"claim {asked}: {response.status} {text[:200]}, expected {status} {words}")
    if response.status == 200:
        _compare_claimed(replay, step, json.loads(text))


def _expected(step: Step) -> tuple[int, str]:
    if "deviation" in step:
        return step["deviation"]["status"], ""
    if step["ok"]:
        return 200, ""
    text = step["text"]
    status = next((status for start, status in _STATUSES.items() if text.startswith(start)), 409)
    return status, text.removeprefix("controller publish: ")


def _compare_claimed(replay: Replay, step: Step, answer: dict[str, Any]) -> None:
    """What the answer shows of the claim; the reads that follow show the rest."""
    asked = step["claim"]
    held = [key for key in ("ReadClaims", "WriteClaims", "PastClaims") if asked["AllocID"] in answer[key]]
    wanted = [["ReadClaims"], ["WriteClaims"], []][asked["Mode"]]
    if held != wanted:
        replay.comparison.differ(f"claim {asked}: the allocation is in {held}, expected {wanted}")


STEPS = {"allocation": allocation, "claim": claim}
