"""The table of all settings of an agent. It drives the flags, the variables, the file and `agent --help`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volstore.agent.values import address, between, count, member_url, name, one_of, path, reachable, server, switch
from volstore.units import parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `name` is its TOML key and its field in AgentConfig.

    `read` turns text into the value, or raises ValueError saying what would be right. `default` is text for `read`;
    with `default_is_prose` it describes for people how the default is computed. `number`: TOML may hold an integer.
    `many`: a list in TOML, a repeated flag, a variable with commas. `switch`: a boolean in TOML, a flag without a
    value.
    """

    name: str
    metavar: str
    read: Callable[[str], Any]
    help: str
    default: str
    default_is_prose: bool = False
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
    Setting("name", "NAME", name, "This node's name, unique in its cluster.", "the host's name", True),
    Setting("data_dir", "DIR", path, "Where log and snapshots are kept.", "none, must be set", True),
    Setting("http_addr", "HOST:PORT", address, "Where the HTTP API listens.", "127.0.0.1:4646"),
    Setting("http_advertise", "HOST:PORT", reachable, "Where others reach the HTTP API.", "http_addr", True),
    Setting("raft_addr", "HOST:PORT", address, "Where this node listens for other members.", "127.0.0.1:4647"),
    Setting(
        "raft_advertise",
        "HOST:PORT",
        reachable,
        "Where other members reach this node.",
        "its address in servers, otherwise raft_addr",
        True,
    ),
    Setting(
        "servers",
        "NAME=HOST:PORT",
        server,
        "A first member; repeat for each, this node included. Read at the first start only.",
        "this node alone",
        True,
        many=True,
        flag="--server",
    ),
    Setting(
        "join",
        "HTTP_HOST:PORT",
        member_url,
        "HTTP address of a member whose cluster this node joins; repeat for others. Then servers is not read.",
        "none",
        True,
        many=True,
    ),
    Setting("cluster_id", "ID", name, "Members of another cluster are refused.", "computed from servers", True),
    Setting("region", "REGION", name, "The one region that this cluster serves.", "global"),
    Setting("datacenter", "DC", name, "The datacenter of this node.", "dc1"),
    Setting("tls_ca_file", "FILE", path, "Trusted authorities (PEM). With it members use TLS.", "none", True),
    Setting("tls_cert_file", "FILE", path, "This node's certificate, from `volstore tls`.", "none", True),
    Setting("tls_key_file", "FILE", path, "The key of the certificate.", "none", True),
    Setting("tls_http", "BOOL", switch, "Serve HTTPS.", "false", switch=True),
    Setting(
        "tls_verify_https_client",
        "BOOL",
        switch,
        "Require a client certificate of our authority for HTTPS.",
        "false",
        switch=True,
    ),
    Setting(
        "insecure_bind",
        "BOOL",
        switch,
        "Listen beyond this machine without TLS. Then anybody who reaches the raft port can change everything.",
        "false",
        switch=True,
    ),
    Setting(
        "encryption_key_file",
        "FILE",
        path,
        "Keys that encrypt log and snapshots, the current one first, from `volstore keys`.",
        "none, or the keys in VOLSTORE_ENCRYPTION_KEYS",
        True,
    ),
    Setting(
        "backup_key_file",
        "FILE",
        path,
        "Keys that encrypt backups, the current one first, from `volstore keys`. The same on all members.",
        "none",
        True,
    ),
    Setting(
        "acl_enabled",
        "BOOL",
        switch,
        "Require a token for every request. The same on all members.",
        "false",
        switch=True,
    ),
    Setting(
        "metrics_require_token",
        "BOOL",
        switch,
        "With acl_enabled: serve metrics only to tokens with agent:read.",
        "false",
        switch=True,
    ),
    Setting("audit_file", "FILE", path, "Audit log of writes and denied requests, as JSON lines.", "none", True),
    Setting(
        "audit_enforce",
        "BOOL",
        switch,
        "Refuse writes that can't be written to audit_file.",
        "false",
        switch=True,
    ),
    Setting(
        "limits_requests_per_second",
        "COUNT",
        between(count, "0", "1000000"),
        "With acl_enabled: requests per second of each token, with bursts of twice as many. 0: no limit.",
        "5000",
        number=True,
    ),
    Setting(
        "limits_waiters_per_token",
        "COUNT",
        between(count, "0", "1000000"),
        "With acl_enabled: blocking queries of each token that wait at the same time. 0: no limit.",
        "10000",
        number=True,
    ),
    Setting("log_level", "LEVEL", one_of("debug", "info", "warning", "error"), "The lowest level to log.", "info"),
    Setting("log_format", "FORMAT", one_of("console", "json"), "console for people, json for programs.", "console"),
    Setting(
        "heartbeat_interval",
        "DURATION",
        between(parse_duration, "5ms", "10s"),
        "How often a leader sends heartbeats to the other members.",
        "50ms",
    ),
    Setting(
        "election_timeout_min",
        "DURATION",
        between(parse_duration, "20ms", "60s"),
        "The shortest time without a heartbeat after which a follower starts an election.",
        "300ms",
    ),
    Setting(
        "election_timeout_max",
        "DURATION",
        between(parse_duration, "20ms", "120s"),
        "The longest such time.",
        "600ms",
    ),
    Setting(
        "max_body_bytes",
        "SIZE",
        between(parse_size, "1KiB", "16MiB"),
        "The largest request body.",
        "4MiB",
        number=True,
    ),
    Setting(
        "max_bodies_bytes",
        "SIZE",
        between(parse_size, "1MiB", "16GiB"),
        "The total of all request bodies in flight; beyond it requests get 503. A quarter is for bodies up to 64 KiB.",
        "32MiB",
        number=True,
    ),
    Setting("max_url_bytes", "SIZE", between(parse_size, "1KiB", "64KiB"), "The longest URL.", "8KiB", number=True),
    Setting(
        "max_header_bytes",
        "SIZE",
        between(parse_size, "2KiB", "256KiB"),
        "The largest total of a request's headers.",
        "32KiB",
        number=True,
    ),
    Setting(
        "max_connections",
        "COUNT",
        between(count, "1", "1000000"),
        "HTTP connections in total; file descriptors may limit them further.",
        "20000",
        number=True,
    ),
    Setting(
        "max_connections_per_client",
        "COUNT",
        between(count, "0", "1000000"),
        "HTTP connections from one address. 0: no limit.",
        "1000, without limit from this machine",
        True,
        number=True,
    ),
    Setting(
        "http_head_timeout",
        "DURATION",
        between(parse_duration, "100ms", "10m"),
        "The longest time for the head of a request, and for a TLS handshake.",
        "10s",
    ),
    Setting(
        "http_body_timeout",
        "DURATION",
        between(parse_duration, "100ms", "1h"),
        "The longest time for the body of a request.",
        "30s",
    ),
    Setting(
        "http_send_timeout",
        "DURATION",
        between(parse_duration, "100ms", "1h"),
        "The longest time during which a client reads nothing of its answer.",
        "60s",
    ),
    Setting(
        "http_idle_timeout",
        "DURATION",
        between(parse_duration, "1s", "24h"),
        "How long a connection stays open without a request.",
        "75s",
    ),
    Setting(
        "snapshot_threshold",
        "ENTRIES",
        between(count, "1", "100000000"),
        "Log entries between two snapshots.",
        "32768",
        number=True,
    ),
    Setting(
        "snapshot_trailing_entries",
        "ENTRIES",
        between(count, "0", "100000000"),
        "Log entries kept before a snapshot, for members that are not far behind.",
        "1024",
        number=True,
    ),
    Setting(
        "min_heartbeat_ttl",
        "DURATION",
        between(parse_duration, "100ms", "24h"),
        "The shortest time between heartbeats of a client node; longer with many nodes.",
        "10s",
    ),
    Setting(
        "heartbeat_grace",
        "DURATION",
        between(parse_duration, "100ms", "24h"),
        "Additional time without a heartbeat after which a client node is down.",
        "10s",
    ),
    Setting(
        "max_heartbeats_per_second",
        "COUNT",
        between(count, "1", "1000000"),
        "Heartbeats of all client nodes together; with more nodes each sends fewer.",
        "50",
        number=True,
    ),
    Setting(
        "node_gc_threshold",
        "DURATION",
        between(parse_duration, "1s", "87600h"),
        "How long a client node is down before it is removed, with its claims. It stays while an allocation with a "
        "claim may still run.",
        "24h",
    ),
    Setting(
        "node_gc_running_claims",
        "BOOL",
        switch,
        "Remove a client node that is down even if an allocation there may still run: its claims are freed, though "
        "it may still write.",
        "false",
        switch=True,
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
DEV_DEFAULTS = {"name": "dev", "data_dir": ".volstore-dev"}

# Variables with our prefix that the client reads, not the agent.
CLIENT_VARIABLES = frozenset(
    f"VOLSTORE_{name}"
    for name in ("ADDR", "TOKEN", "NAMESPACE", "REGION", "CACERT", "CLIENT_CERT", "CLIENT_KEY", "TLS_SERVER_NAME")
)
CONFIG_VARIABLE = "VOLSTORE_CONFIG"
KEYS_VARIABLE = "VOLSTORE_ENCRYPTION_KEYS"
"""It holds keys, so it is no setting: every setting is a flag too, and everybody on a machine can read flags."""
