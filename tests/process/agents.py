"""Real agents as processes on loopback, for promises about crashes: started, killed, paused, and stopped by PID."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

START_LIMIT = 30.0
PLUGIN = "plugin-id1"
_ports = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different, and below those that the kernel gives to outgoing connections:
    one of these could take a port before it is used."""
    held: list[socket.socket] = []
    while len(held) < count:
        with suppress(OSError):
            held.append(socket.create_server(("127.0.0.1", _ports.randrange(10_000, 32_000))))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


async def until(condition: Callable[[], Any], seconds: float = START_LIMIT, what: str = "") -> Any:
    """The condition's first true answer (it may be a coroutine function); a failure past the limit."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if loop.time() > end:
            raise AssertionError(f"did not come about within {seconds} s: {what or condition}")
        await asyncio.sleep(0.01)


@dataclass
class Agent:
    """One node. `servers` lists all first members as NAME=HOST:PORT; `log` collects what it prints."""

    name: str
    folder: Path
    http: str
    raft: str
    servers: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    scheme: str = "http"
    tree: Path | None = None
    """Where its code is, None for this tree's."""
    environment: dict[str, str] = field(default_factory=dict)
    """Beside what the test has."""
    stderr: int | None = None
    """The descriptor that it logs to, None for `log`."""
    program: list[str] = field(default_factory=lambda: ["-m", "volstore"])
    """What Python runs."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.http}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        assert self.process is None or self.process.poll() is not None
        command = [sys.executable, *self.program, "agent", "--name", self.name]
        command += ["--data-dir", str(self.folder / self.name), "--http-addr", self.http, "--raft-addr", self.raft]
        for server in self.servers:
            command += ["--server", server]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("VOLSTORE_", "NOMAD_"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.flags],
                stdout=log,
                stderr=log if self.stderr is None else self.stderr,
                env=environment | self.environment,
                cwd=self.tree,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 20.0) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def output(self) -> str:
        return self.log.read_text()


@contextmanager
def agents(folder: Path, count: int, *flags: str) -> Iterator[list[Agent]]:
    """`count` nodes that know each other, not started yet; killed at the end whatever happens."""
    ports = free_ports(2 * count)
    raft = [f"127.0.0.1:{port}" for port in ports[count:]]
    servers = [f"s{n + 1}={address}" for n, address in enumerate(raft)]
    made = [
        Agent(f"s{n + 1}", folder, f"127.0.0.1:{ports[n]}", raft[n], servers if count > 1 else [], list(flags))
        for n in range(count)
    ]
    try:
        yield made
    finally:
        for agent in made:
            if agent.process is not None and agent.process.poll() is None:
                agent.send(signal.SIGCONT)
                agent.kill()


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(url) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def leader(session: aiohttp.ClientSession, nodes: list[Agent]) -> Agent:
    """The node that leads, as the nodes that run see it."""

    async def found() -> Agent | None:
        for node in nodes:
            if node.process is None or node.process.poll() is not None:
                continue
            try:
                status, address = await get(session, f"{node.url}/v1/status/leader")
            except aiohttp.ClientError:
                continue
            if status == 200:
                return next(n for n in nodes if n.raft == address)
        return None

    result = await until(found, what="a leader")
    assert isinstance(result, Agent)
    return result


async def add_plugin(session: aiohttp.ClientSession, url: str) -> None:
    """One healthy node with the plugin that the tests' volumes use."""
    node = {
        "ID": "00000001-1111-2222-3333-000000000001",
        "Name": "n1",
        "Status": "ready",
        "CSINodePlugins": {PLUGIN: {"PluginID": PLUGIN, "Healthy": True, "Provider": "ebs", "ProviderVersion": "1"}},
    }

    async def put() -> bool:
        try:
            async with session.put(f"{url}/v1/node/{node['ID']}", json=node) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    await until(put, what="a node's report")


def volume(volume_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "ID": volume_id,
        "Name": volume_id,
        "ExternalID": volume_id,
        "PluginID": PLUGIN,
        "AccessMode": "single-node-writer",
        "AttachmentMode": "file-system",
        **fields,
    }


async def digests_agree(session: aiohttp.ClientSession, nodes: list[Agent]) -> None:
    """Return once all have the same state at the same index."""

    async def agree() -> bool:
        found = [(await get(session, f"{node.url}/v1/operator/node"))[1] for node in nodes]
        return len({(one["fsm_index"], one["digest"]) for one in found}) == 1

    await until(agree, what="equal states on all nodes")
