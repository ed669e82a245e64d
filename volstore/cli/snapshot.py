"""`volstore operator snapshot`: backups, taken, looked at and put back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from volstore.backup.archive import BackupMeta, BadBackup, digest_header, unpack
from volstore.cli.arguments import Group, connected
from volstore.cli.output import Failed, echo, fields, print_json, write_private
from volstore.client import Client, ClientError


@click.group(cls=Group)
def snapshot() -> None:
    """Back the whole state up, and restore it.

    A backup holds everything, secrets included: its file is readable for its owner alone, and belongs where secrets
    do. Servers with a backup_key_file seal what they save; keep a copy of its keys where the backups aren't.
    """


@snapshot.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--stale", is_flag=True, help="Take this server's state, whatever its age; works without a leader.")
@connected
def save(client: Client, file: Path | None, stale: bool) -> None:
    """Save a backup to FILE (default: one named by the time), readable for its owner alone."""
    now = datetime.now(UTC)
    target = file or Path(f"volstore-{now:%Y%m%d}-{int(now.timestamp())}.snap")
    try:
        content, headers = client.transfer("GET", "/v1/operator/snapshot" + ("?stale" if stale else ""))
    except ClientError as error:
        raise Failed(f"Error saving the snapshot: {error}") from None
    if headers.get("Digest") != digest_header(content):
        raise Failed("Error saving the snapshot: it was damaged on its way; try again")
    meta = _checked(content, "what the server sent")
    write_private(target, content)
    sealed = f", sealed under backup key {meta.key}" if meta.key else ""
    echo(f"State at index {meta.index} saved to {target}{sealed}")


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Check the backup in FILE and show what it is."""
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
    """Put the backup in FILE in the place of everything that the cluster holds now.

    All of it or nothing: until the last step the cluster serves its present state. Who waits for a change is woken.
    One that is sealed needs the server to have its key (backup_key_file); `inspect` shows which one that is.
    """
    content = _read(file)
    meta = _checked(content, str(file))
    try:
        _, headers = client.transfer("PUT", "/v1/operator/snapshot", content)
    except ClientError as error:
        raise Failed(f"Error restoring the snapshot: {error}") from None
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
