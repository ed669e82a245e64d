"""Network faults between nodes: partition, one-way partition, and flapping links. Clients still reach every node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from volstore.drill.namespaces import Network
from volstore.drill.target import Fault

Pairs = list[tuple[str, str]]
NO_NETWORK = "links between nodes on loopback can't be broken"


class Links:
    """Base of network faults. `why` says why there is no own network, "" if there is one; `names` are the nodes."""

    def __init__(self, network: Network | None, names: Sequence[str], why: str) -> None:
        self._there = network
        self._names = names
        self._why = why

    @property
    def network(self) -> Network:
        assert self._there is not None
        return self._there

    def cannot(self, fault: Fault) -> str | None:
        return f"{NO_NETWORK}: {self._why}" if self._there is None else None

    def pairs(self, fault: Fault) -> Pairs:
        """The cut directions: the first of each pair doesn't reach the second."""
        rest = [name for name in self._names if name not in fault.nodes]
        return [pair for one in fault.nodes for other in rest for pair in ((one, other), (other, one))]

    def plan(self, fault: Fault) -> list[str]:
        return [f"no packet from {source} gets to {to}" for source, to in self.pairs(fault)]


class Partition(Links):
    """Cuts the nodes off from all others."""

    async def do(self, fault: Fault) -> None:
        await self.network.cut(self.pairs(fault))

    async def heal(self, fault: Fault) -> None:
        await self.network.join(self.pairs(fault))


class OneWay(Partition):
    """Cuts one direction only: the nodes receive nothing ("in"), or nobody receives what they send ("out")."""

    def pairs(self, fault: Fault) -> Pairs:
        end = 1 if fault.direction == "in" else 0
        return [pair for pair in super().pairs(fault) if pair[end] in fault.nodes]


class Flap(Links):
    """Cuts and restores links in turn until it is healed."""

    def __init__(self, network: Network | None, names: Sequence[str], why: str) -> None:
        super().__init__(network, names, why)
        self._flapping: dict[Fault, asyncio.Task[None]] = {}

    def plan(self, fault: Fault) -> list[str]:
        return [*super().plan(fault), f"for {fault.down:g} s, then all packets do for {fault.up:g} s, in turn"]

    async def do(self, fault: Fault) -> None:
        self._flapping[fault] = asyncio.create_task(self._flap(fault), name=str(fault))

    async def _flap(self, fault: Fault) -> None:
        while True:
            await self.network.cut(self.pairs(fault))
            await asyncio.sleep(fault.down)
            await self.network.join(self.pairs(fault))
            await asyncio.sleep(fault.up)

    async def heal(self, fault: Fault) -> None:
        task = self._flapping.pop(fault, None)
        if task is not None:
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended
        await self.network.join(self.pairs(fault))
