"""/proc/self/mountinfo, read whole: the only witness of what is mounted.

`os.path.ismount` is blind to bind mounts within one file system, and those are what most drivers make.
"""

from __future__ import annotations

import bisect
import re
import select
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_TRIES = 20
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount. `device` is "major:minor"; `root` is the directory of its file system that shows at `point`.

    `options` are those of this mount (proc(5), field 6), where `ro` stands for a read-only bind mount; `shared` says
    that it propagates.
    """

    device: str
    root: str
    point: str
    options: frozenset[str]
    fs_type: str
    shared: bool

    @property
    def read_only(self) -> bool:
        return "ro" in self.options

    @property
    def origin(self) -> tuple[str, str]:
        """What shows there: equal for a mount and a bind of it."""
        return self.device, self.root


class MountTable:
    """All mounts of a moment."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._at: dict[str, list[Mount]] = {}
        for mount in mounts:
            self._at.setdefault(mount.point, []).append(mount)
        self._points = sorted(self._at)

    def at(self, path: str) -> tuple[Mount, ...]:
        """The mounts on that very path, the one that shows last."""
        return tuple(self._at.get(path, ()))

    def __iter__(self) -> Iterator[Mount]:
        for mounts in self._at.values():
            yield from mounts

    def below(self, path: str) -> tuple[str, ...]:
        """The mount points below that path, sorted."""
        prefix = path.rstrip("/") + "/"
        start = bisect.bisect_left(self._points, prefix)
        end = start
        while end < len(self._points) and self._points[end].startswith(prefix):
            end += 1
        return tuple(self._points[start:end])


def parse(data: bytes) -> MountTable:
    """The table of a mountinfo file's content. Raises ValueError for anything else."""
    return MountTable(_mount(line) for line in data.splitlines())


def _mount(line: bytes) -> Mount:
    fields = line.split(b" ")
    try:
        dash = fields.index(b"-", 6)
        return Mount(
            device=fields[2].decode(),
            root=_plain(fields[3]),
            point=_plain(fields[4]),
            options=frozenset(fields[5].decode().split(",")),
            fs_type=_plain(fields[dash + 1]),
            shared=any(field.startswith(b"shared:") for field in fields[6:dash]),
        )
    except (IndexError, ValueError):
        raise ValueError(f"this is no line of mountinfo: {line[:200]!r}") from None


def _plain(field: bytes) -> str:
    """Space, tab, newline and backslash come as octal numbers. `os.fsencode` gives back bytes that aren't UTF-8."""
    if b"\\" in field:
        field = _ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), field)
    return field.decode(errors="surrogateescape")


def read() -> MountTable:
    """The mounts that this process sees, all of one moment. Raises OSError if they never hold still."""
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123  # read often; a Path costs more than the read
        changed = select.poll()
        changed.register(file.fileno(), select.POLLPRI)
        for _ in range(_TRIES):
            file.seek(0)
            data = file.read()
            # A table that changes while it is read may lack lines. The kernel tells whether it did (proc(5)).
            if not changed.poll(0):
                return parse(data)
    raise OSError(f"mounts changed during {_TRIES} readings of /proc/self/mountinfo")
