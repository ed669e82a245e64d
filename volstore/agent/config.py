"""The configuration of an agent, checked as a whole (sources.py reads its settings)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volstore.agent.sources import ConfigError, Given, collect, defaults, unknown_variables
from volstore.agent.values import is_loopback, is_wildcard
from volstore.text import host_and_port, join_address
from volstore.units import format_duration

_NONE_BY_DEFAULT = ("encryption_key_file", "backup_key_file", "max_connections_per_client", "audit_file")
_TLS_FILES = ("tls_ca_file", "tls_cert_file", "tls_key_file")

__all__ = ["AgentConfig", "ConfigError", "Server", "load"]


@dataclass(frozen=True, slots=True)
class Server:
    """A first member; the others reach its raft port at `address`."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All settings of an agent. Addresses are "HOST:PORT" (`host_and_port` splits them), times are in seconds.

    `servers` always contains this node, at `raft_advertise`. Port 0 in `http_addr` or `raft_addr` means any free port;
    the advertised address then has port 0 too, and means the bound port. `servers` and `cluster_id` are for the first
    start; later the data directory takes precedence (over `cluster_id` unless `cluster_id_given`). With `join` this
    node asks the members at these HTTP addresses to add it, until it has a vote.
    """

    name: str
    data_dir: Path
    http_addr: str
    http_advertise: str
    raft_addr: str
    raft_advertise: str
    servers: tuple[Server, ...]
    join: tuple[str, ...]
    cluster_id: str
    cluster_id_given: bool
    region: str
    datacenter: str
    tls_ca_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
    tls_http: bool
    tls_verify_https_client: bool
    insecure_bind: bool
    encryption_key_file: Path | None
    backup_key_file: Path | None
    log_level: str
    log_format: str
    heartbeat_interval: float
    election_timeout_min: float
    election_timeout_max: float
    max_body_bytes: int
    max_bodies_bytes: int
    max_url_bytes: int
    max_header_bytes: int
    max_connections: int
    max_connections_per_client: int | None
    http_head_timeout: float
    http_body_timeout: float
    http_send_timeout: float
    http_idle_timeout: float
    snapshot_threshold: int
    snapshot_trailing_entries: int
    min_heartbeat_ttl: float
    heartbeat_grace: float
    max_heartbeats_per_second: int
    node_gc_threshold: float
    node_gc_running_claims: bool
    acl_enabled: bool
    metrics_require_token: bool
    audit_file: Path | None
    audit_enforce: bool
    limits_requests_per_second: int
    limits_waiters_per_token: int
    dev: bool = False
    fresh: bool = False

    def exposed(self) -> list[str]:
        """The settings of listeners beyond this machine without TLS, or, for HTTP, without access control."""
        listening = (("raft_addr", self.tls_ca_file is not None), ("http_addr", self.tls_http and self.acl_enabled))
        return [name for name, tls in listening if not tls and not is_loopback(host_and_port(getattr(self, name))[0])]


def load(
    flags: Mapping[str, str | Sequence[str] | None],
    environ: Mapping[str, str],
    *,
    hostname: str,
    config_file: str | None = None,
    dev: bool = False,
    fresh: bool = False,
) -> tuple[AgentConfig, list[str]]:
    """The configuration, and warnings to print. Raises ConfigError.

    `flags` are texts by setting name (None: not given), `hostname` is this machine's name, `config_file` the --config
    flag. An empty variable counts as not set.
    """
    if fresh and not dev:
        raise ConfigError("--fresh is for --dev only: it wipes the data directory")
    given = collect(flags, environ, config_file)
    _check(given, dev)
    return _build(defaults(hostname, dev) | given, given, dev, fresh), unknown_variables(environ)


def _check(given: Mapping[str, Given], dev: bool) -> None:
    """Check the settings that must or must not be set, before the others."""
    if dev and "servers" in given:
        raise ConfigError(f"servers ({given['servers'].source}): --dev is one node alone; leave one of the two out")
    if dev and "tls_http" in given:
        raise ConfigError(f"tls_http ({given['tls_http'].source}): --dev is plain HTTP on loopback; leave one out")
    if dev and "join" in given:
        raise ConfigError(f"join ({given['join'].source}): --dev is one node alone; leave one of the two out")
    if not dev and "data_dir" not in given:
        raise ConfigError(
            "data_dir is not set: give --data-dir DIR, VOLSTORE_DATA_DIR or data_dir in the file "
            "(or --dev, to try volstore on this machine)"
        )


def _build(settings: Mapping[str, Given], given: Mapping[str, Given], dev: bool, fresh: bool) -> AgentConfig:
    values = {name: one.value for name, one in settings.items()}
    if "name" not in values:
        raise ConfigError("name is not set, and this host's name can't be one: give --name NAME")
    servers = _servers(settings, values)
    own = {server.name: server.address for server in servers}.get(values["name"])
    raft = _raft_advertise(given, values, own)
    if servers and own != raft:
        where = given["raft_advertise"].source
        raise ConfigError(f"raft_advertise ({where}): {raft} differs from this node's address in servers, {own}")
    servers = servers or (Server(values["name"], raft),)
    _check_times(settings)
    _check_tls(settings)
    values |= {name: values.get(name) for name in (*_TLS_FILES, *_NONE_BY_DEFAULT)}
    values |= {
        "raft_advertise": raft,
        "http_advertise": values.get("http_advertise") or _http_advertise(values["http_addr"], raft),
        "servers": servers,
        "join": values.get("join", ()),
        "cluster_id": values.get("cluster_id") or _cluster_id(servers),
        "cluster_id_given": "cluster_id" in given,
    }
    config = AgentConfig(**values, dev=dev, fresh=fresh)
    if config.max_bodies_bytes * 3 // 4 < config.max_body_bytes:
        raise ConfigError(
            f"max_bodies_bytes ({settings['max_bodies_bytes'].source}): a quarter is kept for small bodies, and in the "
            f"rest there is no room for one of max_body_bytes, {config.max_body_bytes}: set it to "
            f"{-(-config.max_body_bytes * 4 // 3)} or more"
        )
    if config.audit_enforce and config.audit_file is None:
        raise ConfigError(f"audit_enforce ({settings['audit_enforce'].source}): there is no audit_file; set it too")
    if (exposed := config.exposed()) and not config.insecure_bind:
        name = exposed[0]
        how = "set tls_ca_file, tls_cert_file and tls_key_file"
        if name == "http_addr":
            how += ", tls_http and acl_enabled"
        raise ConfigError(
            f"{name} ({settings[name].source}): {values[name]} listens beyond this machine unprotected: {how} "
            "(`volstore tls` makes the files), or say insecure_bind if nobody else can reach it"
        )
    return config


def _servers(settings: Mapping[str, Given], values: Mapping[str, Any]) -> tuple[Server, ...]:
    if "servers" not in settings:
        return ()
    source, name = settings["servers"].source, values["name"]
    servers = tuple(Server(*pair) for pair in values["servers"])
    for what, found in (("name", [s.name for s in servers]), ("address", [s.address for s in servers])):
        twice = next((one for one in found if found.count(one) > 1), None)
        if twice:
            raise ConfigError(f"servers ({source}): the {what} {twice} is listed twice; each member has its own")
    if name not in {server.name for server in servers}:
        listed = ", ".join(server.name for server in servers) or "empty"
        raise ConfigError(
            f"servers ({source}): this node, {name}, is not in the list ({listed}); "
            "the first members include the node itself, by its --name"
        )
    return servers


def _raft_advertise(given: Mapping[str, Given], values: Mapping[str, Any], own: str | None) -> str:
    explicit: str | None = values.get("raft_advertise")
    address: str = explicit or own or values["raft_addr"]
    if is_wildcard(host_and_port(address)[0]):
        raise ConfigError(
            f"raft_addr ({given['raft_addr'].source}): {address} is not an address that others can reach; "
            "set raft_advertise to one that is"
        )
    return address


def _http_advertise(http_addr: str, raft: str) -> str:
    """`http_addr`; if it is a wildcard, the raft address's host with its port."""
    host, port = host_and_port(http_addr)
    return join_address(host_and_port(raft)[0], port) if is_wildcard(host) else http_addr


