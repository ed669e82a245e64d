"""The agent: one running node. The only place that knows both packages, `cluster`'s log and `volstore`'s registry."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version

import structlog
import uvloop

from cluster.api import Applied, Captured, LogError, MemberStatus, NotApplied, ReadMode
from cluster.api import Member as LogMember
from cluster.api import NoLeader as LogHasNoLeader
from cluster.disk import RealDisk
from cluster.engine import Timing
from cluster.log import ReplicatedLog
from cluster.network import TcpNetwork
from cluster.options import Options
from volstore import commands, logs
from volstore.commands import Command, Idempotency, Outcome, Stamped
from volstore.config import AgentConfig
from volstore.config_settings import host_and_port
from volstore.errors import NoLeader, Overloaded
from volstore.fsm import Fsm
from volstore.http.server import HttpServer
from volstore.http.settings import HttpSettings
from volstore.registry import ClusterView, Contact, ServerView
from volstore.sample import PLUGIN_ID, sample_nodes, try_next
from volstore.state import State
from volstore.watch import Watch

VERSION = version("volstore")
SEEDING_DEADLINE = 30.0
"""Seconds within which a --dev node must be able to write its sample nodes."""

_log = structlog.get_logger("volstore.agent")


class WatchedFsm:
    """The state machine that the log drives (`cluster.api.StateMachine`), and the waiters that its changes wake."""

    def __init__(self, watch: Watch) -> None:
        self.fsm = Fsm()
        self._watch = watch

    def apply(self, command: bytes) -> bytes:
        outcome = self.fsm.apply(command)
        self._watch.notify(self.fsm.take_events())
        return outcome

    def capture(self) -> Captured:
        return self.fsm.capture()

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        adopt = self.fsm.load(chunks)

        def adopt_and_wake() -> None:
            adopt()
            self._watch.wake_all()

        return adopt_and_wake

    def digest(self) -> bytes:
        return self.fsm.digest()


class Agent:
    """One node; a `volstore.registry.Registry`."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.watch = Watch()
        self._machine = WatchedFsm(self.watch)
        self.log = ReplicatedLog(
            Options(
                cluster_id=config.cluster_id,
                name=config.name,
                bind=config.raft_addr,
                advertise=config.raft_advertise,
                members=tuple(LogMember(server.name, server.address) for server in config.servers),
                meta={"http": config.http_advertise, "version": VERSION},
                timing=Timing(config.heartbeat_interval, config.election_timeout_min, config.election_timeout_max),
                snapshot_entries=config.snapshot_threshold,
                trailing_entries=config.snapshot_trailing_entries,
            ),
            self._machine,
            disk=RealDisk(config.data_dir),
            snapshot_disk=RealDisk(config.data_dir),
            network=TcpNetwork(structlog.get_logger("cluster")),
            random=random.SystemRandom(),
            log=structlog.get_logger("cluster"),
        )
        settings = HttpSettings(
            region=config.region,
            datacenter=config.datacenter,
            version=VERSION,
            max_body_bytes=config.max_body_bytes,
        )
        self.http = HttpServer(self, settings)

    # The registry.

    @property
    def state(self) -> State:
        return self._machine.fsm.state

    async def submit(self, command: Command, deadline: float, idempotency: Idempotency | None = None) -> Outcome:
        stamped = Stamped(time.time_ns(), command, idempotency)
        outcome = await self.log.propose(commands.encode(stamped), deadline)
        if isinstance(outcome, Applied):
            return commands.decode_outcome(outcome.result)
        if isinstance(outcome, NotApplied):
            if outcome.overloaded:
                raise Overloaded(outcome.why)
            raise NoLeader(may_happen=False)
        raise NoLeader(may_happen=True)

    async def barrier(self, *, stale: bool, deadline: float) -> Contact:
        mode = ReadMode.STALE if stale else ReadMode.LINEARIZABLE
        try:
            barrier = await self.log.read_barrier(mode, deadline)
        except LogHasNoLeader:
            raise NoLeader from None
        return Contact(round(barrier.last_contact * 1000), barrier.known_leader)

    def cluster(self) -> ClusterView:
        status = self.log.status()
        servers = tuple(self._server(member, status.leader) for member in status.members)
        raft = {
            "applied_index": status.applied_index,
            "commit_index": status.commit_index,
            "fsm_index": self.state.index,
            "last_contact": f"{status.last_contact * 1000:.0f}ms",
            "last_log_index": status.last_index,
            "last_snapshot_index": status.snapshot_index,
            "num_peers": len(servers) - 1,
            "state": status.role.value.capitalize(),
            "term": status.term,
        }
        figures = {
            "raft": {key: str(value) for key, value in raft.items()},
            "volstore": {"known_leader": str(status.leader is not None).lower(), "server": "true"},
        }
        leader = next((server for server in servers if server.leader), None)
        return ClusterView(self.config.name, self.config.region, self.config.datacenter, leader, servers, figures)

    @staticmethod
    def _server(status: MemberStatus, leader: str | None) -> ServerView:
        member = status.member
        return ServerView(
            name=member.name,
            incarnation=member.incarnation.hex(),
            raft_address=member.address,
            http_address=member.meta.get("http", ""),
            version=member.meta.get("version", ""),
            leader=member.name == leader,
            voter=member.voter,
            status="alive" if status.connected else "failed",
        )

    # Life.

    async def start(self) -> str:
        """Take part in the cluster and serve HTTP; the "HOST:PORT" that is bound. Raises LogError or OSError."""
        await self.log.start()
        try:
            return await self.http.start(*host_and_port(self.config.http_addr))
        except OSError:
            await self.log.stop()
            raise

    async def seed(self) -> None:
        """Give a --dev node that has none its sample nodes and plugin. Raises NoLeader."""
        deadline = asyncio.get_running_loop().time() + SEEDING_DEADLINE
        await self.barrier(stale=False, deadline=deadline)
        if self.state.plugin(PLUGIN_ID) is None:
            for command in sample_nodes():
                await self.submit(command, deadline)

    async def stop(self) -> None:
        await self.http.stop()
        await self.log.stop()


async def _run(config: AgentConfig) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    agent = Agent(config)
    # A collection that walks a large state stops the node for tens of milliseconds: have it look seldom, and never
    # at what was loaded at the start.
    gc.set_threshold(50_000, 20, 100)
    try:
        address = await agent.start()
    except (LogError, OSError) as error:
        _log.error("agent_can_not_start", reason=str(error))
        return 1
    try:
        gc.collect()
        gc.freeze()
        _log.info("agent_started", name=config.name, http=address, raft=config.raft_advertise, version=VERSION)
        if config.dev:
            await agent.seed()
            print(_welcome(address), flush=True)  # noqa: T201 - for the person at the terminal, not for the log
        agent.log.failed.add_done_callback(lambda _failed: stopping.set())
        await stopping.wait()
        if agent.log.failed.done():
            _log.error("agent_failed", reason=str(agent.log.failed.exception()))
            return 1
        _log.info("agent_stops")
        return 0
    except NoLeader as error:
        _log.error("agent_can_not_seed", reason=error.text)
        return 1
    finally:
        await agent.stop()


def _welcome(address: str) -> str:
    lines = "\n".join(f"  {line}" for line in try_next(address, program=sys.argv[0]))
    return (
        f"volstore {VERSION} serves http://{address} (one node, for trying things; Ctrl-C stops it). Try next:\n{lines}"
    )


def run(config: AgentConfig) -> int:
    """Run a node until SIGTERM, SIGINT (exit code 0) or a defect (1)."""
    logs.configure(config.log_level, config.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(config))
