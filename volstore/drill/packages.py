"""The Debian packages that faults need, and their installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping

from volstore.drill.faults_clock import library
from volstore.drill.target import FaultKind

_NETWORK = (FaultKind.PARTITION, FaultKind.ONE_WAY, FaultKind.FLAP, FaultKind.SLOW_LINK)
_INSTALLED: Mapping[str, Callable[[], object]] = {
    "iproute2": lambda: shutil.which("ip"),
    "util-linux": lambda: shutil.which("nsenter"),
    "strace": lambda: shutil.which("strace"),
    "e2fsprogs": lambda: shutil.which("mkfs.ext4"),
    "libfaketime": library,
}
_NEEDED: Mapping[FaultKind, tuple[str, ...]] = {
    **dict.fromkeys(_NETWORK, ("iproute2", "util-linux")),
    FaultKind.SLOW_DISK: ("strace",),
    FaultKind.DISK_FULL: ("e2fsprogs",),
    FaultKind.CLOCK_JUMP: ("libfaketime",),
}
"""The packages that each kind of fault needs."""


def provide(faults: Iterable[FaultKind]) -> list[str]:
    """Install the missing packages for `faults`, as root on Debian and its derivatives. Returns what was installed.

    A failure is no error here: `Target.cannot` reports what is missing.
    """
    needed = {package for kind in faults for package in _NEEDED.get(kind, ())}
    missing = sorted(package for package in needed if not _INSTALLED[package]())
    apt = shutil.which("apt-get")
    if not missing or apt is None or not sys.platform.startswith("linux") or os.geteuid() != 0:
        return []
    install = [apt, "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, [apt, "update", "--quiet"], install):
        done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
        if command is install and done.returncode == 0:
            return missing
    return []
