"""The folder of a throw-away cluster, and cleanup after drills that were killed.

Everything that a drill creates on this machine carries its process id: its folder and its network namespaces. The
folder lists the processes that the drill started, with their start times, because process ids are reused.
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
    """The prefix of everything that this process creates."""
    return f"{PREFIX}{os.getpid()}-"


class Place:
    """The folder of one throw-away cluster, readable by its user only."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=own_prefix()))
        (self.folder / _OWNER).write_text(_identity(os.getpid()) or "")

    def note(self, pid: int) -> None:
        """Note a process that must end with the cluster."""
        with (self.folder / _PROCESSES).open("a") as noted:
            noted.write(f"{_identity(pid) or ''}\n")

    def remove(self) -> None:
        """Kill the noted processes, unmount what is mounted in the folder, and remove it."""
        _remove(self.folder)


def remove_leftovers() -> list[str]:
    """Remove what dead drills left behind. Returns the names of what was removed."""
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
    """Whether such folders are in memory, where a sync costs nothing."""
    inside = Path(tempfile.gettempdir()).resolve()
    found, kind = -1, ""
    for line in _read(_MOUNTS).splitlines():
        path, after = Path(line.split()[4]), line.partition(" - ")[2]
        # The last of several mounts at one path hides the others.
        if (path == inside or path in inside.parents) and len(path.parts) >= found:
            found, kind = len(path.parts), after.split()[0]
    return kind in ("tmpfs", "ramfs")


def remove_namespace(name: str) -> None:
    """Remove a network namespace and its content. A missing one is no error."""
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
    """A process's id and start time; None if there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        text = _read(stat)
        # The name, in parentheses, may contain anything; the 20th field after it is the start time.
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
