"""The one table of what an agent can be told: it drives the flags, the variables, the file and `agent --help`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volstore.units import parse_duration, parse_size

MAX_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\[\]:]*)):(?P<port>\d{1,5})", re.ASCII)


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of "HOST:PORT" (an IPv6 host is in brackets, and comes without them). Raises ValueError."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535 or not (found["six"] or _HOST.fullmatch(found["host"])):
        raise ValueError(f'{address!r} is not HOST:PORT; write one like "10.0.0.1:4646" or "[::1]:4646"')
    return found["six"] or found["host"], int(found["port"])


def _address(text: str) -> str:
    host_and_port(text)
    return text


def _reachable(text: str) -> str:
    host, port = host_and_port(text)
    if port == 0 or is_wildcard(host):
        raise ValueError(f'{text!r} is not an address that others can reach; write one like "10.0.0.1:4646"')
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`; of names, we trust `localhost` alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether `host` stands for all addresses of a machine: to listen on, but not to be reached at."""
    return not host.strip("0:.")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} must be 1 to {MAX_NAME} letters, digits, dots, dashes or underscores")
    return text


def _server(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not equals:
        raise ValueError(f'{text!r} is not NAME=HOST:PORT; write one like "n1=10.0.0.1:4647"')
    return _name(name), _reachable(address)


def _member(text: str) -> str:
    """The address of a member's HTTP API, also as a URL."""
    address = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    return _reachable(address)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    return Path(text)


def _between(read: Callable[[str], Any], low: str, high: str) -> Callable[[str], Any]:
    """`read`, with bounds that are written as one writes the value."""

    def bounded(text: str) -> Any:
        value = read(text)
        if not read(low) <= value <= read(high):
            raise ValueError(f"{text!r} must be between {low} and {high}")
        return value

    return bounded


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} must be one of {', '.join(choices)}")
        return text

    return choice


