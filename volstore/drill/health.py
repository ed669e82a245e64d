"""Waits until a cluster is healthy after a fault: all nodes answer, are connected, agree, and have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from volstore.drill.exchange import Exchange
from volstore.drill.target import TargetNode

_LOOK_EVERY = 0.1
_WITHIN = 2.0


async def wait_until_healthy(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> str:
    """Wait until all `nodes` are connected, agree on the leader, and have applied what is committed now.

    Returns "", or what is still wrong after `seconds`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    least, names = 0, {node.name for node in nodes}
    while True:
        answers = await asyncio.gather(
            *(exchange.ask("GET", node.url, "/v1/operator/node", within=_WITHIN) for node in nodes)
        )
        said = {node.name: answer.json() for node, answer in zip(nodes, answers, strict=True) if answer.status == 200}
        least = least or max((one["commit_index"] for one in said.values()), default=0)
        wrong = [f"{node.name} does not answer" for node in nodes if node.name not in said]
        wrong += [line for name, one in said.items() for line in _wrong(name, one, least, names)]
        leaders = {one["leader"] for one in said.values()}
        if len(leaders) > 1:
            wrong.append(
                f"the nodes disagree on the leader: {' and '.join(sorted(name or 'nobody' for name in leaders))}"
            )
        if not wrong:
            return ""
        if loop.time() > end:
            return "; ".join(wrong)
        await asyncio.sleep(_LOOK_EVERY)


def _wrong(name: str, said: dict[str, Any], least: int, names: set[str]) -> list[str]:
    found = []
    if said["fault"]:
        found.append(f"{name} acknowledges nothing: {said['fault']}")
    if said["role"] not in ("leader", "follower"):
        found.append(f"{name} is {said['role']}")
    if not said["leader"]:
        found.append(f"{name} knows no leader")
    peers = [peer["server"] for peer in said["peers"]]
    if lost := [peer["name"] for peer in peers if peer["status"] != "alive" and peer["name"] in names]:
        found.append(f"{name} has no connection to {' and '.join(lost)}")
    if said["applied_index"] < least:
        found.append(f"{name} has applied {said['applied_index']} of {least} log entries")
    return found
