"""`volstore operator snapshot`: saves, inspects and restores backups."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from volstore.backup.archive import BackupMeta, BadBackup, digest_header, unpack
from volstore.cli.arguments import Group, connected
from volstore.cli.output import Failed, echo, failing, fields, print_json, write_private
from volstore.client import Client


@click.group(cls=Group)
def snapshot() -> None:
    """Back up and restore the whole state.

    A backup contains everything, secrets included. Only its owner can read the file; store it as you store secrets.
    Servers with a backup_key_file encrypt their backups; keep a copy of the keys away from the backups.
    """


@snapshot.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--stale", is_flag=True, help="Save this server's state, however old; works without a leader.")
@connected
def save(client: Client, file: Path | None, stale: bool) -> None:
    """Save a backup to FILE (default: a name with the time). Only its owner can read the file."""
    now = datetime.now(UTC)
    target = file or Path(f"volstore-{now:%Y%m%d}-{int(now.timestamp())}.snap")
    with failing("saving the snapshot"):
        content, headers = client.transfer("GET", "/v1/operator/snapshot" + ("?stale" if stale else ""))
    if headers.get("Digest") != digest_header(content):
        raise Failed("Error saving the snapshot: it was damaged in transit; try again")
    meta = _checked(content, "what the server sent")
    write_private(target, content)
    sealed = f", sealed under backup key {meta.key}" if meta.key else ""
    echo(f"State at index {meta.index} saved to {target}{sealed}")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Check the backup in FILE and show its metadata."""
    meta = _checked(_read(file), str(file))
    pairs: list[tuple[str, object]] = [
        ("ID", meta.id),
        ("Size", meta.size),
        ("Index", meta.index),
        ("Term", meta.term),
        ("Version", meta.version),
        ("Cluster", meta.cluster_id),
        ("Time", meta.time),
        ("Build", meta.build),
        ("Sealed", bool(meta.key)),
        ("KeyID", meta.key),
    ]
    if as_json:
        print_json(dict(pairs))
    else:
        fields(pairs)


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@connected
def restore(client: Client, file: Path) -> None:
    """Replace the whole state of the cluster with the backup in FILE.

    The restore is atomic: clients see the old state until it completes. Blocking queries return. For an encrypted
    backup the server needs its key (backup_key_file); `inspect` shows which one.
    """
    content = _read(file)
    meta = _checked(content, str(file))
    with failing("restoring the snapshot"):
        _, headers = client.transfer("PUT", "/v1/operator/snapshot", content)
    echo(f"State of index {meta.index} restored, at index {headers.get('X-Nomad-Index')}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"Error reading {file}: {error.strerror}") from None


def _checked(content: bytes, what: str) -> BackupMeta:
    try:
        return unpack(content)[0]
    except BadBackup as error:
        raise Failed(f"{what}: {error}") from None
