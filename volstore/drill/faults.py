"""How one kind of fault is done on a throw-away cluster, and those that need only a node's process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from volstore.drill.local_node import LocalNode
from volstore.drill.target import Fault


class Means(Protocol):
    """One kind of fault. `do` and `heal` raise TargetError; `heal` also undoes what was done in part, or not at all."""

    def cannot(self, fault: Fault) -> str | None: ...

    def plan(self, fault: Fault) -> list[str]: ...

    async def do(self, fault: Fault) -> None: ...

    async def heal(self, fault: Fault) -> None: ...


class _Process:
    """What a signal does can be done everywhere."""

    def __init__(self, nodes: Mapping[str, LocalNode]) -> None:
        self._nodes = nodes

    def cannot(self, fault: Fault) -> str | None:
        return None


class Kill(_Process):
    """kill -9 of all its nodes at once; healed by starting them again on what is on their disks."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -KILL (process of {name}); later: start it again" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        await asyncio.gather(*(self._nodes[name].kill() for name in fault.nodes))

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].start()


class Pause(_Process):
    """SIGSTOP, as by a host that stands still; healed by SIGCONT."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -STOP (process of {name}); later: kill -CONT" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._nodes[name].pause()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._nodes[name].resume()


class Restart(_Process):
    """Stopped as an operator does it, SIGTERM, and started again."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -TERM (process of {name}), wait for its end, start it again" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].stop()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].start()
