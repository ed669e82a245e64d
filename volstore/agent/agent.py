"""One running node: connects `cluster`'s log with `volstore`'s registry and its HTTP API."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable
from importlib.metadata import version

import structlog

from cluster.api import Applied, NotApplied, ReadMode, Role
from cluster.api import Member as LogMember
from cluster.api import NoLeader as LogHasNoLeader
from cluster.log import ReplicatedLog
from cluster.net.tcp import TcpNetwork
from cluster.options import Options
from cluster.raft.engine import Timing
from cluster.storage.disk import RealDisk
from cluster.storage.disk_decorators import TimedDisk
from cluster.storage.sealing import Keyring
from volstore.agent.cluster_admin import LogAdmin, cluster_view
from volstore.agent.config import AgentConfig, Server
from volstore.agent.heartbeats import Heartbeats, HeartbeatSettings
from volstore.agent.keys import backup_keys, node_keys
from volstore.agent.leading import Leading, hear
from volstore.agent.logs import CountedLog
from volstore.agent.sample import PLUGIN_ID, sample_nodes
from volstore.agent.state_machine import WatchedFsm
from volstore.agent.timekeeping import MEASURED, LogClock, Timekeeper
from volstore.agent.tls import Tls, TlsError, members_client, tls_of, warn_of_expiry
from volstore.backup.sealed import BackupKeys
from volstore.core import commands
from volstore.core.acl.commands import Caller
from volstore.core.commands import Command, Idempotency, Outcome, Stamped
from volstore.core.errors import NoLeader, NotKnownToAll, Overloaded
from volstore.core.levels import LEVEL, META, Known, lacking
from volstore.core.state import State
from volstore.http.endpoints.metrics import metrics_route
from volstore.http.endpoints.operator import operator_routes
from volstore.http.registry import ClusterView, Contact, Heard
from volstore.http.server.audit import AuditLog
from volstore.http.server.members import MembersClient
from volstore.http.server.metrics import Family, Figures, families
from volstore.http.server.requests import Histogram
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings
from volstore.http.server.watch import Watch
from volstore.text import host_and_port

VERSION = version("volstore")
SEEDING_DEADLINE = 30.0
"""Seconds that a --dev node may take to write its sample nodes."""

BOOTSTRAP_RESET_FILE = "acl-bootstrap-reset"
"""A file in the data directory. It holds the index that a refused bootstrap names, and allows one more bootstrap, as
Nomad's file of this name does."""

_DAY = 86_400.0

_log = structlog.get_logger("volstore.agent")


