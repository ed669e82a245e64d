"""`volstore operator debug`: one archive for a bug report, without secrets."""

from __future__ import annotations

import io
import json
import platform
import sys
import tarfile
import time
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import click

from volstore.cli.arguments import SingleDash, connected
from volstore.cli.output import echo, write_private
from volstore.client import Client, ClientError

_PATHS = {
    "health.json": "/v1/operator/health",
    "node.json": "/v1/operator/node",
    "raft-configuration.json": "/v1/operator/raft/configuration",
    "autopilot-health.json": "/v1/operator/autopilot/health",
    "members.json": "/v1/agent/members",
    "self.json": "/v1/agent/self",
    "metrics.json": "/v1/metrics",
    "metrics.txt": "/v1/metrics?format=prometheus",
}
"""None of these answers contains users' data: no volume, no token, no policy."""


@click.command(cls=SingleDash)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@connected
def debug(client: Client, file: Path | None) -> None:
    """Write an archive for a bug report to FILE (default: a name with the time). It contains no secrets.

    It contains the server's figures, its view of the cluster, and the versions of this program. If an answer is
    missing, the archive says why. Add the logs of the nodes yourself.
    """
    now = datetime.now(UTC)
    target = file or Path(f"volstore-debug-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    found = {"client.json": json.dumps(_client(now), indent=4).encode()}
    failed = 0
    for name, path in _PATHS.items():
        try:
            found[name], _ = client.transfer("GET", path)
        except ClientError as error:
            failed += 1
            found[f"{name}.failed"] = f"{error}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in found.items():
            entry = tarfile.TarInfo(f"{target.name.partition('.')[0]}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    write_private(target, packed.getvalue())
    echo(
        f"Wrote {target}" + (f"; {failed} of {len(_PATHS)} answers are missing; the archive says why" if failed else "")
    )


def _client(now: datetime) -> dict[str, object]:
    """Versions only: variables and arguments may contain tokens."""
    packages = sorted({(one.metadata["Name"], one.version) for one in distributions()})
    return {
        "Time": now.isoformat(),
        "Python": sys.version,
        "Platform": platform.platform(),
        "Packages": [f"{name}=={version}" for name, version in packages],
    }
