"""`volstore keys`: makes and rotates the keys that a node's log and snapshots, or backups, are encrypted with."""

from __future__ import annotations

from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo


@click.group(cls=Group, short_help="Make and rotate the keys of a node's data, and of backups.")
def keys() -> None:
    """Make and rotate the keys that log and snapshots (--encryption-key-file) or backups (--backup-key-file) need.

    For its data, each node has keys of its own: members send each other what they hold in the clear, inside TLS. A
    node that lost its keys can't read its data; it is removed from the cluster, emptied, and added anew. For backups,
    all members have the same keys; a backup whose key is lost can't be restored by anybody.
    """


_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@keys.command()
@_FILE
def create(file: Path) -> None:
    """Write FILE with one new key; a file that is there is not overwritten."""
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

    Reload the node (SIGHUP): from then on it encrypts with the new key. An old key may go from FILE when
    `volstore journal verify` names it no more and two snapshots have been written since; one for backups when no
    backup that `volstore operator snapshot inspect` shows it for is worth keeping.
    """
    from volstore.agent import keys as encryption_keys

    try:
        name = encryption_keys.rotate_keys(file)
    except encryption_keys.KeysError as error:
        raise Failed(str(error)) from None
    echo(f"{file}  key {name} encrypts once the node is reloaded (SIGHUP); the old ones stay for what they encrypted")


@keys.command(name="list")
@_FILE
def list_names(file: Path) -> None:
    """Print the names of the keys in FILE, the current one first; never the keys."""
    from volstore.agent import keys as encryption_keys

    try:
        found = encryption_keys.names(file)
    except encryption_keys.KeysError as error:
        raise Failed(str(error)) from None
    for name in found:
        echo(name)