def _switch(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: `name` is its TOML key and its field in AgentConfig.

    `read` turns text into the value, or raises ValueError saying what would be right. `default` is text for `read`,
    or, with `default_is_said`, words for people about what is worked out instead. `number`: TOML may hold an integer.
    `many`: a list in TOML, a flag that repeats, a variable with commas. `switch`: a boolean in TOML, a flag without a
    value.
    """

    name: str
    metavar: str
    read: Callable[[str], Any]
    help: str
    default: str
    default_is_said: bool = False
    number: bool = False
    many: bool = False
    switch: bool = False
    flag: str = ""

    @property
    def option(self) -> str:
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "VOLSTORE_" + self.name.upper()


SETTINGS: tuple[Setting, ...] = (
    Setting("name", "NAME", _name, "This node's name, unique in its cluster.", "the host's name", True),
    Setting("data_dir", "DIR", _path, "Where log and snapshots are kept.", "none, must be set", True),
    Setting("http_addr", "HOST:PORT", _address, "Where the HTTP API listens.", "127.0.0.1:4646"),
    Setting("http_advertise", "HOST:PORT", _reachable, "Where others reach the HTTP API.", "http_addr", True),
    Setting("raft_addr", "HOST:PORT", _address, "Where the other members are listened to.", "127.0.0.1:4647"),
    Setting(
        "raft_advertise",
        "HOST:PORT",
        _reachable,
        "Where the other members reach this one.",
        "its address in servers, else raft_addr",
        True,
    ),
    Setting(
        "servers",
        "NAME=HOST:PORT",
        _server,
        "A first member, this node included; give one for each. Read at the first start only.",
        "this node alone",
        True,
        many=True,
        flag="--server",
    ),
    Setting(
        "join",
        "HTTP_HOST:PORT",
        _member,
        "A member's HTTP address, to be added to its cluster; repeat for others. Then servers is not read.",
        "none",
        True,
        many=True,
    ),
    Setting("cluster_id", "ID", _name, "Members of another cluster are refused.", "made from servers", True),
    Setting("region", "REGION", _name, "The one region that this cluster answers for.", "global"),
    Setting("datacenter", "DC", _name, "The datacenter that this node is shown in.", "dc1"),
    Setting("tls_ca_file", "FILE", _path, "Authorities to trust (PEM). With it members talk over TLS.", "none", True),
    Setting("tls_cert_file", "FILE", _path, "This node's certificate, as `volstore tls` makes it.", "none", True),
    Setting("tls_key_file", "FILE", _path, "Its key.", "none", True),
    Setting("tls_http", "BOOL", _switch, "Serve HTTPS.", "false", switch=True),
    Setting(
        "tls_verify_https_client",
        "BOOL",
        _switch,
        "Let nobody use HTTPS who has no certificate of ours.",
        "false",
        switch=True,
    ),
    Setting(
        "insecure_bind",
        "BOOL",
        _switch,
        "Listen beyond this machine without TLS. Whoever reaches the raft port can then change everything.",
        "false",
        switch=True,
    ),
    Setting(
        "encryption_key_file",
        "FILE",
        _path,
        "Keys that log and snapshots are encrypted with, the current one first, as `volstore keys` makes them.",
        "none, or the keys in VOLSTORE_ENCRYPTION_KEYS",
        True,
    ),
    Setting(
        "backup_key_file",
        "FILE",
        _path,
        "Keys that backups are sealed with, the current one first, as `volstore keys`. The same on all members.",
        "none",
        True,
    ),
    Setting(
        "acl_enabled",
        "BOOL",
        _switch,
        "Ask every request for a token. The same on all members.",
        "false",
        switch=True,
    ),
    Setting(
        "metrics_require_token",
        "BOOL",
        _switch,
        "With acl_enabled, show metrics only to tokens that may read agents.",
        "false",
        switch=True,
    ),
    Setting("audit_file", "FILE", _path, "Where writes and denied requests are noted, one a line.", "none", True),
    Setting(
        "audit_enforce",
        "BOOL",
        _switch,
        "Refuse writes that can't be noted in audit_file.",
        "false",
        switch=True,
    ),
    Setting(
        "limits_requests_per_second",
        "COUNT",
        _between(_count, "0", "1000000"),
        "Requests a second of each token, with acl_enabled; twice as many may come at once. 0: any number.",
        "5000",
        number=True,
    ),
    Setting(
        "limits_waiters_per_token",
        "COUNT",
        _between(_count, "0", "1000000"),
        "Blocking queries of each token that wait at a time, with acl_enabled. 0: any number.",
        "10000",
        number=True,
    ),
    Setting("log_level", "LEVEL", _one_of("debug", "info", "warning", "error"), "Least level that is logged.", "info"),
    Setting("log_format", "FORMAT", _one_of("console", "json"), "For people or for programs.", "console"),
    Setting(
        "heartbeat_interval",
        "DURATION",
        _between(parse_duration, "5ms", "10s"),
        "How often a leader is heard from.",
        "50ms",
    ),
    Setting(
        "election_timeout_min",
        "DURATION",
        _between(parse_duration, "20ms", "60s"),
        "Silence after which a follower may stand for election, at the earliest.",
        "300ms",
    ),
    Setting(
        "election_timeout_max",
        "DURATION",
        _between(parse_duration, "20ms", "120s"),
        "The same, at the latest.",
        "600ms",
    ),
    Setting(
        "max_body_bytes",
        "SIZE",
        _between(parse_size, "1KiB", "16MiB"),
        "The largest request body.",
        "4MiB",
        number=True,
    ),
    Setting(
        "max_bodies_bytes",
        "SIZE",
        _between(parse_size, "1MiB", "16GiB"),
        "The bodies of all requests under way together; more get 503. A quarter is kept for those up to 64 KiB.",
        "32MiB",
        number=True,
    ),
    Setting("max_url_bytes", "SIZE", _between(parse_size, "1KiB", "64KiB"), "The longest URL.", "8KiB", number=True),
    Setting(
        "max_header_bytes",
        "SIZE",
        _between(parse_size, "2KiB", "256KiB"),
        "All headers of a request together.",
        "32KiB",
        number=True,
    ),
    Setting(
        "max_connections",
        "COUNT",
        _between(_count, "1", "1000000"),
        "HTTP connections in all; no more than there are file descriptors for.",
        "20000",
        number=True,
    ),
    Setting(
        "max_connections_per_client",
        "COUNT",
        _between(_count, "0", "1000000"),
        "HTTP connections from one address; 0: any number.",
        "1000, and any number from this machine",
        True,
        number=True,
    ),
    Setting(
        "http_head_timeout",
        "DURATION",
        _between(parse_duration, "100ms", "10m"),
        "How long a client may take to send the head of a request, or for a TLS handshake.",
        "10s",
    ),
    Setting(
        "http_body_timeout",
        "DURATION",
        _between(parse_duration, "100ms", "1h"),
        "How long it may take to send the body.",
        "30s",
    ),
    Setting(
        "http_send_timeout",
        "DURATION",
        _between(parse_duration, "100ms", "1h"),
        "How long it may take nothing of its answer.",
        "60s",
    ),
    Setting(
        "http_idle_timeout",
        "DURATION",
        _between(parse_duration, "1s", "24h"),
        "How long a connection is kept without a request.",
        "75s",
    ),
    Setting(
        "snapshot_threshold",
        "ENTRIES",
        _between(_count, "1", "100000000"),
        "Log entries after which a snapshot is written.",
        "32768",
        number=True,
    ),
    Setting(
        "snapshot_trailing_entries",
        "ENTRIES",
        _between(_count, "0", "100000000"),
        "Log entries that are kept behind a snapshot, for members that are not far behind.",
        "1024",
        number=True,
    ),
    Setting(
        "min_heartbeat_ttl",
        "DURATION",
        _between(parse_duration, "100ms", "24h"),
        "How long a client node may be silent, at least; more with many nodes.",
        "10s",
    ),
    Setting(
        "heartbeat_grace",
        "DURATION",
        _between(parse_duration, "100ms", "24h"),
        "Silence beyond that after which a client node is called down.",
        "10s",
    ),
    Setting(
        "max_heartbeats_per_second",
        "COUNT",
        _between(_count, "1", "1000000"),
        "Heartbeats of all client nodes together; with more nodes each sends fewer.",
        "50",
        number=True,
    ),
    Setting(
        "node_gc_threshold",
        "DURATION",
        _between(parse_duration, "1s", "87600h"),
        "How long a client node is down before it is removed, with the claims held on it. It stays while one of them "
        "is of an allocation that hasn't ended.",
        "24h",
    ),
    Setting(
        "node_gc_running_claims",
        "BOOL",
        _switch,
        "Remove a client node that is down also while an allocation on it hasn't ended, as far as is known: its claims "
        "are freed, though it may still write.",
        "false",
        switch=True,
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
DEV_DEFAULTS = {"name": "dev", "data_dir": ".volstore-dev"}

# Variables with our prefix that aren't the agent's: the client's, and the file's own.
CLIENT_VARIABLES = frozenset(
    f"VOLSTORE_{name}"
    for name in ("ADDR", "TOKEN", "NAMESPACE", "REGION", "CACERT", "CLIENT_CERT", "CLIENT_KEY", "TLS_SERVER_NAME")
)
CONFIG_VARIABLE = "VOLSTORE_CONFIG"
KEYS_VARIABLE = "VOLSTORE_ENCRYPTION_KEYS"
"""Holds keys, and so is no setting: those can be flags, which everybody on a machine can read."""
