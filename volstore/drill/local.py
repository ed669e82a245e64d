"""A throw-away cluster on this machine, of real processes, with an injector for every fault."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from volstore.certificates import Role, create_authority, create_certificate
from volstore.drill import namespaces
from volstore.drill.cleanup import Place, in_memory, remove_leftovers
from volstore.drill.exchange import Answer, Exchange
from volstore.drill.faults import Injector, Kill, Pause, Restart
from volstore.drill.faults_clock import ClockJump
from volstore.drill.faults_clock import environment as clock_environment
from volstore.drill.faults_disk import DiskFull, SlowDisk, SmallDisk, can_mount, no_strace
from volstore.drill.faults_network import Flap, OneWay, Partition
from volstore.drill.faults_operator import Backup, Operator, Replace
from volstore.drill.local_node import LocalNode
from volstore.drill.namespaces import Network
from volstore.drill.slow_links import SlowLink
from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode

HTTP_PORT, RAFT_PORT = 4646, 4647
START_WITHIN = 60.0
"""Seconds in which every node of a new cluster must become ready. Seven nodes on two cores need some."""
_LOOK_EVERY = 0.05


class LocalTarget:
    """A `volstore.drill.target.Target` with `count` nodes. `settings` are the agents', by name.

    The nodes' logs are written to the folder `logs`, which must exist. `faults` are the kinds that the drill may
    inject; `start` prepares what they need.
    """

    def __init__(
        self,
        count: int,
        logs: Path,
        faults: Iterable[FaultKind] = (),
        settings: Mapping[str, str] | None = None,
        *,
        own_network: bool = True,
    ) -> None:
        self._names = [f"s{n + 1}" for n in range(count)]
        self._logs = logs
        self._faults = frozenset(faults)
        self._settings = dict(settings or {})
        self._place: Place | None = None
        self._nodes: dict[str, LocalNode] = {}
        self._disks: dict[str, SmallDisk] = {}
        self._access = Access()
        self._environment: dict[str, str] = {}
        self._broken: list[Fault] = []
        self._no_network = (namespaces.missing() or "") if own_network else "it was not requested"
        self._network = Network(self._names) if not self._no_network else None
        links = (self._network, self._names, self._no_network)
        operator = Operator(lambda: self._environment)
        self._injectors: Mapping[FaultKind, Injector] = {
            FaultKind.KILL: Kill(self._nodes),
            FaultKind.PAUSE: Pause(self._nodes),
            FaultKind.RESTART: Restart(self._nodes),
            FaultKind.REPLACE: Replace(self._nodes, operator),
            FaultKind.BACKUP: Backup(self._nodes, operator, logs / "backup.snap"),
            FaultKind.PARTITION: Partition(*links),
            FaultKind.ONE_WAY: OneWay(*links),
            FaultKind.FLAP: Flap(*links),
            FaultKind.SLOW_LINK: SlowLink(*links, self._started),
            FaultKind.SLOW_DISK: SlowDisk(self._nodes, self._started),
            FaultKind.DISK_FULL: DiskFull(self._nodes, self._disks, lambda: self._access, self._started),
            FaultKind.CLOCK_JUMP: ClockJump(self._nodes, self._clock, lambda: self._access),
        }

    @property
    def nodes(self) -> Sequence[TargetNode]:
        return [node.node for node in self._nodes.values()] or [TargetNode(name, "") for name in self._names]

    @property
    def access(self) -> Access:
        return self._access

    def describe(self) -> str:
        where = "each in a network namespace, with TLS" if self._network else f"on loopback ({self._no_network})"
        disks = "; their disks are in memory, like TMPDIR" if in_memory() else ""
        return f"{len(self._names)} nodes on this machine, {where}{disks}"

    # Life cycle.

    async def start(self) -> None:
        remove_leftovers()
        self._place = place = Place()
        if self._network is not None:
            await self._network.make()
        addresses = self._addresses()
        for name, (http, _) in addresses.items():
            folder = place.folder / name
            folder.mkdir()
            self._nodes[name] = LocalNode(
                TargetNode(name, f"{'https' if self._network else 'http'}://{http}"),
                folder,
                (await self._disk(name, folder)) / "data",
                self._logs / f"{name}.log",
                self._settings_of(name, addresses),
                prefix=self._network.inside(name) if self._network else (),
                environment=clock_environment(self._clock(name)) if FaultKind.CLOCK_JUMP in self._faults else {},
                started=place.note,
            )
        if self._network is not None:
            self._network.enter()
        for node in self._nodes.values():
            await node.start()
        await self._ready()
        if self._network is not None:
            await self._bootstrap()

    async def _disk(self, name: str, folder: Path) -> Path:
        """The folder of a node's data: on its own small disk, if that may be filled."""
        if FaultKind.DISK_FULL not in self._faults or not can_mount():
            return folder
        disk = SmallDisk(folder)
        try:
            await disk.make()
        except TargetError:
            if no_strace() is not None:
                raise
            return folder  # mounts are forbidden, as in most containers: strace makes writes fail instead
        self._disks[name] = disk
        return disk.path

    def _clock(self, name: str) -> Path:
        assert self._place is not None
        return self._place.folder / name / "clock"

    def _started(self, pid: int) -> None:
        assert self._place is not None
        self._place.note(pid)

    def _addresses(self) -> dict[str, tuple[str, str]]:
        """The addresses of HTTP and Raft, by the node's name."""
        if self._network is not None:
            hosts = {name: self._network.address(name) for name in self._names}
            return {name: (f"{host}:{HTTP_PORT}", f"{host}:{RAFT_PORT}") for name, host in hosts.items()}
        ports = iter(_free_ports(2 * len(self._names)))
        return {name: (f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}") for name in self._names}

    def _settings_of(self, name: str, addresses: Mapping[str, tuple[str, str]]) -> dict[str, str | list[str]]:
        http, raft = addresses[name]
        servers = [f"{other}={address}" for other, (_, address) in addresses.items()]
        settings: dict[str, str | list[str]] = {"http_addr": http, "raft_addr": raft, "servers": servers}
        if self._network is not None:
            settings |= self._secured(name, http.partition(":")[0])
        return settings | self._settings

    def _secured(self, name: str, host: str) -> dict[str, str]:
        """Create the node's certificate, and return the settings for TLS and access control, as in production."""
        assert self._place is not None
        folder, now = self._place.folder, datetime.now(UTC)
        authority, key = folder / "ca.pem", folder / "ca-key.pem"
        if not authority.exists():
            create_authority(folder, now=now)
            self._access = Access(tls=ssl.create_default_context(cafile=str(authority)))
            self._environment["VOLSTORE_CACERT"] = str(authority)
        made = create_certificate(folder, Role.SERVER, name, ca=authority, ca_key=key, hosts=[host], now=now)
        files = {
            "tls_ca_file": str(authority),
            "tls_cert_file": str(made.certificate),
            "tls_key_file": str(made.key),
        }
        return files | {"tls_http": "true", "acl_enabled": "true"}

    async def _bootstrap(self) -> None:
        """Create the first token, for clients and operators."""
        exchange = Exchange(self._access)
        try:
            answer = await exchange.ask("PUT", self.nodes[0].url, "/v1/acl/bootstrap", within=30)
        finally:
            await exchange.close()
        if answer.status != 200:
            raise TargetError(f"the new cluster gave no token: {answer.text}")
        self._environment["VOLSTORE_TOKEN"] = token = answer.json()["SecretID"]
        self._access = Access(token, self._access.tls)

    async def _ready(self) -> None:
        """Wait until every node is ready. Raises TargetError."""
        end = time.monotonic() + START_WITHIN
        exchange = Exchange(self._access)
        try:
            for node in self._nodes.values():
                while (answer := await _ask_ready(exchange, node)).status != 200:
                    if not node.runs or time.monotonic() > end:
                        raise TargetError(f"{node.name} could not be started: {answer.text}; see the end of {node.log}")
                    await asyncio.sleep(_LOOK_EVERY)
        finally:
            await exchange.close()

    async def keep(self) -> str:
        try:
            for name, node in self._nodes.items():
                await asyncio.to_thread(shutil.copytree, node.data, self._logs / f"{name}-data", dirs_exist_ok=True)
        except OSError as error:
            return f"the nodes' data directories could not be copied: {error}"
        return f"the nodes' data directories are kept in {self._logs / 's1-data'} and so on"

    async def stop(self) -> None:
        """Kill the nodes with SIGKILL, and remove everything."""
        await asyncio.gather(*(node.kill() for node in self._nodes.values()))
        if self._network is not None:
            self._network.remove()
        if self._place is not None:
            self._place.remove()
            self._place = None

    # Faults.

    def cannot(self, fault: Fault) -> str | None:
        injector = self._injectors.get(fault.kind)
        return injector.cannot(fault) if injector else f"{fault.kind} is unknown here"

    def plan(self, fault: Fault) -> list[str]:
        return self._injectors[fault.kind].plan(fault)

    async def do(self, fault: Fault) -> None:
        if why := self.cannot(fault):
            raise TargetError(f"{fault} is impossible: {why}")
        self._broken.append(fault)
        await self._injectors[fault.kind].do(fault)

    async def heal(self, fault: Fault) -> None:
        await self._injectors[fault.kind].heal(fault)
        if fault in self._broken:
            self._broken.remove(fault)

    async def heal_all(self) -> list[str]:
        failed = []
        for fault in reversed(self._broken):
            try:
                await self._injectors[fault.kind].heal(fault)
            except (TargetError, OSError) as error:
                failed.append(f"{fault} could not be healed: {error}")
        self._broken.clear()
        return failed


def _ask_ready(exchange: Exchange, node: LocalNode) -> Awaitable[Answer]:
    return exchange.ask("GET", node.node.url, "/v1/agent/health/ready", within=2)


def _free_ports(count: int) -> list[int]:
    """Free ports, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
