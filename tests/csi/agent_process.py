"""The real agent as a process of its own; what the registry would want and hear lies in files.

`python -m tests.csi.agent_process SETTINGS.json`. Work is read from one file as soon as it changes, reports are written
to others. `die_at_write`: the process kills itself instead of writing its record for the n-th time, or right after.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from tests.csi.driver import write_whole
from volstore.node.agent import Agent
from volstore.node.host import Host, read_boot_id
from volstore.node.journal import Journal
from volstore.node.paths import Paths, VolumeKey
from volstore.node.plugins import Plugins, PluginSettings
from volstore.node.record import Record
from volstore.node.work import HostReport, Outcome, RegistryUnavailable, Work


class AgentSettings(msgspec.Struct, kw_only=True):
    directory: str
    base: str
    plugins: dict[str, str]
    verify_mounts: bool = True
    trust_read_only: bool = False
    call_seconds: float = 5.0
    clean_apart_seconds: float = 0.3
    late_seconds: float = 0.5
    boot_id: str = ""
    die_at_write: int = 0
    die_after_write: bool = False

    @property
    def work(self) -> Path:
        return Path(self.directory) / "work.json"

    @property
    def report(self) -> Path:
        return Path(self.directory) / "report.json"

    @property
    def outcomes(self) -> Path:
        return Path(self.directory) / "outcomes.jsonl"

    @property
    def state(self) -> Path:
        return Path(self.directory) / "state"


class FileSource:
    """Work from a file. Without the file the registry can't be reached."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def poll(self, index: int) -> Work:
        while True:
            try:
                work = msgspec.json.decode(self._file.read_bytes(), type=Work)
            except FileNotFoundError:
                raise RegistryUnavailable("no work file") from None
            if work.index > index:
                return work
            await asyncio.sleep(0.01)


class FileReports:
    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings

    async def attachments(self, report: HostReport) -> None:
        write_whole(self._settings.report, msgspec.json.encode(report))

    async def outcome(self, operation_id: str, outcome: Outcome) -> bool:
        with self._settings.outcomes.open("ab") as file:
            file.write(msgspec.json.encode({"ID": operation_id, "Outcome": outcome}) + b"\n")
        return True


class DyingJournal(Journal):
    """Kills the process at the n-th change of a record, before or after it."""

    def __init__(self, directory: Path, settings: AgentSettings) -> None:
        super().__init__(directory)
        self._left = settings.die_at_write
        self._after = settings.die_after_write

    def write(self, record: Record) -> None:
        self._maybe(before=True)
        super().write(record)
        self._maybe(before=False)

    def remove(self, key: VolumeKey) -> None:
        self._maybe(before=True)
        super().remove(key)
        self._maybe(before=False)

    def _maybe(self, *, before: bool) -> None:
        if before:
            self._left -= 1
        if self._left == 0 and before != self._after:
            os.kill(os.getpid(), signal.SIGKILL)


async def run(settings: AgentSettings) -> None:
    def plugins(on_change: object) -> Plugins:
        assert callable(on_change)
        chosen = {
            plugin_id: PluginSettings(
                socket, trust_read_only=settings.trust_read_only, verify_mounts=settings.verify_mounts
            )
            for plugin_id, socket in settings.plugins.items()
        }
        return Plugins(chosen, on_change)

    agent = Agent(
        Host(Paths(settings.base)),
        DyingJournal(settings.state, settings),
        plugins,
        FileSource(settings.work),
        FileReports(settings),
        boot_id=settings.boot_id or read_boot_id(),
        call_seconds=settings.call_seconds,
        clean_apart_seconds=settings.clean_apart_seconds,
        late_seconds=settings.late_seconds,
    )
    task = asyncio.create_task(agent.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=AgentSettings)))
