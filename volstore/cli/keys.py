"""`volstore keys`: creates and rotates the keys that encrypt a node's data or backups."""

from __future__ import annotations

from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo


@click.group(cls=Group, short_help="Create and rotate the keys of a node's data and of backups.")
def keys() -> None:
    """Create and rotate the keys of log and snapshots (--encryption-key-file) or of backups (--backup-key-file).

    Each node has its own keys for its data: between members only TLS encrypts. A node that lost its keys can't read its
    data; remove it from the cluster, empty its data directory, and add it again. All members have the same keys for
    backups. Nobody can restore a backup whose key is lost.
    """


_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@keys.command()
@_FILE
def create(file: Path) -> None:
    """Write one new key to FILE. An existing file is not overwritten."""
    from volstore.agent import keys as encryption_keys

    try:
        name = encryption_keys.create_keys(file)
    except encryption_keys.KeysError as error:
        raise Failed(str(error)) from None
    echo(f"{file}  key {name}: keep it secret, and a copy of it safe")


@keys.command()
@_FILE
def rotate(file: Path) -> None:
    """Put a new key first in FILE, and keep the others.

    Reload the node (SIGHUP): from then on it encrypts with the new key. Remove an old key from FILE when `volstore
    journal verify` no longer names it and two snapshots have been written since. Remove an old key for backups when you
    no longer need any backup for which `volstore operator snapshot inspect` shows it.
    """
    from volstore.agent import keys as encryption_keys

    try:
        name = encryption_keys.rotate_keys(file)
    except encryption_keys.KeysError as error:
        raise Failed(str(error)) from None
    echo(f"{file}  key {name} encrypts once the node is reloaded (SIGHUP); the old ones still decrypt")


@keys.command(name="list")
@_FILE
def list_names(file: Path) -> None:
    """Print the names of the keys in FILE, the current one first, but not the keys."""
    from volstore.agent import keys as encryption_keys

    try:
        found = encryption_keys.names(file)
    except encryption_keys.KeysError as error:
        raise Failed(str(error)) from None
    for name in found:
        echo(name)
