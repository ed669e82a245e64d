"""A host in small: a driver and an agent as processes, a directory for both, and a registry that the test plays."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.csi.agent_process import AgentSettings
from tests.csi.driver import Fault, Settings, write_whole
from volstore.node import mountinfo, syscalls
from volstore.node.paths import Paths, VolumeKey
from volstore.node.work import Attachment, Claim, HostReport, Operation, Revoked, Work

PLUGIN = "dirs"
PATIENCE_SECONDS = 60.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def until(condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS) -> Any:
    """The condition's value as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)


class World:
    """Everything of a test lies below `root`; nothing of it is left after `close`."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
        self.paths = Paths(str(self.root / "csi"))
        self.user = self.root / "srv"
        self.user.mkdir()
        self.driver_settings = Settings(socket=str(self.root / "csi.sock"), root=str(self.root / "driver"))
        self.agent_settings = AgentSettings(
            directory=str(self.root / "agent"), base=self.paths.base, plugins={PLUGIN: self.driver_settings.socket}
        )
        Path(self.agent_settings.directory).mkdir()
        self.driver_settings.volumes.mkdir(parents=True)
        self._driver: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._index = 0
        self.log = self.root / "agent.log"

    # The driver.

    def volume(self, name: str = "db1", *, content: str = "precious") -> Path:
        """A volume with one file."""
        path = self.driver_settings.volumes / name
        path.mkdir()
        (path / "data").write_text(content)
        return path

    def block(self, name: str = "disk1", size: int = 1 << 20) -> Path:
        path = self.driver_settings.volumes / f"{name}.img"
        with path.open("wb") as file:
            file.truncate(size)
        return path

    def start_driver(self, *faults: Fault, wrapper: Sequence[str] = ()) -> None:
        if faults:
            self.faults(*faults)
        file = self.root / "driver.json"
        file.write_bytes(msgspec.json.encode(self.driver_settings))
        self._driver = subprocess.Popen([*wrapper, sys.executable, "-m", "tests.csi.driver", str(file)])

    def faults(self, *faults: Fault) -> None:
        write_whole(self.driver_settings.faults, msgspec.json.encode(list(faults)))

    def faults_left(self) -> int:
        try:
            return sum(
                fault.times for fault in msgspec.json.decode(self.driver_settings.faults.read_bytes(), type=list[Fault])
            )
        except FileNotFoundError:
            return 0

    @property
    def driver_pid(self) -> int:
        assert self._driver is not None
        return self._driver.pid

    def driver_ends(self) -> None:
        assert self._driver is not None
        self._driver.wait(PATIENCE_SECONDS)

    def kill_driver(self) -> None:
        assert self._driver is not None
        self._driver.kill()
        self._driver.wait()

    def calls(self, name: str = "") -> list[dict[str, Any]]:
        """What the driver was asked, in order."""
        try:
            lines = self.driver_settings.calls.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = [msgspec.json.decode(line) for line in lines]
        return [call for call in found if not name or call["call"] == name]

    # The agent.

    def start_agent(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.agent_settings, name, value)
        file = self.root / "agent.json"
        file.write_bytes(msgspec.json.encode(self.agent_settings))
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(
                [sys.executable, "-m", "tests.csi.agent_process", str(file)], stdout=log, stderr=log
            )

    @property
    def agent_pid(self) -> int:
        assert self._agent is not None
        return self._agent.pid

    def agent_ends(self) -> int:
        assert self._agent is not None
        return self._agent.wait(PATIENCE_SECONDS)

    def kill_agent(self) -> None:
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()

    # The registry.

    def want(
        self, *attachments: Attachment, operations: list[Operation] | None = None, revoked: list[Revoked] | None = None
    ) -> int:
        """What the registry wants from now on; returns the index of that."""
        self._index += 1
        work = Work(
            index=self._index, attachments=list(attachments), operations=operations or [], revoked=revoked or []
        )
        write_whole(self.agent_settings.work, msgspec.json.encode(work))
        return self._index

    def report(self) -> HostReport | None:
        """The agent's last one that speaks of what the registry wants now."""
        try:
            found = msgspec.json.decode(self.agent_settings.report.read_bytes(), type=HostReport)
        except FileNotFoundError:
            return None
        return found if found.work_index == self._index else None

    def state(self, allocation_id: str) -> str:
        """A target's state as reported, or "gone"."""
        report = self.report()
        if report is None:
            return "unknown"
        targets = [target for one in report.attachments for target in one.targets]
        return next((target.state for target in targets if target.allocation_id == allocation_id), "gone")

    def error(self) -> str:
        """All errors of the last report."""
        report = self.report()
        if report is None:
            return ""
        return " | ".join(
            text
            for one in report.attachments
            for text in (one.error, *(target.error for target in one.targets))
            if text
        )

    def published(self, allocation_id: str = "a1") -> None:
        until(lambda: self.state(allocation_id) == "published", lambda: f"{allocation_id} is published: {self.error()}")

    def gone(self) -> None:
        """Wait until the agent has reported that nothing is left, and look whether that is so."""
        until(
            lambda: (found := self.report()) is not None and not found.attachments,
            lambda: f"all is gone: {self.report()}",
        )
        until(lambda: self.leftovers() == [], lambda: f"nothing is left: {self.leftovers()}")

    # The host.

    def target(self, allocation_id: str = "a1", volume: str = "db1") -> Path:
        return Path(self.paths.target(VolumeKey(PLUGIN, volume), allocation_id))

    def staging(self, volume: str = "db1") -> Path:
        return Path(self.paths.staging(VolumeKey(PLUGIN, volume)))

    def mounts(self, path: Path | str) -> int:
        return len(mountinfo.read().at(str(path)))

    def leftovers(self) -> list[str]:
        """Mounts, directories, records and loop devices that a volume left behind."""
        table = mountinfo.read()
        found = [point for point in table.below(str(self.root)) if point != self.paths.base]
        found += [str(path) for part in ("s", "p") for path in (self.root / "csi" / part).glob("*")]
        found += (
            [str(path) for path in self.agent_settings.state.glob("*")] if self.agent_settings.state.exists() else []
        )
        found += [str(path) for path in self.user.iterdir()]
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                if backing.read_text().startswith(str(self.root)):
                    found.append(str(backing))
        return found

    def close(self) -> None:
        for process in (self._agent, self._driver):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for point in reversed([*mountinfo.read().below(str(self.root))]):
            while mountinfo.read().at(point):
                syscalls.unmount(point, detach=True)
        for line in subprocess.run(
            ["losetup", "-n", "-O", "NAME,BACK-FILE"], capture_output=True, text=True
        ).stdout.splitlines():
            device, _, file = line.partition(" ")
            if file.strip().startswith(str(self.root)):
                subprocess.run(["losetup", "-d", device], check=True)
        shutil.rmtree(self.root)


def attachment(*claims: Claim, external_id: str = "db1", state: str = "attached", **members: Any) -> Attachment:
    return Attachment(plugin_id=PLUGIN, external_id=external_id, state=state, epoch=1, claims=list(claims), **members)


def claim(allocation_id: str = "a1", **members: Any) -> Claim:
    return Claim(allocation_id=allocation_id, namespace="default", volume_id="db1", **members)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()
