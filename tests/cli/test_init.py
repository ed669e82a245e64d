"""`volstore init cluster`: what it writes is what an agent takes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, read, write
from volstore.agent.config import AgentConfig, load
from volstore.certificates import names_of, read_certificates


def loaded(file: str) -> AgentConfig:
    config, warnings = load({}, {}, hostname="h", config_file=file)
    assert warnings == []
    return config


def files() -> set[str]:
    return {path.name for path in Path().iterdir()}


async def test_nodes_beside_each_other_differ_by_name_and_ports(cli: Cli) -> None:
    result = await cli("init", "cluster", "-servers", "3", "-dir", "c")
    assert (result.code, result.stdout) == (0, "Wrote c/s1.toml\nWrote c/s2.toml\nWrote c/s3.toml\n")
    configs = [loaded(f"c/s{n}.toml") for n in (1, 2, 3)]
    assert [config.http_addr for config in configs] == ["127.0.0.1:4646", "127.0.0.1:4656", "127.0.0.1:4666"]
    assert [config.raft_advertise for config in configs] == ["127.0.0.1:4647", "127.0.0.1:4657", "127.0.0.1:4667"]
    assert len({config.cluster_id for config in configs}) == 1
    assert len({config.data_dir for config in configs}) == 3
    assert all(config.data_dir.is_relative_to(Path.cwd() / "c" / "data") for config in configs)


async def test_nodes_of_their_own_machines_differ_by_name_alone_and_are_secured(cli: Cli) -> None:
    hosts = ("10.0.0.1", "2001:db8::2", "c.example.com")
    result = await cli("init", "cluster", *(part for host in hosts for part in ("-host", host)), "-region", "eu")
    assert result.code == 0, result.stderr
    texts = {read(f"s{n}.toml").replace(f'"s{n}"', '"?"').replace(f"server-s{n}", "server-?") for n in (1, 2, 3)}
    assert len(texts) == 1
    configs = [loaded(f"s{n}.toml") for n in (1, 2, 3)]
    for config, host in zip(configs, ("10.0.0.1", "[2001:db8::2]", "c.example.com"), strict=True):
        assert (config.raft_advertise, config.http_advertise) == (f"{host}:4647", f"{host}:4646")
    assert all(config.tls_http and config.acl_enabled and config.region == "eu" for config in configs)
    (third,) = read_certificates(Path("tls/server-s3.pem"))
    assert {"s3", "c.example.com", "server.eu.volstore"} <= names_of(third)
    for n, config in enumerate(configs, 1):
        assert config.tls_key_file is not None
        key = Path("tls") / config.tls_key_file.name
        assert key.name == f"server-s{n}-key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_a_trusted_network_needs_no_certificates(cli: Cli) -> None:
    assert (await cli("init", "cluster", "-host", "10.0.0.1", "-insecure")).code == 0
    assert loaded("s1.toml").insecure_bind
    assert files() == {"s1.toml"}


async def test_files_that_are_there_stay_as_they_are(cli: Cli) -> None:
    write("s2.toml", "mine")
    result = await cli("init", "cluster")
    assert (result.code, result.stderr) == (1, "s2.toml exists already; give another --dir, or remove it\n")
    assert read("s2.toml") == "mine"
    assert files() == {"s2.toml"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-servers", "3", "-host", "a"), "give --host for each node, or --servers"),
        (("-host", "a", "-host", "a"), "the same host twice"),
        (("-host", "a b"), "'a b' is neither a host name nor an IP address"),
        (("-servers", "0"), "0 is not in the range"),
    ],
)
async def test_what_makes_no_cluster_is_refused(cli: Cli, arguments: tuple[str, ...], text: str) -> None:
    result = await cli("init", "cluster", *arguments)
    assert result.code == 2
    assert text in result.stderr
    assert files() == set()
