"""The injector protocol for faults on a throw-away cluster, and the injectors that only signal a process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from volstore.drill.local_node import LocalNode
from volstore.drill.target import Fault


class Injector(Protocol):
    """Injects one kind of fault.

    `do` and `heal` raise TargetError; `heal` also accepts a fault that `do` left half done.
    """

    def cannot(self, fault: Fault) -> str | None: ...

    def plan(self, fault: Fault) -> list[str]: ...

    async def do(self, fault: Fault) -> None: ...

    async def heal(self, fault: Fault) -> None: ...


class _Process:
    """Base of faults by signals, which are possible everywhere."""

    def __init__(self, nodes: Mapping[str, LocalNode]) -> None:
        self._nodes = nodes

    def cannot(self, fault: Fault) -> str | None:
        return None


class Kill(_Process):
    """Kills all its nodes with SIGKILL at once. Healing starts them again from their disks."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -KILL (process of {name}); later: start it again" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        await asyncio.gather(*(self._nodes[name].kill() for name in fault.nodes))

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].start()


class Pause(_Process):
    """Pauses processes with SIGSTOP, like a host that stands still. Healing sends SIGCONT."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -STOP (process of {name}); later: kill -CONT" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._nodes[name].pause()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._nodes[name].resume()


class Restart(_Process):
    """Stops nodes with SIGTERM, as an operator does, and starts them again."""

    def plan(self, fault: Fault) -> list[str]:
        return [f"kill -TERM (process of {name}), wait for its end, start it again" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].stop()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].start()
