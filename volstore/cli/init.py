"""`volstore init cluster`: writes the configuration files of a new cluster's nodes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo
from volstore.config_settings import host_and_port

HTTP_PORT, RAFT_PORT = 4646, 4647
_STEP = 10


@click.group(cls=Group)
def init() -> None:
    """Write what a new cluster starts with."""


@init.command()
@click.option("--servers", type=click.IntRange(1, 7), help="How many nodes, all on this machine. [3]")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="A node's host or IP address; repeat for others.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path(), show_default=True, help="Where to write."
)
@click.option("--data-dir", metavar="DIR", help="The nodes' data directory [with --host: /var/lib/volstore].")
@click.option("--region", metavar="REGION", help="The cluster's region. [global]")
def cluster(
    servers: int | None, hosts: tuple[str, ...], directory: Path, data_dir: str | None, region: str | None
) -> None:
    """Write a TOML file for each node, in --dir.

    With --host for each node they are for machines of their own, and are the same but for the name; with --servers
    they are for nodes beside each other on this machine, on ports 4646, 4656, 4666 (and one more for Raft each).
    """
    if bool(hosts) and servers is not None:
        raise click.UsageError("give --host for each node, or --servers for nodes on this machine")
    nodes = [(f"s{n + 1}", host, 0) for n, host in enumerate(hosts)] or [
        (f"s{n + 1}", "127.0.0.1", _STEP * n) for n in range(servers or 3)
    ]
    try:
        listed = [f"{name}={_bracketed(host)}:{RAFT_PORT + step}" for name, host, step in nodes]
        for one in listed:
            host_and_port(one.partition("=")[2])
    except ValueError as error:
        raise click.UsageError(f"--host: {error}") from None
    if len(set(hosts)) < len(hosts):
        raise click.UsageError("--host: the same host twice; nodes of one machine are for --servers")
    files = {}
    for name, _host, step in nodes:
        own = data_dir or ("/var/lib/volstore" if hosts else str(directory.absolute() / "data"))
        bind = "0.0.0.0" if hosts else "127.0.0.1"
        files[directory / f"{name}.toml"] = _file(
            name,
            own if hosts else f"{own}/{name}",
            f"{bind}:{HTTP_PORT + step}",
            f"{bind}:{RAFT_PORT + step}",
            listed,
            region,
        )
    _write(directory, files)
    for path in files:
        echo(f"Wrote {path}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _file(name: str, data_dir: str, http: str, raft: str, servers: list[str], region: str | None) -> str:
    lines = [
        "# A node of volstore: `volstore agent --config THIS-FILE`; `volstore agent --help` lists all settings.",
        f'name = "{name}"',
        f"data_dir = {_quoted(data_dir)}",
        f'http_addr = "{http}"',
        f'raft_addr = "{raft}"',
        "# The first members, read at the first start only.",
        _list(servers),
    ]
    if region:
        lines.append(f"region = {_quoted(region)}")
    return "\n".join(lines) + "\n"


def _list(servers: list[str]) -> str:
    return "servers = [" + ", ".join(f'"{one}"' for one in servers) + "]"


def _quoted(text: str) -> str:
    """A basic string of TOML, which JSON's are."""
    return json.dumps(text)


def _write(directory: Path, files: dict[Path, str]) -> None:
    """All of them, or none: files that are there are somebody's."""
    there = [str(path) for path in files if path.exists()]
    if there:
        raise Failed(f"{', '.join(there)} exists already; give another --dir, or remove it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failed(f"can't write {error.filename}: {error.strerror}") from None
