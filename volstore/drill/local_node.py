"""A node of a throw-away cluster: a real agent in a process of its own, started, stopped, paused and killed."""

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
"""Seconds in which a node that is told to stop must have handed over and ended."""


@dataclass(slots=True)
class LocalNode:
    """`settings` are the agent's, by name. Its data are in `data`, and its log is the file `log`.

    `prefix` is a command that the agent's is put after (to enter a network namespace), `environment` is added to the
    agent's. `started` is told the process id of each process.
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
        """Raises TargetError where nothing runs."""
        if self.process is None or self.process.returncode is not None:
            raise TargetError(f"{self.name} doesn't run; the end of {self.log} says why")
        return self.process.pid

    async def start(self, join: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start it, if it doesn't run; `join`: HTTP addresses of members whose cluster it shall join, for which
        `environment` has the token."""
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
            # A session of its own: Ctrl-C at the terminal is for the drill, which heals and stops in order.
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
        """Raises TargetError where nothing runs."""
        pid = self.pid
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            # It has ended, and was waited for in asyncio's thread, but our loop has not been told yet.
            raise TargetError(f"{self.name} ended just now; the end of {self.log} says why") from None

    def pause(self) -> None:
        self.send(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        if self.paused and self.runs:
            self.send(signal.SIGCONT)
        self.paused = False

    async def ended(self) -> int:
        """Its exit code, once it ended."""
        assert self.process is not None
        return await self.process.wait()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone; again, or of one that has just ended: nothing."""
        if self.runs:
            with suppress(TargetError):
                self.send(signal.SIGKILL)
            await self.ended()
        self.paused = False

    async def stop(self) -> None:
        """As an operator stops it. Raises TargetError if it doesn't end in time, or not well."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                code = await self.ended()
        except TimeoutError:
            raise TargetError(f"{self.name} did not stop within {STOP_WITHIN:g} s of SIGTERM") from None
        if code != 0:
            raise TargetError(f"{self.name} ended with code {code} when told to stop; see {self.log}")

    def wipe(self) -> None:
        """Remove its data, as a lost disk does."""
        shutil.rmtree(self.data)


def _toml(key: str, value: str | list[str]) -> str:
    """JSON's strings and lists are TOML's."""
    return str(value) if BY_NAME[key].switch else json.dumps(value)
