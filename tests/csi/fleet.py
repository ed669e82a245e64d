"""A fleet in small: a real registry, and hosts with a driver and the real node agent each, over one shared storage."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.csi.driver import SECRET, Fault, Settings, write_whole
from tests.csi.world import PLUGIN, until
from tests.process.agents import Agent, agents
from volstore.client import Client, ClientError, Connection
from volstore.node import mountinfo, syscalls
from volstore.node.paths import Paths, VolumeKey

SERVER_FLAGS = ("--min-heartbeat-ttl", "1s", "--heartbeat-grace", "1s")


class Host:
    """One host: everything of it lies below `root`."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet = fleet
        self.name = name
        self.root = fleet.root / name
        self.root.mkdir()
        self.user = self.root / "srv"
        self.user.mkdir()
        self.socket = self.root / "node.sock"
        self.log = self.root / "agent.log"
        self.paths = Paths(str(self.root / "csi"))
        self.driver_settings = msgspec.structs.replace(
            fleet.driver_settings, socket=str(self.root / "csi.sock"), node_id=f"storage-{name}"
        )
        self._commands: list[subprocess.Popen[str]] = []
        self.driver: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def id(self) -> str:
        return until(lambda: self._id_file.exists() and self._id_file.read_text().strip(), "it has an ID")  # type: ignore[no-any-return]

    @property
    def _id_file(self) -> Path:
        return self.root / "state" / "node-id"

    def start(self) -> None:
        self.start_driver()
        self.start_agent()

    def start_driver(self) -> None:
        file = self.root / "driver.json"
        file.write_bytes(msgspec.json.encode(self.driver_settings))
        self.driver = subprocess.Popen([sys.executable, "-m", "tests.csi.driver", str(file)])

    def start_agent(self, *more: str) -> None:
        servers = [flag for agent in self.fleet.servers for flag in ("--server", agent.url)]
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [
                    *(sys.executable, "-m", "volstore", "node", "run", *servers),
                    *("--plugin", f"{PLUGIN}={self.driver_settings.socket}", "--name", self.name),
                    *("--state-dir", str(self.root / "state"), "--base-dir", self.paths.base),
                    *("--socket", str(self.socket), *more),
                ],
                stdout=log,
                stderr=log,
            )

    def ready(self) -> Host:
        until(lambda: self.fleet.node(self.id).get("CSINodePlugins", {}).get(PLUGIN, {}).get("Healthy"), self.text)
        until(lambda: self.run("mounts")[0] == 0, "the agent answers its users")
        return self

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def kill_driver(self) -> None:
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of this host's users."""
        process = subprocess.Popen(
            [sys.executable, "-m", "volstore", *arguments, "--socket", str(self.socket)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._commands.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=100)
        return process.returncode, out.strip(), err.strip()

    def mount(self, *arguments: str, volume: str = "db1") -> Path:
        path = self.user / volume
        code, out, err = self.run("mount", *arguments, volume, str(path))
        assert (code, out) == (0, str(path)), (code, out, err, self.text())
        return path

    def unmount(self, *arguments: str, volume: str = "db1") -> None:
        code, _, err = self.run("unmount", *arguments, volume)
        assert code == 0, (err, self.text())

    def target_mounts(self) -> list[str]:
        return [point for point in mountinfo.read().below(str(self.root)) if point != self.paths.base]

    def leftovers(self) -> list[str]:
        found = self.target_mounts()
        found += [str(path) for part in ("s", "p") for path in (self.root / "csi" / part).glob("*")]
        found += [str(path) for path in (self.root / "state" / "volumes").glob("*")]
        return found + [str(path) for path in self.user.iterdir()]

    def holds(self, volume: str = "db1") -> bool:
        """Whether anything of the volume is mounted here."""
        key = VolumeKey(PLUGIN, volume)
        below = (self.paths.volume(key), self.paths.staging(key), str(self.user / volume))
        return any(point.startswith(below) for point in self.target_mounts())

    def close(self) -> None:
        for command in self._commands:
            if command.poll() is None:
                command.kill()
            command.communicate()
        for process in (self.agent, self.driver):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for point in reversed([*mountinfo.read().below(str(self.root))]):
            while mountinfo.read().at(point):
                syscalls.unmount(point, detach=True)


class Fleet:
    def __init__(self, servers: list[Agent], **driver: Any) -> None:
        self.servers = servers
        self.root = Path(tempfile.mkdtemp(prefix="vf-", dir="/tmp"))
        storage = self.root / "storage"
        self.driver_settings = Settings(socket="", root=str(storage), **driver)
        self.driver_settings.volumes.mkdir(parents=True)
        self.hosts: list[Host] = []

    def serve(self) -> None:
        for server in self.servers:
            server.start()
        until(lambda: self.ask("GET", "/v1/status/leader"), "there is a leader")

    def host(self, name: str) -> Host:
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def ask(self, method: str, path: str, body: Any = None, **parameters: str) -> Any:
        """The first answer of a server; None where none has one."""
        for server in self.servers:
            with contextlib.suppress(ClientError):
                return Client(Connection(server.url), timeout=10).request(method, path, parameters, body)
        return None

    def node(self, node_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/v1/node/{node_id}") or {}

    def volume(self, name: str = "db1", mode: str = "single-node-writer") -> Path:
        """A registered volume with one file."""
        path = self.driver_settings.volumes / name
        path.mkdir()
        (path / "data").write_text("precious")
        body = {
            "ID": name,
            "Name": name,
            "ExternalID": name,
            "PluginID": PLUGIN,
            "AccessMode": mode,
            "AttachmentMode": "file-system",
            "Secrets": {"password": SECRET},
        }
        until(lambda: self.ask("PUT", f"/v1/volume/csi/{name}", {"Volumes": [body]}), "it is registered")
        return path

    def shown(self, name: str = "db1") -> dict[str, Any]:
        return until(lambda: self.ask("GET", f"/v1/volume/csi/{name}"), "the volume is shown")  # type: ignore[no-any-return]

    def faults(self, *faults: Fault) -> None:
        write_whole(self.driver_settings.faults, msgspec.json.encode(list(faults)))

    def calls(self, name: str) -> list[dict[str, Any]]:
        try:
            lines = self.driver_settings.calls.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [call for line in lines if (call := msgspec.json.decode(line))["call"] == name]

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        shutil.rmtree(self.root)


@contextlib.contextmanager
def fleet_of(folder: Path, servers: int = 1, **driver: Any) -> Iterator[Fleet]:
    with agents(folder, servers, *SERVER_FLAGS) as members:
        fleet = Fleet(members, **driver)
        try:
            fleet.serve()
            yield fleet
        finally:
            fleet.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """One server; a driver that attaches and needs its secret on each call that may carry one."""
    with fleet_of(tmp_path, attaches=True, needs_secret=True) as made:
        yield made
