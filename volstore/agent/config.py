"""What an agent is told, from defaults, a TOML file, VOLSTORE_* variables and flags, checked as a whole.

Each source beats those before it. An unknown key in the file is an error, as somebody wrote it for us; an unknown
variable is only warned about, as others set such ones too (Kubernetes does, for a service of the name volstore).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volstore.agent.settings import (
    BY_NAME,
    CLIENT_VARIABLES,
    CONFIG_VARIABLE,
    DEV_DEFAULTS,
    KEYS_VARIABLE,
    SETTINGS,
    Setting,
    host_and_port,
    is_loopback,
    is_wildcard,
)
from volstore.spelling import did_you_mean
from volstore.units import format_duration

_PREFIX = "VOLSTORE_"


class ConfigError(Exception):
    """The agent can't be started like this; the text names the setting, where it was set, and what would be right."""


@dataclass(frozen=True, slots=True)
class Server:
    """A first member; `address` is where the others reach its raft port."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All that an agent is told. Addresses are "HOST:PORT" (`host_and_port` splits them), times are in seconds.

    `servers` always has this node in it, at `raft_advertise`. Port 0 in `http_addr` or `raft_addr` means any free one;
    then the advertised address has port 0 too, which stands for the one that was bound. `servers` and `cluster_id`
    are for the first start: what the data directory says later wins (over `cluster_id` unless `cluster_id_given`).
    With `join` the members at these HTTP addresses are asked to add this node, until it has its vote.
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
        """What listens beyond this machine without TLS, or for HTTP without access control, by its setting."""
        listening = (("raft_addr", self.tls_ca_file is not None), ("http_addr", self.tls_http and self.acl_enabled))
        return [name for name, tls in listening if not tls and not is_loopback(host_and_port(getattr(self, name))[0])]


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it came from, in words."""

    value: Any
    source: str


def load(
    flags: Mapping[str, str | Sequence[str] | None],
    environ: Mapping[str, str],
    *,
    hostname: str,
    config_file: str | None = None,
    dev: bool = False,
    fresh: bool = False,
) -> tuple[AgentConfig, list[str]]:
    """The configuration, and warnings to show. Raises ConfigError.

    `flags` are texts by setting name (None: not given), `hostname` is this machine's, `config_file` the --config
    flag. A variable that is set but empty counts as not set.
    """
    if fresh and not dev:
        raise ConfigError("--fresh is for --dev only: it wipes the data directory")
    given: dict[str, _Given] = {}
    path = config_file or environ.get(CONFIG_VARIABLE)
    if path:
        given |= _from_file(Path(path))
    for setting in SETTINGS:
        if text := environ.get(setting.variable):
            parts = [part.strip() for part in text.split(",")] if setting.many else text
            given[setting.name] = _read(setting, parts, f"variable {setting.variable}")
        flag = flags.get(setting.name)
        if flag is not None and flag != ():
            given[setting.name] = _read(setting, flag, f"flag {setting.option}")
    defaults = _defaults(hostname, dev)
    _check(given, dev)
    return _build(defaults | given, given, dev, fresh), _unknown_variables(environ)


