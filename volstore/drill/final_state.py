"""The final state of every node: its digest at an index that all have reached, and the drill's volumes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from volstore.drill.exchange import Answer, Exchange
from volstore.drill.target import Access, TargetNode
from volstore.drill.volumes import NAMESPACE, value_of

_EVERY = 0.1
_WITHIN = 2.0
_LIST_WITHIN = 60.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Held:
    """A volume on a node. `index` is its ModifyIndex."""

    value: str
    index: int


@dataclass(frozen=True, slots=True)
class Final:
    """The final state of one node. If `error` is set, the node did not answer, and the other fields mean nothing."""

    node: str
    index: int = 0
    digest: str = ""
    volumes: Mapping[str, Held] = field(default_factory=dict)
    error: str = ""


async def read_finals(nodes: Sequence[TargetNode], access: Access, prefix: str, seconds: float = 30.0) -> list[Final]:
    """Wait until all nodes have applied the same index, at most `seconds`; then read each node's volumes, linearizably.

    `prefix` is the prefix of the load's volumes. A node that still lags is returned as it is; checks.py judges it.
    """
    exchange = Exchange(access)
    try:
        digests = await _level(exchange, nodes, seconds)
        return list(await asyncio.gather(*(_final(exchange, node, digests[node.name], prefix) for node in nodes)))
    finally:
        await exchange.close()


async def _level(exchange: Exchange, nodes: Sequence[TargetNode], seconds: float) -> dict[str, Answer]:
    """Each node's answer about itself, once all have the same index."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        path = "/v1/operator/node"
        answers = await asyncio.gather(*(exchange.ask("GET", node.url, path, within=_WITHIN) for node in nodes))
        indexes = {answer.json()["fsm_index"] if answer.status == 200 else None for answer in answers}
        if (len(indexes) == 1 and None not in indexes) or loop.time() > end:
            return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}
        await asyncio.sleep(_EVERY)


async def _final(exchange: Exchange, node: TargetNode, said: Answer, prefix: str) -> Final:
    if said.status != 200:
        return Final(node.name, error=f"the request for its digest was answered: {said.status or ''} {said.text}")
    parameters = {"type": "csi", "namespace": NAMESPACE, "prefix": f"{prefix}-", "consistent": "true"}
    answer = await exchange.ask("GET", node.url, "/v1/volumes", parameters, within=_LIST_WITHIN)
    if answer.status != 200:
        return Final(node.name, error=f"the request for its volumes was answered: {answer.status or ''} {answer.text}")
    own, waiting = said.json(), asyncio.Semaphore(_AT_ONCE)
    volumes: dict[str, Held] = {}

    async def read(volume: str) -> tuple[str, Answer]:
        async with waiting:
            path = f"/v1/volume/csi/{volume}"
            where = {"namespace": NAMESPACE, "consistent": "true"}
            return volume, await exchange.ask("GET", node.url, path, where, within=_LIST_WITHIN)

    for volume, found in await asyncio.gather(*(read(one["ID"]) for one in answer.json())):
        if found.status != 200:
            return Final(node.name, error=f"the request for {volume} was answered: {found.status or ''} {found.text}")
        volumes[volume] = Held(value_of(found) or "", found.json()["ModifyIndex"])
    return Final(node.name, own["fsm_index"], own["digest"], volumes)
