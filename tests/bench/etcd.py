"""Three etcd members on this machine, set up as volstore's nodes are: loopback, mutual TLS between them, real syncs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.bench.certificates import Certificates
from tests.process.agents import free_ports, until


@contextmanager
def etcd(folder: Path) -> Iterator[tuple[list[str], list[int]]]:
    """The members' client URLs, and their process IDs."""
    ports = free_ports(6)
    certificates = Certificates(folder)
    peers = [f"https://127.0.0.1:{port}" for port in ports[:3]]
    clients = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    cluster = ",".join(f"e{n}={url}" for n, url in enumerate(peers))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for n in range(3):
            own = certificates.server(f"e{n}")
            command = ["etcd", "--name", f"e{n}", "--data-dir", str(folder / f"e{n}")]
            command += ["--listen-peer-urls", peers[n], "--initial-advertise-peer-urls", peers[n]]
            command += ["--listen-client-urls", clients[n], "--advertise-client-urls", clients[n]]
            command += ["--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error"]
            command += ["--peer-client-cert-auth", "--peer-trusted-ca-file", str(certificates.authority)]
            command += ["--peer-cert-file", str(own.certificate), "--peer-key-file", str(own.key)]
            with (folder / f"e{n}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        yield clients, [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


async def etcd_leader(session: aiohttp.ClientSession, clients: list[str]) -> str:
    """The client URL of the member that leads, once one does."""

    async def found() -> str | None:
        for url in clients:
            try:
                async with session.post(f"{url}/v3/maintenance/status", json={}) as response:
                    status = await response.json()
            except (aiohttp.ClientError, ValueError):
                continue
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return url
        return None

    result = await until(found, what="etcd's leader")
    return str(result)


def etcd_version() -> str:
    done = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].removeprefix("etcd Version: ")