def _cluster_id(servers: Sequence[Server]) -> str:
    """16 hexadecimal digits, the same on all first members, and different for other members."""
    listed = ",".join(sorted(f"{server.name}={server.address}" for server in servers))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def _check_times(settings: Mapping[str, Given]) -> None:
    heartbeat = settings["heartbeat_interval"]
    low, high = settings["election_timeout_min"], settings["election_timeout_max"]
    if low.value <= 3 * heartbeat.value:
        raise ConfigError(
            f"election_timeout_min ({low.source}): {format_duration(low.value)} must be above 3 heartbeats of "
            f"{format_duration(heartbeat.value)} (heartbeat_interval, {heartbeat.source}), "
            "or a lost packet would unseat a leader"
        )
    if high.value <= low.value:
        raise ConfigError(
            f"election_timeout_max ({high.source}): {format_duration(high.value)} must be above "
            f"election_timeout_min ({low.source}), {format_duration(low.value)}: each member waits for a time between "
            "the two, so that they don't all start an election at once"
        )


def _check_tls(settings: Mapping[str, Given]) -> None:
    files = [name for name in _TLS_FILES if name in settings]
    if files and len(files) < len(_TLS_FILES):
        missing = " and ".join(name for name in _TLS_FILES if name not in files)
        raise ConfigError(f"{files[0]} ({settings[files[0]].source}): TLS needs {missing} too")
    for name, needed, there in (
        ("tls_http", "tls_ca_file, tls_cert_file and tls_key_file", bool(files)),
        ("tls_verify_https_client", "tls_http", settings["tls_http"].value),
    ):
        if settings[name].value and not there:
            raise ConfigError(f"{name} ({settings[name].source}): it needs {needed}")