class Agent:
    """One node; a `volstore.http.registry.Registry`."""

    def __init__(self, config: AgentConfig, cluster_id: str, tls: Tls | None) -> None:
        """A joining node has no first members: it waits until the cluster's log reaches it. Raises KeysError."""
        self.config = config
        self._tls = tls
        self._daily: asyncio.TimerHandle | None = None
        self._keys = Keyring(node_keys(config.encryption_key_file, os.environ))
        self._backup_keyring = Keyring(backup_keys(config.backup_key_file))
        self._members = members_client(config, tls)
        self.watch = Watch()
        self._clock = LogClock(asyncio.get_running_loop().time, time.time_ns)
        self._machine = WatchedFsm(self.watch, self._clock)
        first: tuple[Server, ...] = () if config.join else config.servers
        disk, syncs, log = RealDisk(config.data_dir), Histogram(), CountedLog(structlog.get_logger("cluster"))
        self._network = TcpNetwork(log, tls.raft if tls else None)
        self.log = ReplicatedLog(
            Options(
                cluster_id=cluster_id,
                name=config.name,
                bind=config.raft_addr,
                advertise=config.raft_advertise,
                members=tuple(LogMember(server.name, server.address) for server in first),
                meta={"http": config.http_advertise, "version": VERSION, META: str(LEVEL)},
                timing=Timing(config.heartbeat_interval, config.election_timeout_min, config.election_timeout_max),
                snapshot_entries=config.snapshot_threshold,
                trailing_entries=config.snapshot_trailing_entries,
                keys=self._keys,
            ),
            self._machine,
            disk=TimedDisk(disk, syncs.observe),
            snapshot_disk=RealDisk(config.data_dir),
            network=self._network,
            random=random.SystemRandom(),
            log=log,
        )
        self.admin = LogAdmin(
            config, self.log, disk, VERSION, lambda: (self.state.index, self._machine.fsm.digest()), self._used_level
        )
        more = (*operator_routes(self.admin, BackupKeys(self._backup_keyring)), metrics_route(self._families))
        self.http = HttpServer(self, _http_settings(config, self._members), more)
        self._figures = Figures(
            self.http.requests, syncs, self._machine.applies, log.counts, admission=self.http.admission
        )

        self._heartbeats = HeartbeatSettings(
            config.min_heartbeat_ttl, config.heartbeat_grace, config.max_heartbeats_per_second
        )
        self._leading = Leading(
            self,
            Heartbeats(
                self._heartbeats,
                clock=asyncio.get_running_loop().time,
                wall=time.time,
                kept_alive=[command.node.id for command in sample_nodes()] if config.dev else (),
            ),
            term=self._led_term,
            node_gc_threshold=config.node_gc_threshold,
            node_gc_running_claims=config.node_gc_running_claims,
            failed=self.log.fail,
        )
        self._timekeeper = Timekeeper(
            self,
            self._clock,
            term=self._led_term,
            node_gc_threshold=config.node_gc_threshold,
            failed=self.log.fail,
            began=lambda: _log.info("measured_time_began", ahead=f"{self.state.timers.ahead // 10**9}s"),
        )
        self._machine.applied = self._leading.applied
        self.log.on_leadership(self._leading.leadership_changed)
        self.log.on_leadership(self._timekeeper.leadership_changed)
        self.log.on_ask(self._leading.answer)

    # Registry.

    @property
    def state(self) -> State:
        return self._machine.fsm.state

    def log_now(self) -> int:
        return self._clock.now(self.state)

    async def submit(
        self,
        command: Command,
        deadline: float,
        idempotency: Idempotency | None = None,
        caller: Caller | None = None,
    ) -> Outcome:
        level = commands.level_of(command)
        # Once the log holds a command of this level, every member knows it.
        if level > 1 and level > self.state.level and (why := lacking(level, self._known_members())):
            known = commands.for_level_one(command)
            if known is None:
                raise NotKnownToAll(why)
            command = known
        if type(command) in MEASURED:
            try:
                await self._clock.prepare(command, self.state, lambda first: self.submit(first, deadline))
            except NoLeader:
                raise NoLeader(may_happen=False) from None  # what was asked for was not proposed yet
        stamped = Stamped(time.time_ns(), command, idempotency, caller)
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

    async def heartbeat(self, node_id: str, deadline: float) -> Heard:
        try:
            return await hear(node_id, self.log.ask_leader, self, deadline)
        except LogHasNoLeader:
            raise NoLeader from None

    def heartbeat_ttl(self, node_id: str) -> int:
        return round(self._heartbeats.ttl(node_id, self.state.node_count()) * 1e9)

    def _known_members(self) -> list[Known]:
        # Only the node that receives the request checks this, though its view of the members may be older than the
        # leader's. That suffices: a member of a lower level can only join through `LogAdmin.add_peer`, which checks the
        # log's level. If the first command of a level and the joining of an older build cross in one round, the older
        # build stops at that command and loses nothing.
        return [Known(one.member.name, one.last_meta) for one in self.log.status().members]

    def _used_level(self) -> int:
        return self.state.level

    def _led_term(self) -> int | None:
        status = self.log.status()
        return status.term if status.role is Role.LEADER else None

    def cluster(self) -> ClusterView:
        return cluster_view(self.config, self.log.status(), self.state.index)

    def _families(self) -> Iterable[Family]:
        self._figures.certificate_expires = self._tls.expires.timestamp() if self._tls is not None else None
        return families(self.admin.node(), self.state, len(self.watch), self._figures)

    # Life cycle.

    async def start(self) -> str:
        """Take part in the cluster and serve HTTP. Returns the bound "HOST:PORT". Raises LogError or OSError."""
        await self.log.start()
        try:
            if self.config.audit_file is not None:
                self.http.audit = AuditLog(self.config.audit_file, enforce=self.config.audit_enforce)
            https = self._tls.https if self._tls and self.config.tls_http else None
            address = await self.http.start(*host_and_port(self.config.http_addr), https)
        except OSError:
            await self.log.stop()
            raise
        self._check_certificate_daily()
        self.admin.begin_joining(self._members)
        return address

    def reload(self, config: AgentConfig) -> None:
        """Apply the settings that may change while a node runs: the limits of its HTTP API, certificates and keys.

        Raises TlsError or KeysError; then nothing has changed.
        """
        tls = tls_of(config)
        keys, for_backups = node_keys(config.encryption_key_file, os.environ), backup_keys(config.backup_key_file)
        if (tls is None, config.tls_http) != (self._tls is None, self.config.tls_http):
            raise TlsError("TLS can't be turned on or off while a node runs: restart it")
        self._keys.use(keys)
        self._backup_keyring.use(for_backups)
        if tls is not None:
            self._tls = tls
            warn_of_expiry(tls, config)
            self._network.use(tls.raft)
            if config.tls_http:
                self.http.use_tls(tls.https)
                self._members.use(tls.client, tls.members_host)
        self.http.use(_http_settings(config, self._members))
        if self.http.audit is not None:
            self.http.audit.reopen()

    async def seed(self) -> None:
        """Write the sample nodes and plugin of a --dev node, unless they exist. Raises NoLeader."""
        deadline = asyncio.get_running_loop().time() + SEEDING_DEADLINE
        await self.barrier(stale=False, deadline=deadline)
        if self.state.plugin(PLUGIN_ID) is None:
            for command in sample_nodes():
                await self.submit(command, deadline)

    def _check_certificate_daily(self) -> None:
        """Warn before the certificate expires: a node may run for longer than it is valid."""
        if self._tls is not None:
            warn_of_expiry(self._tls, self.config)
            self._daily = asyncio.get_running_loop().call_later(_DAY, self._check_certificate_daily)

    async def stop(self) -> None:
        if self._daily is not None:
            self._daily.cancel()
        await self.admin.stop_joining()
        await self.http.stop()
        if self.http.audit is not None:
            await self.http.audit.close()
        await self._leading.stop()
        await self._timekeeper.stop()
        await self.log.stop()


def _http_settings(config: AgentConfig, members: MembersClient) -> HttpSettings:
    return HttpSettings(
        region=config.region,
        datacenter=config.datacenter,
        version=VERSION,
        max_body_bytes=config.max_body_bytes,
        max_bodies_bytes=config.max_bodies_bytes,
        max_url_bytes=config.max_url_bytes,
        max_header_bytes=config.max_header_bytes,
        max_connections=config.max_connections,
        max_connections_per_client=config.max_connections_per_client,
        head_deadline=config.http_head_timeout,
        body_deadline=config.http_body_timeout,
        send_deadline=config.http_send_timeout,
        idle_timeout=config.http_idle_timeout,
        members=members,
        acl_enabled=config.acl_enabled,
        metrics_require_token=config.metrics_require_token,
        bootstrap_reset=config.data_dir / BOOTSTRAP_RESET_FILE,
        requests_per_second=config.limits_requests_per_second,
        waiters_per_token=config.limits_waiters_per_token,
    )
