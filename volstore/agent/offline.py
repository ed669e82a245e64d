"""Commands on the data directory of a stopped agent: verify, dump, recover; and the directory of a --dev agent."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.api import LogError
from cluster.storage.disk import RealDisk
from cluster.storage.sealing import Keyring
from cluster.tools import inspect
from cluster.tools import recover as disaster
from volstore.agent.keys import KeysError, node_keys

DEV_MARKER = "volstore-dev"
_LOCK = "lock"
"""The lock file of cluster.storage.disk. It stays: otherwise two agents could lock different files of this name."""


class OfflineError(Exception):
    """The directory can't be used for this; the text says why."""


def verify_journal(directory: Path) -> dict[str, Any]:
    """The report of `cluster.tools.inspect.verify`, ready for JSON, with `ok`. Raises OfflineError."""
    disk = _open(directory)
    try:
        report = inspect.verify(disk)
    except OSError as error:
        raise _explained(directory, error) from None
    finally:
        disk.close()
    if not report.segments:
        raise _no_journal(directory)
    return {"ok": report.ok, **_lists(dataclasses.asdict(report))}


def _lists(report: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in report.items()}


def dump_journal(directory: Path) -> Iterator[dict[str, Any]]:
    """The log's records in order; an unreadable one is a `problem`. Raises OfflineError."""
    disk = _open(directory)
    empty = True
    try:
        for record in inspect.dump(disk):
            empty = False
            yield record
    except OSError as error:
        raise _explained(directory, error) from None
    finally:
        disk.close()
    if empty:
        raise _no_journal(directory)


def _no_journal(directory: Path) -> OfflineError:
    return OfflineError(f"{directory} holds no journal; is it a node's data directory?")


def plan_recovery(directory: Path, key_file: Path | None = None) -> str:
    """Explain what a cluster of one from this directory would hold, and what may be lost. Raises OfflineError."""
    plan = _plan(directory, key_file, for_real=False)
    lost = ", ".join(plan.lost) or "none"
    return (
        f"{directory} belongs to member {plan.name} of cluster {plan.cluster_id}. Its log ends with entry "
        f"{plan.last_index} of term {plan.last_term}; its newest snapshot holds entry {plan.snapshot_index}.\n"
        f"The other members ({lost}) would no longer be members. Writes that they acknowledged may be lost, if this "
        "disk never got them. Writes that were never acknowledged may be kept.\n"
        "If another member's disk can be read too, compare first: the greater term wins, then the greater entry.\n"
        "The other members must never run again on their present data directories."
    )


def recover(directory: Path, key_file: Path | None = None) -> str:
    """Make a cluster of one, and say what was done. Raises OfflineError."""
    plan = _plan(directory, key_file, for_real=True)
    return (
        f"{plan.name} is a cluster of one now, with the new cluster id {plan.cluster_id}. Start it as before (if its "
        "configuration has a cluster_id, put the new one there), check its state, then start new nodes with empty "
        "data directories and --join."
    )


def _plan(directory: Path, key_file: Path | None, *, for_real: bool) -> disaster.Plan:
    try:
        keys = Keyring(node_keys(key_file, os.environ))
    except KeysError as error:
        raise OfflineError(str(error)) from None
    _open(directory).close()  # check that it exists and can be read
    disk = RealDisk(directory)
    try:
        work = disaster.recover(disk, keys, random.SystemRandom()) if for_real else disaster.plan(disk, keys)
        return asyncio.run(work)
    except LogError as error:
        raise OfflineError(f"{directory}: {error}") from None
    finally:
        disk.close()


def prepare_dev_directory(directory: Path, *, fresh: bool) -> None:
    """Create the directory of `agent --dev`; with `fresh`, empty it first.

    Only a directory with our marker is touched, or an empty or missing one. Raises OfflineError for any other, and for
    one in use by a running agent; then nothing has changed.
    """
    marker = directory / DEV_MARKER
    try:
        if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
            raise OfflineError(f"{directory} is not a directory of volstore: remove it, or give another --data-dir")
        if directory.exists() and any(directory.iterdir()) and not marker.is_file():
            raise OfflineError(
                f"{directory} was not made by `volstore agent --dev`, so it is left alone: give another --data-dir"
            )
        if fresh and directory.exists():
            _wipe(directory)
        directory.mkdir(mode=0o700, exist_ok=True)
        marker.write_text("Made by `volstore agent --dev`, which may wipe this directory (--fresh).\n")
    except OSError as error:
        raise _explained(directory, error) from None


def _wipe(directory: Path) -> None:
    """Remove the marker last, so that an interrupted wipe can be repeated."""
    disk = _open(directory)
    try:
        disk.lock()
        for path in sorted(directory.iterdir(), key=lambda path: path.name == DEV_MARKER):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
    finally:
        disk.close()


def _open(directory: Path) -> RealDisk:
    try:
        if not directory.is_dir():
            raise OfflineError(f"{directory} is not a directory")
        return RealDisk(directory, create=False)
    except OSError as error:
        raise _explained(directory, error) from None


def _explained(directory: Path, error: OSError) -> OfflineError:
    return OfflineError(f"{directory}: {error.strerror or error}")
