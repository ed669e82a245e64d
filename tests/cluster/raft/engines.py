"""Engines in conversation, without sockets: messages wait in a list until a test delivers, holds or drops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from random import Random

from cluster.api import Member
from cluster.raft.engine import BATCH, CONFIGURATION, Engine, Message, Timing
from cluster.raft.membership import Configuration, Configurations
from cluster.raft.storage import LogStorage
from tests.cluster.raft.memory_log import MemoryLog

TIMING = Timing(heartbeat=0.05, election_min=0.3, election_max=0.6)


def configuration(*names: str, index: int = 0) -> Configuration:
    return Configuration(tuple(Member(name, f"{name}:1", name.encode() * 8) for name in names), index)


def engine(name: str, names: str, seed: int = 1, log: LogStorage | None = None) -> Engine:
    return Engine(
        0.0,
        name=name,
        journal=log if log is not None else MemoryLog(),
        configurations=Configurations(configuration(*names)),
        applied=0,
        timing=TIMING,
        draw=Random(seed).random,
    )


def lone_engine() -> Engine:
    return engine("a", "a")


def entry(text: str) -> bytes:
    return bytes([BATCH]) + text.encode()


class Conversation:
    """Engines named by one letter each, all connected, at one clock. `queue` holds (sender, message) in order."""

    def __init__(self, names: str) -> None:
        self.names = names
        self.now = 0.0
        self.queue: list[tuple[str, Message]] = []
        self.cut: set[tuple[str, str]] = set()
        self.logs = {name: MemoryLog() for name in names}
        self.engines = {name: engine(name, names, seed, self.logs[name]) for seed, name in enumerate(names)}
        self.on_message: Callable[[str, Message, bool], None] = lambda *_: None
        """Called for each message (its sender, and whether it arrives) before it is received."""
        self._connect()

    def _connect(self) -> None:
        for one in self.engines.values():
            one.peers_changed(self.now, set(self.names) - {one.name})

    def join(self, name: str) -> None:
        """One more engine, connected to all others, which knows of no member yet."""
        self.names += name
        self.logs[name] = MemoryLog()
        self.engines[name] = engine(name, "", len(self.names), self.logs[name])
        self._connect()

    def __getitem__(self, name: str) -> Engine:
        return self.engines[name]

    async def sync(self, *names: str) -> None:
        """Let these disks (all by default) catch up, and what waited for them leave."""
        for name in names or self.names:
            self.logs[name].sync()
            self.engines[name].durable(self.now)

    def collect(self) -> None:
        """Take what the engines have to say; what depends on a disk is taken only if that disk is in step."""
        for name, one in self.engines.items():
            # By member: pysyncobj asks for votes in another order each time. For one member the order stays.
            for message in sorted(one.take_messages(), key=attrgetter("peer")):
                assert not (message.after_sync and self.logs[name].unsynced), "a test forgot to sync first"
                self.queue.append((name, message))

    async def deliver(self, rounds: int = 1, *, only: str | None = None) -> None:
        """Deliver all that waits (to `only`), with all disks in step, `rounds` times."""
        for _ in range(rounds):
            await self.sync()
            self.collect()
            queue, self.queue = self.queue, []
            for sender, message in queue:
                if only is not None and message.peer != only:
                    self.queue.append((sender, message))
                else:
                    arrives = (sender, message.peer) not in self.cut and message.peer in self.engines
                    self.on_message(sender, message, arrives)
                    if arrives:
                        self.engines[message.peer].receive(self.now, sender, message.frame)

    async def pass_time(self, seconds: float, *, step: float = 0.025, names: str | None = None) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for name in names or self.names:
                self.engines[name].tick(self.now)
            await self.deliver()

    async def elect(self, name: str) -> Engine:
        """Have `name` win an election, and its members bound to their disks."""
        self.engines[name].campaign_now(self.now)
        await self.deliver(6)
        leader = self.engines[name]
        assert leader.leads
        if leader.configuration.index == 0:
            pinned = configuration(*self.names).encode()
            leader.append(self.now, bytes([CONFIGURATION]) + pinned)
        await self.deliver(4)
        assert leader.takes_proposals
        return leader

    def leaders(self) -> list[str]:
        return [name for name, one in self.engines.items() if one.leads]


def run(work: object) -> None:
    assert asyncio.iscoroutine(work)
    asyncio.run(work)
