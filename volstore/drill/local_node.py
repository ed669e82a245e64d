"""A node of a throw-away cluster: a real agent process that can be started, stopped, paused and killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from volstore.agent.settings import BY_NAME
from volstore.drill.target import TargetError, TargetNode

STOP_WITHIN = 30.0
"""Seconds in which a node must transfer its leadership and end after SIGTERM."""


@dataclass(slots=True)
class LocalNode:
    """One node. `settings` are the agent's, by name; its data directory is `data`, its log the file `log`.

    `prefix` precedes the agent's command, for example to enter a network namespace. `environment` extends the agent's.
    `started` is called with the id of each process.
    """

    node: TargetNode
    folder: Path
    data: Path
    log: Path
    settings: Mapping[str, str | list[str]]
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    started: Callable[[int], None] = lambda pid: None
    process: asyncio.subprocess.Process | None = None
    paused: bool = False

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        """The process id. Raises TargetError if the node doesn't run."""
        if self.process is None or self.process.returncode is not None:
            raise TargetError(f"{self.name} doesn't run; the end of {self.log} says why")
        return self.process.pid

    async def start(self, join: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start the node if it doesn't run.

        `join` are HTTP addresses of members whose cluster it joins; `environment` then has the token.
        """
        if self.runs:
            return
        settings: dict[str, str | list[str]] = {"name": self.name, "data_dir": str(self.data), **self.settings}
        if join:
            del settings["servers"]
            settings["join"] = list(join)
        file = self.folder / "agent.toml"
        file.write_text("".join(f"{key} = {_toml(key, value)}\n" for key, value in settings.items()))
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("VOLSTORE_", "NOMAD_"))}
        command = [*self.prefix, sys.executable, "-m", "volstore", "agent", "--config", str(file)]
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C at the terminal is for the drill, which heals and stops in order.
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdout=log,
                stderr=log,
                env=inherited | dict(self.environment) | dict(environment or {}),
                start_new_session=True,
            )
        self.started(self.process.pid)
        self.paused = False

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Raises TargetError if the node doesn't run."""
        pid = self.pid
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            # asyncio's thread has reaped the process, but the loop doesn't know yet.
            raise TargetError(f"{self.name} ended just now; the end of {self.log} says why") from None

    def pause(self) -> None:
        self.send(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        if self.paused and self.runs:
            self.send(signal.SIGCONT)
        self.paused = False

    async def ended(self) -> int:
        """Wait for the end. Returns the exit code."""
        assert self.process is not None
        return await self.process.wait()

    async def kill(self) -> None:
        """Send SIGKILL and wait for the end. Does nothing if the node doesn't run."""
        if self.runs:
            with suppress(TargetError):
                self.send(signal.SIGKILL)
            await self.ended()
        self.paused = False

    async def stop(self) -> None:
        """Stop the node as an operator does. Raises TargetError if it doesn't end in time, or fails."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                code = await self.ended()
        except TimeoutError:
            raise TargetError(f"{self.name} did not stop within {STOP_WITHIN:g} s of SIGTERM") from None
        if code != 0:
            raise TargetError(f"{self.name} ended with code {code} after SIGTERM; see {self.log}")

    def wipe(self) -> None:
        """Remove its data, like the loss of its disk."""
        shutil.rmtree(self.data)


def _toml(key: str, value: str | list[str]) -> str:
    """A value as TOML, whose strings and lists look as in JSON."""
    return str(value) if BY_NAME[key].switch else json.dumps(value)
