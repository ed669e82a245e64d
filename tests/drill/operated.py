"""A real cluster with the commands that an operator has for it: nodes are started, killed and paused by commands."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.process.agents import free_ports
from volstore.drill.commands import run

_START = """#!/bin/sh
# A command that starts the node and returns, as systemctl does.
setsid {agent} >>{log} 2>&1 </dev/null &
echo $! >{pid}
"""


@dataclass(frozen=True)
class Operated:
    """One node, by its commands."""

    name: str
    folder: Path
    http: str

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def start(self) -> str:
        return str(self.folder / f"start-{self.name}")

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def paused(self) -> bool:
        return self._state() == "T"

    def runs(self) -> bool:
        return self._state() not in ("", "Z", "T")

    def _state(self) -> str:
        """As the kernel names it: "S" sleeping, "D" at its disk, "T" stopped; "" for a process that is not there."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""


@dataclass(frozen=True)
class Cluster:
    folder: Path
    nodes: list[Operated]

    async def start(self) -> None:
        for node in self.nodes:
            await run([node.start], 10)

    def write(self, *, more: str = "", pause: str = 'do = "kill -STOP {pid}"\nheal = "kill -CONT {pid}"') -> Path:
        """Its file for `volstore drill --cluster`; the nodes run already."""
        lines = ['command_timeout = "5s"']
        for node in self.nodes:
            lines += ["[[nodes]]", f'name = "{node.name}"', f'url = "{node.url}"']
            lines += [f'values = {{ pid = "{node.pid}", pid_file = "{node.pid_file}", start = "{node.start}" }}']
        lines += ["[faults.pause]", pause, "[faults.kill]"]
        lines += ["do = \"sh -c 'kill -KILL $(cat {pid_file})'\"", 'heal = "{start}"', more]
        path = self.folder / "cluster.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def end(self) -> None:
        for node in self.nodes:
            if node.pid_file.exists() and (node.runs() or node.paused()):
                os.kill(node.pid, signal.SIGKILL)


@contextmanager
def operated(folder: Path, count: int = 3) -> Iterator[Cluster]:
    """`count` nodes that are not started yet; killed at the end whatever happens."""
    ports = free_ports(2 * count)
    nodes = [Operated(f"s{n + 1}", folder, f"127.0.0.1:{ports[n]}") for n in range(count)]
    raft = [f"127.0.0.1:{port}" for port in ports[count:]]
    servers = [word for n, address in enumerate(raft) for word in ("--server", f"s{n + 1}={address}")]
    for node, address in zip(nodes, raft, strict=True):
        agent = [sys.executable, "-m", "volstore", "agent", "--name", node.name, "--http-addr", node.http]
        agent += ["--data-dir", str(folder / node.name), "--raft-addr", address, *servers]
        script = Path(node.start)
        log, pid = shlex.quote(str(folder / f"{node.name}.log")), shlex.quote(str(node.pid_file))
        script.write_text(_START.format(agent=shlex.join(agent), log=log, pid=pid))
        script.chmod(0o700)
    cluster = Cluster(folder, nodes)
    try:
        yield cluster
    finally:
        cluster.end()
