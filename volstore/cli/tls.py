"""`volstore tls`: makes the certificates of a cluster."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo

_FOLDER = click.option(
    "--dir", "folder", metavar="DIR", type=click.Path(path_type=Path), default=".", help="Where the files go. [.]"
)


@click.group(cls=Group, short_help="Make the certificates of a cluster.")
def tls() -> None:
    """Make the authority of a cluster, and certificates for its servers and clients.

    Keep ca-key.pem off the servers: whoever has it can join the cluster. Each server is given ca.pem (--tls-ca-file),
    its certificate (--tls-cert-file) and its key (--tls-key-file).
    """


@tls.group(cls=Group)
def ca() -> None:
    """The cluster's own authority."""


@ca.command(name="create")
@_FOLDER
@click.option("--days", type=int, metavar="DAYS", default=3650, help="How long it is valid. [3650]")
def create_ca(folder: Path, days: int) -> None:
    """Write ca.pem and ca-key.pem; files that are there are not overwritten.

    To replace an authority, make another one in another directory, append its ca.pem to the one that the servers
    have, reload them (SIGHUP), replace their certificates, and then remove the old one from ca.pem.
    """
    from volstore import certificates

    try:
        made = certificates.create_authority(folder, days=days, now=_now())
    except certificates.CertificateError as error:
        raise Failed(str(error)) from None
    _tell(made.certificate, made.key, made.until)


@tls.group(cls=Group)
def cert() -> None:
    """Certificates that the cluster's authority signs."""


@cert.command(name="create")
@click.option("--server", "role", flag_value="server", help="For a member of the cluster: HTTPS and raft.")
@click.option("--client", "role", flag_value="client", help="For a program that uses the HTTP API.")
@click.option("--cli", "role", flag_value="cli", help="For a person at the command line.")
@click.option("--name", metavar="NAME", help="The member's name, as its --name; or the client's. [cli]")
@click.option(
    "--host", "hosts", metavar="HOST", multiple=True, help="A name or IP address that a server is reached at."
)
@click.option("--region", metavar="REGION", default="global", help="The cluster's region. [global]")
@click.option("--days", type=int, metavar="DAYS", default=365, help="How long it is valid. [365]")
@click.option("--ca", "authority", metavar="FILE", type=click.Path(path_type=Path), help="The authority. [DIR/ca.pem]")
@click.option("--ca-key", metavar="FILE", type=click.Path(path_type=Path), help="Its key. [DIR/ca-key.pem]")
@_FOLDER
def create_cert(
    role: str | None,
    name: str | None,
    hosts: tuple[str, ...],
    region: str,
    days: int,
    authority: Path | None,
    ca_key: Path | None,
    folder: Path,
) -> None:
    """Write ROLE-NAME.pem and ROLE-NAME-key.pem; files that are there are not overwritten.

    A server's certificate proves NAME, server.REGION.volstore, localhost, 127.0.0.1, ::1 and every --host.
    """
    from volstore import certificates

    if role is None:
        raise click.UsageError("say what it is for: --server, --client or --cli")
    if name is None and role != "cli":
        raise click.UsageError(f"a {role}'s certificate needs --name NAME")
    try:
        made = certificates.create_certificate(
            folder,
            certificates.Role(role),
            name or "cli",
            ca=authority or folder / "ca.pem",
            ca_key=ca_key or folder / "ca-key.pem",
            region=region,
            hosts=hosts,
            days=days,
            now=_now(),
        )
    except certificates.CertificateError as error:
        raise Failed(str(error)) from None
    _tell(made.certificate, made.key, made.until)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _tell(certificate: Path, key: Path, until: datetime.datetime) -> None:
    echo(f"{certificate}  valid until {until:%Y-%m-%d}")
    echo(f"{key}  its key: keep it secret")
