"""A throw-away cluster on this machine, of real processes, and whatever can be broken about it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path

from volstore.drill.exchange import Answer, Exchange
from volstore.drill.faults import Kill, Means, Pause, Restart
from volstore.drill.faults_operator import Backup, Operator, Replace
from volstore.drill.leftovers import Place, sweep
from volstore.drill.local_node import LocalNode
from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode

START_WITHIN = 60.0
"""Seconds in which a new cluster must have a leader and every node a vote; two cores and seven nodes need some."""
_LOOK_EVERY = 0.05


class LocalTarget:
    """A `volstore.drill.target.Target`; `count` nodes, `settings` those of their agents, by name.

    The nodes' logs are written to `logs`, which is there. `faults` are the kinds that will be asked for: what one of
    them needs from the beginning is made for it.
    """

    def __init__(
        self, count: int, logs: Path, faults: Iterable[FaultKind] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        self._count = count
        self._logs = logs
        self._faults = frozenset(faults)
        self._settings = dict(settings or {})
        self._place: Place | None = None
        self._nodes: dict[str, LocalNode] = {}
        self._access = Access()
        self._broken: list[Fault] = []
        operator = Operator(dict)
        self._means: Mapping[FaultKind, Means] = {
            FaultKind.KILL: Kill(self._nodes),
            FaultKind.PAUSE: Pause(self._nodes),
            FaultKind.RESTART: Restart(self._nodes),
            FaultKind.REPLACE: Replace(self._nodes, operator),
            FaultKind.BACKUP: Backup(self._nodes, operator, logs / "backup.snap"),
        }

    @property
    def nodes(self) -> Sequence[TargetNode]:
        return [node.node for node in self._nodes.values()]

    @property
    def access(self) -> Access:
        return self._access

    def describe(self) -> str:
        return f"{self._count} nodes on this machine, on its loopback"

    async def start(self) -> None:
        sweep()
        self._place = place = Place()
        ports = _free_ports(2 * self._count)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        http, raft = addresses[: self._count], addresses[self._count :]
        names = [f"s{n + 1}" for n in range(self._count)]
        servers = [f"{name}={address}" for name, address in zip(names, raft, strict=True)]
        for name, http_address, raft_address in zip(names, http, raft, strict=True):
            folder = place.folder / name
            folder.mkdir()
            self._nodes[name] = LocalNode(
                TargetNode(name, f"http://{http_address}"),
                folder,
                self._logs / f"{name}.log",
                {"http_addr": http_address, "raft_addr": raft_address, "servers": servers, **self._settings},
                started=place.note,
            )
        for node in self._nodes.values():
            await node.start()
        await self._ready()

    async def _ready(self) -> None:
        """Return once every node may be sent requests. Raises TargetError."""
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

    async def stop(self) -> None:
        """kill -9: whatever the nodes still hold is thrown away with them."""
        await asyncio.gather(*(node.kill() for node in self._nodes.values()))
        if self._place is not None:
            self._place.remove()
            self._place = None

    # Faults.

    def cannot(self, fault: Fault) -> str | None:
        means = self._means.get(fault.kind)
        return means.cannot(fault) if means else f"{fault.kind} is not known here"

    def plan(self, fault: Fault) -> list[str]:
        return self._means[fault.kind].plan(fault)

    async def do(self, fault: Fault) -> None:
        if why := self.cannot(fault):
            raise TargetError(f"{fault} can't be had: {why}")
        self._broken.append(fault)
        await self._means[fault.kind].do(fault)

    async def heal(self, fault: Fault) -> None:
        await self._means[fault.kind].heal(fault)
        if fault in self._broken:
            self._broken.remove(fault)

    async def heal_all(self) -> list[str]:
        failed = []
        for fault in reversed(self._broken):
            try:
                await self._means[fault.kind].heal(fault)
            except (TargetError, OSError) as error:
                failed.append(f"{fault} could not be healed: {error}")
        self._broken.clear()
        return failed


def _ask_ready(exchange: Exchange, node: LocalNode) -> Awaitable[Answer]:
    return exchange.ask("GET", node.node.url, "/v1/agent/health/ready", within=2)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
