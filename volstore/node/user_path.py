"""A volume at the path where its user wants it: a bind of the target, made and taken away by the agent alone."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from volstore.node import syscalls
from volstore.node.children import in_child
from volstore.node.host import Host, Refused

LONGEST_PATH = 1024
"""Bytes."""
# What no volume may hide; what lies below them is the user's.
_SYSTEM = frozenset({"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr"})


def check_path(path: str, base: str) -> None:
    """Raises Refused for a path where nothing should be mounted; it looks at the text alone."""
    if not path.startswith("/") or os.path.normpath(path) != path or path.startswith("//"):
        raise Refused(f"{path!r} is not a plain absolute path, like /srv/data")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Refused(f"the path has more than {LONGEST_PATH} bytes")
    if path in _SYSTEM:
        raise Refused(f"a volume mounted at {path} would hide the system's own files")
    if base == path or base.startswith(path + "/") or path.startswith(base + "/"):
        raise Refused(f"{path} overlaps {base}, where volstore keeps its own mounts")


def is_missing(path: str) -> bool:
    return not os.path.lexists(path)


def prepare(path: str, *, block: bool) -> None:
    """Make the directory, or for a block device the file, that is mounted on, unless it is there.

    Raises Refused for one that has something in it, or that is reached through a symbolic link.
    """
    try:
        if block:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        else:
            Path(path).mkdir(mode=0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise Refused(f"there is no directory {Path(path).parent} to make {Path(path).name} in") from None
    except OSError as error:
        raise Refused(f"{path} can't be made: {error.strerror}") from None
    descriptor = _opened(path)
    try:
        mode = os.fstat(descriptor).st_mode
        if block and not (stat.S_ISREG(mode) and os.fstat(descriptor).st_size == 0):
            raise Refused(f"{path} is no empty file: a block device is mounted on one")
        if not block and not stat.S_ISDIR(mode):
            raise Refused(f"{path} is no directory")
        if not block and os.listdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH208  # by descriptor
            raise Refused(f"{path} is not empty: a mount would hide what is in it")
    finally:
        os.close(descriptor)


async def show(host: Host, target: str, path: str, *, read_only: bool) -> None:
    """Bind the target to the path, and look that it is there. Raises Refused."""
    origin = host.origin(target)
    if host.table().at(path):
        raise Refused(f"something else is mounted at {path} already")
    descriptor = _opened(path)
    try:
        # By its descriptor: nobody can put a link in the way between the look and the mount.
        await in_child(lambda: syscalls.bind(target, f"/proc/self/fd/{descriptor}"))
    except OSError as error:
        raise Refused(f"{path} can't be mounted on: {error.strerror}") from None
    finally:
        os.close(descriptor)
    # What a user mounts inside shall not show at the driver's target, and keep that busy.
    await in_child(lambda: syscalls.make_private(path))
    shown = host.table().at(path)
    if not shown or shown[-1].origin != origin or (read_only and not shown[-1].read_only):
        raise Refused(f"{path} doesn't show the volume after it was mounted there")


async def hide(host: Host, path: str, origin: tuple[str, str], *, detach: bool) -> None:
    """Take our mounts at the path away, and nobody else's. Raises Refused, naming who uses it."""
    shown = host.table().at(path)
    while shown and shown[-1].origin == origin:
        await host.unmount_to(path, len(shown) - 1, detach=detach)
        shown = host.table().at(path)


def _opened(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{path} can't be opened: {error.strerror}") from None
    real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  # by descriptor
    if real != path or stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is, or lies behind, a symbolic link: give {os.path.realpath(path)}")
    return descriptor


def remove_made(path: str) -> None:
    """Remove the empty directory or file that we made to mount on; with something in it, it is the user's now."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            os.rmdir(path)  # noqa: PTH106  # beside lstat and unlink
        elif stat.S_ISREG(mode) and os.lstat(path).st_size == 0:
            os.unlink(path)  # noqa: PTH108
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
            raise Refused(f"{path} can't be removed: {error.strerror}") from None
