"""`volstore tls`: creates the certificates of a cluster."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo

_FOLDER = click.option(
    "--dir", "folder", metavar="DIR", type=click.Path(path_type=Path), default=".", help="Directory of the files. [.]"
)


@click.group(cls=Group, short_help="Create the certificates of a cluster.")
def tls() -> None:
    """Create the authority of a cluster, and certificates for its servers and clients.

    Keep ca-key.pem off the servers: anybody with it can join the cluster. Each server needs ca.pem (--tls-ca-file), its
    certificate (--tls-cert-file) and its key (--tls-key-file).
    """


@tls.group(cls=Group)
def ca() -> None:
    """Manage the cluster's own authority."""


@ca.command(name="create")
@_FOLDER
@click.option("--days", type=int, metavar="DAYS", default=3650, help="Validity. [3650]")
def create_ca(folder: Path, days: int) -> None:
    """Write ca.pem and ca-key.pem. Existing files are not overwritten.

    To replace an authority, create a new one in another directory, append its ca.pem to the ca.pem of every server,
    reload the servers (SIGHUP), replace their certificates, and then remove the old authority from ca.pem.
    """
    from volstore import certificates

    try:
        made = certificates.create_authority(folder, days=days, now=_now())
    except certificates.CertificateError as error:
        raise Failed(str(error)) from None
    _tell(made.certificate, made.key, made.until)


@tls.group(cls=Group)
def cert() -> None:
    """Manage certificates that the cluster's authority signs."""


@cert.command(name="create")
@click.option("--server", "role", flag_value="server", help="For a member of the cluster: HTTPS and raft.")
@click.option("--client", "role", flag_value="client", help="For a program that uses the HTTP API.")
@click.option("--cli", "role", flag_value="cli", help="For a person at the command line.")
@click.option("--name", metavar="NAME", help="The member's --name, or a client's name. [cli]")
@click.option(
    "--host", "hosts", metavar="HOST", multiple=True, help="A host name or IP address of a server; repeat for others."
)
@click.option("--region", metavar="REGION", default="global", help="The cluster's region. [global]")
@click.option("--days", type=int, metavar="DAYS", default=365, help="Validity. [365]")
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
    """Write ROLE-NAME.pem and ROLE-NAME-key.pem. Existing files are not overwritten.

    A server's certificate is valid for NAME, server.REGION.volstore, localhost, 127.0.0.1, ::1 and every --host.
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
