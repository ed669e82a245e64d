"""`volstore init cluster`: writes the configuration files and certificates of a new cluster."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo
from volstore.text import host_and_port, join_address

HTTP_PORT, RAFT_PORT = 4646, 4647
_STEP = 10
_TLS_DIR = "/etc/volstore/tls"


@dataclass(frozen=True, slots=True)
class _Node:
    """A node to configure; `step` is added to both ports."""

    name: str
    host: str
    step: int


@click.group(cls=Group)
def init() -> None:
    """Write the files of a new cluster."""


@init.command()
@click.option("--servers", type=click.IntRange(1, 7), help="How many nodes, all on this machine. [3]")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="A node's host or IP address; one for each node.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path(), show_default=True, help="Where to write."
)
@click.option("--data-dir", metavar="DIR", help="The nodes' data directory. [with --host: /var/lib/volstore]")
@click.option("--region", metavar="REGION", default="global", show_default=True, help="The cluster's region.")
@click.option("--insecure", is_flag=True, help="With --host: without TLS and access control.")
def cluster(
    servers: int | None, hosts: tuple[str, ...], directory: Path, data_dir: str | None, region: str, insecure: bool
) -> None:
    """Write a TOML file for each node, in --dir.

    With a --host for each node, the files are for separate machines and differ in the name only. Certificates are
    written to DIR/tls; copy them to /etc/volstore/tls on each machine. With --servers the nodes run on this machine, on
    ports 4646, 4656, 4666 and so on, with Raft on the next port of each.
    """
    if hosts and servers is not None:
        raise click.UsageError("give --host for each node, or --servers for nodes on this machine")
    if len(set(hosts)) < len(hosts):
        raise click.UsageError("--host: the same host twice; nodes of one machine are for --servers")
    nodes = [_Node(f"s{n + 1}", host, 0) for n, host in enumerate(hosts)] or [
        _Node(f"s{n + 1}", "127.0.0.1", _STEP * n) for n in range(servers or 3)
    ]
    listed = [f"{node.name}={_address(node)}" for node in nodes]
    files = {}
    for node in nodes:
        settings: dict[str, object] = {"name": node.name}
        if hosts:
            settings |= {"data_dir": data_dir or "/var/lib/volstore", "http_addr": f"0.0.0.0:{HTTP_PORT}"}
            settings |= {"raft_addr": f"0.0.0.0:{RAFT_PORT}", "servers": listed}
            settings |= {"insecure_bind": True} if insecure else _secured(node)
        else:
            own = Path(data_dir) if data_dir else directory.absolute() / "data"
            settings |= {"data_dir": str(own / node.name), "http_addr": f"127.0.0.1:{HTTP_PORT + node.step}"}
            settings |= {"raft_addr": f"127.0.0.1:{RAFT_PORT + node.step}", "servers": listed}
        if region != "global":
            settings["region"] = region
        files[directory / f"{node.name}.toml"] = _toml(settings)
    _write(directory, files)
    if hosts and not insecure:
        _write_certificates(directory / "tls", nodes, region)


def _address(node: _Node) -> str:
    address = join_address(node.host, RAFT_PORT + node.step)
    try:
        host_and_port(address)
    except ValueError:
        raise click.UsageError(f"--host: {node.host!r} is neither a host name nor an IP address") from None
    return address


def _secured(node: _Node) -> dict[str, object]:
    return {
        "tls_ca_file": f"{_TLS_DIR}/ca.pem",
        "tls_cert_file": f"{_TLS_DIR}/server-{node.name}.pem",
        "tls_key_file": f"{_TLS_DIR}/server-{node.name}-key.pem",
        "tls_http": True,
        "acl_enabled": True,
    }


def _toml(settings: dict[str, object]) -> str:
    """Settings as TOML, whose strings, lists and booleans look as in JSON."""
    lines = ["# A node of volstore: `volstore agent --config FILE`; `volstore agent --help` lists all settings."]
    for key, value in settings.items():
        if key == "servers":
            lines.append("# The first members, read at the first start only.")
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _write(directory: Path, files: dict[Path, str]) -> None:
    """Write all files, or none if one exists. Raises Failed."""
    there = [str(path) for path in files if path.exists()]
    if there:
        raise Failed(f"{', '.join(there)} exists already; give another --dir, or remove it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
            echo(f"Wrote {path}")
    except OSError as error:
        raise Failed(f"can't write {error.filename}: {error.strerror}") from None


def _write_certificates(folder: Path, nodes: list[_Node], region: str) -> None:
    from volstore import certificates  # here: cryptography is slow to import

    now = datetime.datetime.now(datetime.UTC)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        made = [certificates.create_authority(folder, now=now)]
        for node in nodes:
            made.append(
                certificates.create_certificate(
                    folder,
                    certificates.Role.SERVER,
                    node.name,
                    ca=folder / "ca.pem",
                    ca_key=folder / "ca-key.pem",
                    region=region,
                    hosts=[node.host],
                    now=now,
                )
            )
    except certificates.CertificateError as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(f"can't write {error.filename}: {error.strerror}") from None
    for one in made:
        echo(f"Wrote {one.certificate} and its key")
    echo(f"Copy ca.pem and each node's two files to {_TLS_DIR} on its machine; keep ca-key.pem off the servers")
