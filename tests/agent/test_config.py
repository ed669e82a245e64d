"""The agent's configuration: which source wins, and what every mistake is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from volstore.agent.config import AgentConfig, ConfigError, Server, load
from volstore.agent.settings import SETTINGS
from volstore.text import host_and_port


def configured(
    *, file: str = "", environ: Mapping[str, str] | None = None, dev: bool = False, fresh: bool = False, **flags: Any
) -> AgentConfig:
    """A configuration with a data directory, unless one is given."""
    path = None
    if file:
        Path("volstore.toml").write_text(file, encoding="utf-8")
        path = "volstore.toml"
    surroundings = {"VOLSTORE_DATA_DIR": "data"} | dict(environ or {})
    config, _ = load(flags, surroundings, hostname="host1", config_file=path, dev=dev, fresh=fresh)
    return config


def test_defaults_suit_a_node_alone() -> None:
    config = configured()

    assert config.name == "host1"
    assert (config.http_addr, config.raft_addr) == ("127.0.0.1:4646", "127.0.0.1:4647")
    assert (config.http_advertise, config.raft_advertise) == ("127.0.0.1:4646", "127.0.0.1:4647")
    assert config.servers == (Server("host1", "127.0.0.1:4647"),)
    assert (config.heartbeat_interval, config.election_timeout_min, config.election_timeout_max) == (0.05, 0.3, 0.6)
    assert (config.max_body_bytes, config.region, config.data_dir) == (4 << 20, "global", Path("data"))


def test_the_file_beats_defaults_variables_beat_the_file_and_flags_beat_variables() -> None:
    file = 'region = "file"\ndatacenter = "file"\nname = "file"\n'
    environ = {"VOLSTORE_DATACENTER": "variable", "VOLSTORE_NAME": "variable"}

    config = configured(file=file, environ=environ, name="flag")

    assert (config.log_level, config.region, config.datacenter, config.name) == ("info", "file", "variable", "flag")


def test_a_variable_that_is_empty_is_not_set() -> None:
    assert configured(environ={"VOLSTORE_REGION": "", "VOLSTORE_CONFIG": ""}).region == "global"


def test_a_variable_can_name_the_file() -> None:
    Path("other.toml").write_text('region = "elsewhere"', encoding="utf-8")
    assert configured(environ={"VOLSTORE_CONFIG": "other.toml"}).region == "elsewhere"


# A value for each setting that is none of the defaults: as text, as TOML, and as the field then is.
EXAMPLES: dict[str, tuple[str, str, Any]] = {
    "name": ("n1", '"n1"', "n1"),
    "data_dir": ("there", '"there"', Path("there")),
    "http_addr": ("10.0.0.1:80", '"10.0.0.1:80"', "10.0.0.1:80"),
    "http_advertise": ("db:80", '"db:80"', "db:80"),
    "raft_addr": ("[::1]:0", '"[::1]:0"', "[::1]:0"),
    "raft_advertise": ("10.0.0.9:1", '"10.0.0.9:1"', "10.0.0.9:1"),
    "servers": (
        "host1=10.0.0.1:1,b=10.0.0.2:2",
        '["host1=10.0.0.1:1", "b=10.0.0.2:2"]',
        (Server("host1", "10.0.0.1:1"), Server("b", "10.0.0.2:2")),
    ),
    "cluster_id": ("c1", '"c1"', "c1"),
    "region": ("eu", '"eu"', "eu"),
    "datacenter": ("dc9", '"dc9"', "dc9"),
    "log_level": ("debug", '"debug"', "debug"),
    "log_format": ("json", '"json"', "json"),
    "heartbeat_interval": ("20ms", '"20ms"', 0.02),
    "election_timeout_min": ("400ms", '"400ms"', 0.4),
    "election_timeout_max": ("2s", '"2s"', 2.0),
    "max_body_bytes": ("1MiB", "1048576", 1 << 20),
    "max_bodies_bytes": ("64MiB", '"64MiB"', 64 << 20),
    "snapshot_threshold": ("7", "7", 7),
    "snapshot_trailing_entries": ("0", "0", 0),
    "join": ("127.0.0.1:80,http://b:4646/", '["127.0.0.1:80", "b:4646"]', ("127.0.0.1:80", "b:4646")),
    "min_heartbeat_ttl": ("1s", '"1s"', 1.0),
    "heartbeat_grace": ("2s", '"2s"', 2.0),
    "max_heartbeats_per_second": ("7", "7", 7),
    "node_gc_threshold": ("1h", '"1h"', 3600.0),
    "node_gc_running_claims": ("true", "true", True),
    "tls_ca_file": ("ca.pem", '"ca.pem"', Path("ca.pem")),
    "tls_cert_file": ("s1.pem", '"s1.pem"', Path("s1.pem")),
    "tls_key_file": ("s1-key.pem", '"s1-key.pem"', Path("s1-key.pem")),
    "tls_http": ("true", "true", True),
    "tls_verify_https_client": ("true", "true", True),
    "insecure_bind": ("true", "true", True),
    "encryption_key_file": ("keys", '"keys"', Path("keys")),
    "backup_key_file": ("keys", '"keys"', Path("keys")),
    "max_url_bytes": ("16KiB", "16384", 16 << 10),
    "max_header_bytes": ("64KiB", '"64KiB"', 64 << 10),
    "max_connections": ("7", "7", 7),
    "max_connections_per_client": ("0", "0", 0),
    "http_head_timeout": ("1s", '"1s"', 1.0),
    "http_body_timeout": ("2s", '"2s"', 2.0),
    "http_send_timeout": ("3s", '"3s"', 3.0),
    "http_idle_timeout": ("4s", '"4s"', 4.0),
    "acl_enabled": ("true", "true", True),
    "metrics_require_token": ("true", "true", True),
    "audit_file": ("audit", '"audit"', Path("audit")),
    "audit_enforce": ("true", "true", True),
    "limits_requests_per_second": ("7", "7", 7),
    "limits_waiters_per_token": ("0", "0", 0),
}
TLS = {"VOLSTORE_TLS_CA_FILE": "a", "VOLSTORE_TLS_CERT_FILE": "b", "VOLSTORE_TLS_KEY_FILE": "c"}
# What some can't be without, in the environment.
COMPANIONS: dict[str, dict[str, str]] = {
    "http_addr": {"VOLSTORE_INSECURE_BIND": "true"},
    "tls_ca_file": TLS,
    "tls_cert_file": TLS,
    "tls_key_file": TLS,
    "tls_http": TLS,
    "audit_enforce": {"VOLSTORE_AUDIT_FILE": "audit"},
    "tls_verify_https_client": {**TLS, "VOLSTORE_TLS_HTTP": "true"},
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_can_be_a_flag_a_variable_and_a_key(setting: Any) -> None:
    text, toml, expected = EXAMPLES[setting.name]
    flag: Any = tuple(text.split(",")) if setting.many else text
    others = {k: v for k, v in COMPANIONS.get(setting.name, {}).items() if k != setting.variable}

    for config in (
        load({"data_dir": "data"} | {setting.name: flag}, others, hostname="host1")[0],
        configured(environ=others | {setting.variable: text}),
        load(
            {"data_dir": "data"} if setting.name != "data_dir" else {},
            others,
            hostname="host1",
            config_file=file(toml, setting.name),
        )[0],
    ):
        assert getattr(config, setting.name) == expected


def file(toml: str, name: str) -> str:
    Path("one.toml").write_text(f"{name} = {toml}\n", encoding="utf-8")
    return "one.toml"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('regoin = "x"', "unknown key 'regoin' in volstore.toml; did you mean region?"),
        ('http-addr = "x"', "unknown key 'http-addr' in volstore.toml; did you mean http_addr?"),
        ("zzz = 1", "unknown key 'zzz' in volstore.toml; known are acl_enabled, "),
        ("dev = true", "unknown key 'dev' in volstore.toml: --dev is a flag only"),
        ("[http]\naddr = 1", "unknown key 'http' in volstore.toml"),
        ("name = 5", "name (key name in volstore.toml): expected a string, got an integer"),
        ("name = true", "got a boolean"),
        ("name = 2020-01-01", "got a date or time"),
        ("max_body_bytes = 1.5", 'expected a whole number of bytes or a string like "4MiB", got a float'),
        ("max_body_bytes = true", "got a boolean"),
        (
            'snapshot_threshold = "many"',
            "snapshot_threshold (key snapshot_threshold in volstore.toml): 'many' is not a whole number",
        ),
        ("snapshot_threshold = -1", "'-1' is not a whole number"),
        ("heartbeat_interval = 50", 'expected a string like "50ms", got an integer'),
        ('servers = "a=b:1"', 'expected a list of strings like ["NAME=HOST:PORT"], got a string'),
        ("servers = [1]", "expected a list of strings"),
        ("servers = []", "servers (key servers in volstore.toml): this node, host1, is not in the list (empty)"),
        ("name = ", "volstore.toml is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_key_and_place(toml: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        configured(file=toml)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"http_addr": "4646"}, "http_addr (flag --http-addr): '4646' is not HOST:PORT; write one like"),
        ({"http_addr": ":4646"}, "is not HOST:PORT"),
        ({"http_addr": "h:65536"}, "is not HOST:PORT"),
        ({"http_addr": "::1:4646"}, "is not HOST:PORT"),
        ({"http_addr": "http://h:4646"}, "is not HOST:PORT"),
        ({"http_addr": "h h:4646"}, "is not HOST:PORT"),
        ({"http_addr": ""}, "is not HOST:PORT"),
        ({"name": "a/b"}, "name (flag --name): 'a/b' must be 1 to 64 letters"),
        ({"name": ""}, "must be 1 to 64 letters"),
        ({"data_dir": ""}, "is not a path"),
        ({"log_level": "loud"}, "'loud' must be one of debug, info, warning, error"),
        ({"log_format": "xml"}, "must be one of console, json"),
        ({"raft_advertise": "0.0.0.0:1"}, "'0.0.0.0:1' is not an address that others can reach"),
        ({"http_advertise": "h:0"}, "is not an address that others can reach"),
        (
            {"raft_addr": "[::]:1"},
            "raft_addr (flag --raft-addr): [::]:1 is not an address that others can reach; set raft_advertise",
        ),
        ({"servers": ("a",)}, "servers (flag --server): 'a' is not NAME=HOST:PORT"),
        ({"servers": ("a=b",)}, "is not HOST:PORT"),
        ({"servers": ("host1=h:1", "host1=i:1")}, "the name host1 is listed twice"),
        ({"servers": ("host1=h:1", "b=h:1")}, "the address h:1 is listed twice"),
        ({"servers": ("a=h:1", "b=i:1")}, "this node, host1, is not in the list (a, b)"),
        (
            {"servers": ("host1=h:1",), "raft_advertise": "i:1"},
            "raft_advertise (flag --raft-advertise): i:1 differs from this node's address in servers, h:1",
        ),
        (
            {"heartbeat_interval": "1ms"},
            "heartbeat_interval (flag --heartbeat-interval): '1ms' must be between 5ms and 10s",
        ),
        ({"heartbeat_interval": "50"}, "'50' is not a duration"),
        (
            {"heartbeat_interval": "100ms"},
            "election_timeout_min (default): 300ms must be above 3 heartbeats of 100ms (heartbeat_interval, flag",
        ),
        (
            {"election_timeout_min": "150ms"},
            "election_timeout_min (flag --election-timeout-min): 150ms must be above 3",
        ),
        ({"election_timeout_max": "300ms"}, "election_timeout_max (flag --election-timeout-max): 300ms must be above"),
        ({"max_body_bytes": "1GiB"}, "'1GiB' must be between 1KiB and 16MiB"),
        (
            {"max_bodies_bytes": "5MiB"},
            "no room for one of max_body_bytes, 4194304: set it to 5592406 or more",
        ),
        ({"max_body_bytes": "big"}, "'big' is not a size"),
        ({"snapshot_threshold": "0"}, "must be between 1 and"),
    ],
)
def test_a_mistake_in_a_flag_is_told_with_what_would_be_right(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        configured(**flags)


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    with pytest.raises(ConfigError, match=re.escape("http_addr (variable VOLSTORE_HTTP_ADDR): 'x' is not")):
        configured(environ={"VOLSTORE_HTTP_ADDR": "x"})


def test_a_mistake_that_a_stronger_source_hides_is_told_all_the_same() -> None:
    with pytest.raises(ConfigError, match="VOLSTORE_HTTP_ADDR"):
        configured(environ={"VOLSTORE_HTTP_ADDR": "x"}, http_addr="127.0.0.1:1")


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"can't read the configuration file nowhere\.toml: No such file"):
        load({}, {}, hostname="h", config_file="nowhere.toml")


def test_a_file_that_is_not_text_is_told() -> None:
    Path("bytes.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match=r"bytes\.toml is not valid TOML"):
        load({}, {}, hostname="h", config_file="bytes.toml")


def test_a_data_directory_must_be_given_unless_dev() -> None:
    with pytest.raises(ConfigError, match="data_dir is not set: give --data-dir"):
        load({}, {}, hostname="h")


def test_a_host_whose_name_is_unfit_needs_a_name() -> None:
    with pytest.raises(ConfigError, match=r"name is not set.*give --name"):
        load({"data_dir": "d"}, {}, hostname="not a name")
    assert load({"data_dir": "d", "name": "n"}, {}, hostname="not a name")[0].name == "n"


def test_dev_is_one_node_on_loopback_with_data_beside() -> None:
    config, _ = load({}, {}, hostname="not a name", dev=True)
    assert (config.name, config.data_dir, config.http_addr) == ("dev", Path(".volstore-dev"), "127.0.0.1:4646")
    assert config.dev
    assert not config.fresh


def test_dev_takes_no_other_servers() -> None:
    with pytest.raises(ConfigError, match="--dev is one node alone"):
        configured(dev=True, servers=("host1=h:1",))


def test_dev_is_plain_http() -> None:
    with pytest.raises(ConfigError, match="--dev is plain HTTP on loopback"):
        configured(dev=True, tls_http="true", environ=TLS)


def test_fresh_is_for_dev_only() -> None:
    assert configured(dev=True, fresh=True).fresh
    with pytest.raises(ConfigError, match="--fresh is for --dev only"):
        configured(fresh=True)


def test_a_listed_server_is_reached_at_its_address_in_the_list() -> None:
    servers = ("host1=10.0.0.1:7", "b=10.0.0.2:7")
    config = configured(servers=servers, raft_addr="0.0.0.0:7", http_addr="0.0.0.0:80", insecure_bind="true")
    assert config.raft_advertise == "10.0.0.1:7"
    assert config.http_advertise == "10.0.0.1:80"


def test_the_cluster_id_is_the_same_on_all_members_and_another_elsewhere() -> None:
    servers = ("a=10.0.0.1:7", "b=10.0.0.2:7")
    first = configured(servers=servers, name="a").cluster_id
    assert configured(servers=servers[::-1], name="b").cluster_id == first
    assert configured(servers=("a=10.0.0.1:7", "b=10.0.0.3:7"), name="a").cluster_id != first


def test_an_unknown_variable_is_warned_about_and_the_clients_are_not() -> None:
    environ = {
        "VOLSTORE_HTP_ADDR": "x",
        "VOLSTORE_SERVICE_HOST": "10.0.0.1",
        "VOLSTORE_ADDR": "http://h:1",
        "VOLSTORE_TOKEN": "hunter2",
        "VOLSTORE_DATA_DIR": "d",
    }
    _, warnings = load({}, environ, hostname="h")
    assert warnings[0] == "unknown variable VOLSTORE_HTP_ADDR is ignored; did you mean VOLSTORE_HTTP_ADDR?"
    assert [one.split()[2] for one in warnings] == ["VOLSTORE_HTP_ADDR", "VOLSTORE_SERVICE_HOST"]
    assert "hunter2" not in str(warnings)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            TLS | {"VOLSTORE_TLS_KEY_FILE": ""},
            "tls_ca_file (variable VOLSTORE_TLS_CA_FILE): TLS needs tls_key",
        ),
        ({"VOLSTORE_TLS_KEY_FILE": "k"}, "TLS needs tls_ca_file and tls_cert_file too"),
        ({"VOLSTORE_TLS_HTTP": "true"}, "tls_http (variable VOLSTORE_TLS_HTTP): it needs tls_ca_file, tls_cert_file"),
        (TLS | {"VOLSTORE_TLS_VERIFY_HTTPS_CLIENT": "true"}, "VOLSTORE_TLS_VERIFY_HTTPS_CLIENT): it needs tls_http"),
        ({"VOLSTORE_TLS_HTTP": "yes"}, "'yes' must be one of true, false"),
    ],
)
def test_tls_is_set_whole_or_not_at_all(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        configured(environ=environ)


def test_a_switch_is_a_boolean_in_the_file() -> None:
    with pytest.raises(ConfigError, match="expected true or false, got a string"):
        load({"data_dir": "d"}, {}, hostname="h", config_file=file('"true"', "tls_http"))


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "host1:1", "[fe80::1%eth0]:1"])
def test_nothing_listens_beyond_this_machine_without_tls_unless_that_is_said(address: str) -> None:
    advertised: dict[str, Any] = {"raft_advertise": "10.0.0.1:1", "http_advertise": "10.0.0.1:2"}
    with pytest.raises(ConfigError, match=r"raft_addr .*: .* listens beyond this machine unprotected: set tls_ca_file"):
        configured(raft_addr=address, **advertised)
    with pytest.raises(ConfigError, match=r"http_addr .* and tls_key_file, tls_http and acl_enabled \(`volstore tls`"):
        configured(http_addr=address, environ=TLS, **advertised)
    said = configured(http_addr=address, raft_addr=address, insecure_bind="true", **advertised)
    assert said.exposed() == ["raft_addr", "http_addr"]
    https = {"tls_http": "true", "environ": TLS, **advertised}
    with pytest.raises(ConfigError, match=r"http_addr .* listens beyond this machine unprotected"):
        configured(http_addr=address, raft_addr=address, **https)
    secured = configured(http_addr=address, raft_addr=address, acl_enabled="true", **https)
    assert secured.exposed() == []


def test_keys_of_a_table_are_those_with_its_name_before_them() -> None:
    config = configured(file='[acl]\nenabled = true\n[audit]\nfile = "audit"\nenforce = true\n')
    assert (config.acl_enabled, config.audit_file, config.audit_enforce) == (True, Path("audit"), True)


def test_an_unknown_key_of_a_table_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'acl_enable' in .*; did you mean acl_enabled\?"):
        configured(file="[acl]\nenable = true\n")


def test_what_must_be_audited_needs_a_file() -> None:
    with pytest.raises(ConfigError, match=r"audit_enforce .*: there is no audit_file; set it too"):
        configured(audit_enforce="true")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_no_tls(address: str) -> None:
    assert configured(http_addr=address, raft_addr=address).exposed() == []


def test_addresses_come_apart() -> None:
    assert host_and_port("[::1]:4646") == ("::1", 4646)
    assert host_and_port("db-1.example:80") == ("db-1.example", 80)


def test_a_node_that_joins_is_told_members_by_their_http_addresses() -> None:
    config, _ = load({"data_dir": "d", "join": ("10.0.0.1:4646", "http://10.0.0.2:4646/")}, {}, hostname="h")
    assert config.join == ("10.0.0.1:4646", "10.0.0.2:4646")
    config, _ = load({"data_dir": "d"}, {"VOLSTORE_JOIN": "10.0.0.1:4646, b:4646"}, hostname="h")
    assert config.join == ("10.0.0.1:4646", "b:4646")
    assert not config.cluster_id_given
    with pytest.raises(ConfigError, match="is not an address that others can reach"):
        load({"data_dir": "d", "join": ("0.0.0.0:4646",)}, {}, hostname="h")
    with pytest.raises(ConfigError, match="--dev is one node alone"):
        load({"join": ("10.0.0.1:4646",)}, {}, hostname="h", dev=True)
