"""The place of a throw-away cluster, and the removal of what a drill left behind that was killed itself.

Everything a drill makes on this machine carries its process id: its folder, its network namespaces. Processes that it
started are noted in the folder, with the time when they began, as process ids are given again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PREFIX = "volstore-drill-"
_OWNER = "owner"
_PROCESSES = "processes"
_NAMESPACES = Path("/run/netns")
_MOUNTS = Path("/proc/self/mountinfo")


def own_prefix() -> str:
    """How the names of all that this process makes begin."""
    return f"{PREFIX}{os.getpid()}-"


class Place:
    """A folder of this process for one throw-away cluster; only its user can look into it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=own_prefix()))
        (self.folder / _OWNER).write_text(_identity(os.getpid()) or "")

    def note(self, pid: int) -> None:
        """A process that is to be ended with the cluster."""
        with (self.folder / _PROCESSES).open("a") as noted:
            noted.write(f"{_identity(pid) or ''}\n")

    def remove(self) -> None:
        """End what was noted and still runs, unmount what is mounted in the folder, and remove it."""
        _remove(self.folder)


def sweep() -> list[str]:
    """Remove what drills left that are gone; the names of it."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = _read(folder / _OWNER)
        if owner and not _runs(owner):
            _remove(folder)
            found.append(folder.name)
    if _NAMESPACES.is_dir():
        for namespace in _NAMESPACES.glob(f"{PREFIX}*"):
            pid = namespace.name.removeprefix(PREFIX).partition("-")[0]
            if pid.isdigit() and _identity(int(pid)) is None:
                remove_namespace(namespace.name)
                found.append(namespace.name)
    return found


def in_memory() -> bool:
    """Whether such places are in memory, where a sync costs nothing."""
    inside = Path(tempfile.gettempdir()).resolve()
    found, kind = -1, ""
    for line in _read(_MOUNTS).splitlines():
        path, after = Path(line.split()[4]), line.partition(" - ")[2]
        # Of mounts in the same place the last one covers the others.
        if (path == inside or path in inside.parents) and len(path.parts) >= found:
            found, kind = len(path.parts), after.split()[0]
    return kind in ("tmpfs", "ramfs")


def remove_namespace(name: str) -> None:
    """With all that is in it; one that isn't there is no error."""
    subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def _remove(folder: Path) -> None:
    for identity in _read(folder / _PROCESSES).splitlines():
        if identity and _runs(identity):
            with suppress(ProcessLookupError):  # it ended between the look and the signal
                os.kill(int(identity.split()[0]), signal.SIGKILL)
    for mounted in reversed(list(_mounts(folder))):
        subprocess.run(["umount", "--lazy", str(mounted)], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _mounts(folder: Path) -> Iterator[Path]:
    for line in _read(_MOUNTS).splitlines():
        path = Path(line.split()[4])
        if folder in path.parents:
            yield path


def _identity(pid: int) -> str | None:
    """A process by its id and the time when it began; None where there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        text = _read(stat)
        # The name, in parentheses, may hold anything; the 20th field after it is the time.
        return f"{pid} {text.rpartition(')')[2].split()[19]}" if text else None
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"{pid} {found.stdout.strip()}" if found.stdout.strip() else None


def _runs(identity: str) -> bool:
    return _identity(int(identity.split()[0])) == identity.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return ""
