"""What the agent does to its host itself: directories of its own, binds to users' paths, and unmounting what is left.

Nothing here removes anything but an empty directory, an empty file that was made as a mount point, or a device node.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from volstore.node import mountinfo, syscalls
from volstore.node.children import in_child
from volstore.node.mountinfo import MountTable
from volstore.node.paths import Paths

UNMOUNT_SECONDS = 30.0
"""A file system that is unmounted writes its buffers first."""
MOST_STACKED = 16
"""Mounts on one path that are taken away one by one; more than that are somebody else's doing."""


class Refused(Exception):
    """The host is in the way; the text says how."""


def read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Host:
    """This host, below `paths.base` and at users' paths."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def table(self) -> MountTable:
        return mountinfo.read()

    async def prepare_base(self) -> None:
        """Make the base and let mounts below it propagate, so that drivers in containers can share them.

        Raises Refused if block devices couldn't be opened there.
        """
        base = self.paths.base
        for directory in (base, f"{base}/s", f"{base}/p"):
            self.make_directory(directory)
        if not self.table().at(base):
            await in_child(lambda: syscalls.bind(base, base))
            # A group of its own: in that of `/`, each mount below would show up there a second time.
            await in_child(lambda: syscalls.make_private(base))
        found = self.table().at(base)[-1]
        if not found.shared:
            await in_child(lambda: syscalls.make_shared(base))
        if "nodev" in found.options:
            raise Refused(f"{base} is mounted with nodev: no block device could be opened there; mount it without")

    def make_directory(self, path: str) -> None:
        """A directory of ours, with those above it. They are made anew each time, since some drivers remove them."""
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def unmount_all(self, path: str, *, detach: bool = False) -> None:
        """Until nothing is mounted there. Raises Refused, naming who uses it."""
        await self.unmount_to(path, 0, detach=detach)

    async def unmount_to(self, path: str, left: int, *, detach: bool = False) -> None:
        for _ in range(MOST_STACKED):
            if len(self.table().at(path)) <= left:
                return
            try:
                await in_child(lambda: syscalls.unmount(path, detach=detach), timeout_seconds=UNMOUNT_SECONDS)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise Refused(self.busy(path)) from None
                raise Refused(f"{path} can't be unmounted: {error.strerror}") from None
        raise Refused(f"more than {MOST_STACKED} mounts lie on {path}")

    def busy(self, path: str) -> str:
        """In words, that a mount is in use, and by whom."""
        if inside := self.table().below(path):
            return f"{path} is busy: {', '.join(inside[:3])} is mounted inside"
        found = _users(path)
        who = f": {', '.join(found)}" if found else ""
        return f"{path} is busy{who}"

    async def make_read_only(self, path: str) -> None:
        mount = self.table().at(path)[-1]
        await in_child(lambda: syscalls.make_read_only(mount))
        if not self.table().at(path)[-1].read_only:
            raise Refused(f"{path} stays writable although the kernel was told to make it read-only")

    def shows_block_device(self, path: str) -> bool:
        """Whether a driver put a device's node there, as some do instead of mounting one."""
        try:
            return stat.S_ISBLK(os.lstat(path).st_mode)
        except FileNotFoundError:
            return False

    def origin(self, path: str) -> tuple[str, str]:
        """What shows at one of our paths, also where a driver didn't mount anything."""
        table = self.table()
        if found := table.at(path):
            return found[-1].origin
        base = table.at(self.paths.base)[-1]
        return base.device, base.root.rstrip("/") + path.removeprefix(self.paths.base)

    def remove_mount_point(self, path: str, stop: str) -> None:
        """Remove what was made to mount on, and empty directories above it up to `stop`, which stays.

        Nothing may be mounted there. Raises Refused for anything that isn't empty.
        """
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISDIR(mode):
                os.rmdir(path)  # noqa: PTH106  # beside lstat and unlink
            elif stat.S_ISBLK(mode) or (stat.S_ISREG(mode) and os.lstat(path).st_size == 0):
                os.unlink(path)  # noqa: PTH108
            else:
                raise Refused(f"{path} is no empty file or directory: it is left as it is")
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise Refused(f"{path} isn't mounted and isn't empty: it is left as it is") from None
            raise Refused(f"{path} can't be removed: {error.strerror}") from None
        for parent in Path(path).parents:
            if str(parent) == stop or not str(parent).startswith(stop):
                return
            try:
                parent.rmdir()
            except OSError:  # another target is in it, or it is gone
                return


def _users(path: str, most: int = 5) -> list[str]:
    """Processes that work in a mount, as "name[pid]": those whose directory, root or open files are in it."""
    found = []
    inside = path.rstrip("/") + "/"
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _uses(process, path, inside):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(f"{name}[{process.name}]")
            if len(found) == most:
                break
    return found


def _uses(process: Path, path: str, inside: str) -> bool:
    try:
        links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        try:
            to = os.readlink(link)  # noqa: PTH115  # 10,000s of these
        except OSError:
            continue
        if to == path or to.startswith(inside):
            return True
    return False