def _read(setting: Setting, given: str | Sequence[str], source: str) -> _Given:
    try:
        value = setting.read(given) if isinstance(given, str) else tuple(setting.read(text) for text in given)
    except ValueError as error:
        raise ConfigError(f"{setting.name} ({source}): {error}") from None
    return _Given(value, source)


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the configuration file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    given = {}
    for key, value in _flat(table):
        setting = BY_NAME.get(key)
        if setting is None:
            raise ConfigError(f"unknown key {key!r} in {path}{_hint(key)}")
        source = f"key {key} in {path}"
        given[key] = _read(setting, _file_text(setting, value, source), source)
    return given


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys with those of tables: `[acl]` and `enabled` make acl_enabled."""
    for key, value in table.items():
        if isinstance(value, dict) and key in _TABLES:
            yield from ((f"{key}_{inner}", inside) for inner, inside in value.items())
        else:
            yield key, value


def _hint(key: str) -> str:
    if key in ("dev", "fresh", "config"):
        return f": --{key} is a flag only"
    meant = did_you_mean(key, BY_NAME)
    return f"; did you mean {meant}?" if meant else f"; known are {', '.join(sorted(BY_NAME))}"


def _file_text(setting: Setting, value: object, source: str) -> str | list[str]:
    """The text of a TOML value, after a check of its type."""
    if setting.many:
        if isinstance(value, list) and all(isinstance(element, str) for element in value):
            return value
        expected = f'a list of strings like ["{setting.metavar}"]'
    elif setting.switch:
        if isinstance(value, bool):
            return str(value).lower()
        expected = "true or false"
    elif isinstance(value, str):
        return value
    elif setting.number:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        counts = setting.metavar in ("ENTRIES", "COUNT")
        expected = "a whole number" if counts else 'a whole number of bytes or a string like "4MiB"'
    else:
        expected = 'a string like "50ms"' if setting.metavar == "DURATION" else "a string"
    raise ConfigError(f"{setting.name} ({source}): expected {expected}, got {_toml_type(value)}")


def _toml_type(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def _defaults(hostname: str, dev: bool) -> dict[str, _Given]:
    defaults = {s.name: _read(s, s.default, "default") for s in SETTINGS if not s.default_is_said}
    said = DEV_DEFAULTS if dev else {"name": hostname}
    for name, text in said.items():
        try:
            defaults[name] = _read(BY_NAME[name], text, "default")
        except ConfigError:  # only the host's name can be unfit: then there is no default
            continue
    return defaults


def _check(given: Mapping[str, _Given], dev: bool) -> None:
    """What must be said, or must not, before anything else makes sense."""
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


def _build(settings: Mapping[str, _Given], given: Mapping[str, _Given], dev: bool, fresh: bool) -> AgentConfig:
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


def _servers(settings: Mapping[str, _Given], values: Mapping[str, Any]) -> tuple[Server, ...]:
    if "servers" not in settings:
        return ()
    source, name = settings["servers"].source, values["name"]
    servers = tuple(Server(*pair) for pair in values["servers"])
    for what, found in (("name", [s.name for s in servers]), ("address", [s.address for s in servers])):
        twice = next((one for one in found if found.count(one) > 1), None)
        if twice:
            raise ConfigError(f"servers ({source}): the {what} {twice} is there twice; each member has its own")
    if name not in {server.name for server in servers}:
        listed = ", ".join(server.name for server in servers) or "empty"
        raise ConfigError(
            f"servers ({source}): this node, {name}, is not in the list ({listed}); "
            "the first members include the node itself, by its --name"
        )
    return servers


def _raft_advertise(given: Mapping[str, _Given], values: Mapping[str, Any], own: str | None) -> str:
    explicit: str | None = values.get("raft_advertise")
    address: str = explicit or own or values["raft_addr"]
    if is_wildcard(host_and_port(address)[0]):
        raise ConfigError(
            f"raft_addr ({given['raft_addr'].source}): {address} is not an address that others can reach; "
            "set raft_advertise to one that is"
        )
    return address


def _http_advertise(http_addr: str, raft: str) -> str:
    """`http_addr`, on the host of the raft address where it listens on all addresses."""
    host, port = host_and_port(http_addr)
    return f"{raft.rpartition(':')[0]}:{port}" if is_wildcard(host) else http_addr


def _cluster_id(servers: Sequence[Server]) -> str:
    """The same on all first members, and another for other members: 16 hexadecimal digits."""
    listed = ",".join(sorted(f"{server.name}={server.address}" for server in servers))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def _check_times(settings: Mapping[str, _Given]) -> None:
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
            "the two, so that they don't all stand at once"
        )


_TABLES = ("acl", "audit", "limits", "metrics")
_NONE_BY_DEFAULT = ("encryption_key_file", "backup_key_file", "max_connections_per_client", "audit_file")
_TLS_FILES = ("tls_ca_file", "tls_cert_file", "tls_key_file")


def _check_tls(settings: Mapping[str, _Given]) -> None:
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


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {setting.variable for setting in SETTINGS} | CLIENT_VARIABLES | {CONFIG_VARIABLE, KEYS_VARIABLE}
    warnings = []
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in known:
            meant = did_you_mean(variable.removeprefix(_PREFIX), (name.removeprefix(_PREFIX) for name in known))
            hint = f"; did you mean {_PREFIX}{meant}?" if meant else ""
            warnings.append(f"unknown variable {variable} is ignored{hint}")
    return warnings
