"""Whole members of a log in one process: real sockets on loopback, disks in memory that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random, SystemRandom
from typing import Any

import structlog

from cluster.api import Applied, Member, Outcome
from cluster.log import ReplicatedLog
from cluster.net.tcp import TcpNetwork
from cluster.options import Options
from cluster.raft.engine import Timing
from tests.cluster.node.machines import Appends
from tests.cluster.storage.memory_disk import MemoryDisk
from tests.process.agents import free_ports, until

LOG = structlog.get_logger("tests")


class Members:
    """Members of one cluster by name; each keeps its disk when it is stopped and started again."""

    def __init__(self, names: list[str], **options: Any) -> None:
        self.options = options
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.first = tuple(Member(name, f"127.0.0.1:{port}") for name, port in ports.items())
        self.disks: dict[str, MemoryDisk] = {}
        self.logs: dict[str, ReplicatedLog] = {}
        self.machines: dict[str, Appends] = {}
        self.kinds: dict[str, type[Appends]] = {}
        """The machines of these members, where they aren't plain."""

    def __getitem__(self, name: str) -> ReplicatedLog:
        return self.logs[name]

    def make(self, name: str, address: str, members: tuple[Member, ...], cluster_id: str = "test") -> ReplicatedLog:
        disk = self.disks.setdefault(name, MemoryDisk(Random(len(self.disks))))
        machine = self.machines[name] = self.kinds.get(name, Appends)()
        given: dict[str, Any] = {"timing": Timing(0.03, 0.15, 0.3), "reserve_bytes": 0} | self.options
        self.logs[name] = ReplicatedLog(
            Options(cluster_id, name, address, address, members, **given),
            machine,
            disk=disk,
            snapshot_disk=disk,
            network=TcpNetwork(LOG),
            random=SystemRandom(),
            log=LOG,
        )
        return self.logs[name]

    async def start(self, *names: str) -> None:
        for member in self.first:
            if not names or member.name in names:
                await self.make(member.name, member.address, self.first).start()

    async def join(self, name: str) -> Member:
        """A new, empty member that waits to be added; as the others will name it."""
        address = f"127.0.0.1:{free_ports(1)[0]}"
        log = self.make(name, address, ())
        await log.start()
        return Member(name, address, log._node.incarnation)

    async def stop(self, *names: str) -> None:
        for name in names or list(self.logs):
            await self.logs.pop(name).stop()

    def leader(self) -> ReplicatedLog | None:
        return next((log for log in self.logs.values() if log.status().role.value == "leader"), None)

    async def led(self) -> ReplicatedLog:
        # Looked at twice without an await between: what leads does so still.
        found = await until(lambda: self.leader() if self.leader() and self.leader()._node.intake.takes else None)  # type: ignore[union-attr]
        assert isinstance(found, ReplicatedLog)
        return found

    async def propose(self, name: str, command: bytes, seconds: float = 5.0) -> Outcome:
        return await self.logs[name].propose(command, asyncio.get_running_loop().time() + seconds)

    async def fill(self, name: str, count: int) -> list[bytes]:
        """So many commands through `name`, all applied."""
        commands = [b"%s-%d" % (name.encode(), n) for n in range(count)]
        for start in range(0, count, 500):
            outcomes = await asyncio.gather(*(self.propose(name, c) for c in commands[start : start + 500]))
            assert all(isinstance(outcome, Applied) for outcome in outcomes)
        return commands

    async def agree(self) -> None:
        """All that run reach the same state."""
        await until(lambda: len({(log.status().applied_index, m.digest()) for log, m in self._running()}) == 1)

    def _running(self) -> list[tuple[ReplicatedLog, Appends]]:
        return [(log, self.machines[name]) for name, log in self.logs.items()]


async def running(members: Members, test: Callable[[Members], Awaitable[None]]) -> None:
    """Run `test` with all first members started; stop whatever runs afterwards."""
    await members.start()
    try:
        await test(members)
    finally:
        await members.stop()


def later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
