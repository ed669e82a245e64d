"""The programs of others that the benches need: found, or installed where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {"wrk": "wrk", "etcd": "etcd-server"}
"""Program to Debian's package."""
_POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """The programs that aren't here."""
    return [program for program in PACKAGES if shutil.which(program) is None]


def ensure() -> list[str]:
    """Install what is missing, as root on Debian; what is missing still. What is to be done is told on stderr."""
    if not missing():
        return []
    packages = [PACKAGES[program] for program in missing()]
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"not found: {', '.join(missing())}; on Debian, as root: {' '.join(command)}", file=sys.stderr)
        return missing()
    print(f"not found: {', '.join(missing())}; installing {', '.join(packages)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        for step in (["apt-get", "update"], command):
            done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
            if done.returncode != 0:
                print(f"{' '.join(step)} failed:\n{done.stdout}", file=sys.stderr)
    return missing()


@contextmanager
def _no_services() -> Iterator[None]:
    """Debian starts the service of what it installs, unless this file says no; one that is there is left alone."""
    try:
        with _POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink()
