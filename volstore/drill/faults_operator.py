"""Faults that need an operator's commands: a lost disk with the replacement of its node, and a backup under load."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from volstore.drill.local_node import LocalNode
from volstore.drill.target import Fault, TargetError, TargetNode


class Operator:
    """Runs `volstore` commands as an operator does. `environment` has the variables for the cluster."""

    def __init__(self, environment: Callable[[], Mapping[str, str]]) -> None:
        self.environment = environment

    async def run(self, at: TargetNode, *words: str) -> str:
        """Run a command and return its output. Raises TargetError if it fails."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("VOLSTORE_", "NOMAD_"))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "volstore", *words),
            env=inherited | {"VOLSTORE_ADDR": at.url} | dict(self.environment()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        text = output.decode(errors="replace").strip()
        if process.returncode != 0:
            raise TargetError(f"volstore {' '.join(words)} failed: {text}")
        return text


class Replace:
    """Kills a node and wipes its disk. Healing replaces it with an empty node of its name, as in deploy/README.md."""

    def __init__(self, nodes: Mapping[str, LocalNode], operator: Operator) -> None:
        self._nodes = nodes
        self._operator = operator

    def cannot(self, fault: Fault) -> str | None:
        return None

    def plan(self, fault: Fault) -> list[str]:
        return [
            line
            for name in fault.nodes
            for line in (
                f"kill -KILL (process of {name}); rm -r (its data); later:",
                f"volstore agent --name {name} --join (the other members)",
                f"volstore operator replace {name} {name}",
            )
        ]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._nodes[name].kill()
            self._nodes[name].wipe()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._replace(self._nodes[name])

    async def _replace(self, node: LocalNode) -> None:
        if node.runs:
            return
        others = [other.node for other in self._nodes.values() if other is not node and other.runs]
        if not others:
            raise TargetError(f"{node.name} can't be replaced while no other node runs")
        await node.start([other.url.partition("//")[2] for other in others], self._operator.environment())
        await self._operator.run(others[0], "operator", "replace", node.name, node.name, "--timeout", "60")


class Backup:
    """Saves a backup from one node under load, and inspects it."""

    def __init__(self, nodes: Mapping[str, LocalNode], operator: Operator, file: Path) -> None:
        self._nodes = nodes
        self._operator = operator
        self._file = file

    def cannot(self, fault: Fault) -> str | None:
        return None

    def plan(self, fault: Fault) -> list[str]:
        return [f"volstore operator snapshot save (a file), at {name}; then inspect it" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._operator.run(self._nodes[name].node, "operator", "snapshot", "save", str(self._file))
            await self._operator.run(self._nodes[name].node, "operator", "snapshot", "inspect", str(self._file))

    async def heal(self, fault: Fault) -> None:
        self._file.unlink(missing_ok=True)
