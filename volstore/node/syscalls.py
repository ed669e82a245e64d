"""mount(2) and umount2(2). Each may hang: call them through `children.in_child`."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from volstore.node.mountinfo import Mount

_MS_RDONLY: Final = 1
_MS_REMOUNT: Final = 32
_MS_BIND: Final = 4096
_MS_PRIVATE: Final = 1 << 18
_MS_SHARED: Final = 1 << 20
_MS_STRICTATIME: Final = 1 << 24
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
# What a remount would otherwise take away.
_KEPT: Final = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str | None, target: str, flags: int) -> None:
    from_ = os.fsencode(source) if source is not None else None
    if _libc.mount(from_, os.fsencode(target), None, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def bind(source: str, target: str) -> None:
    """Show `source` at `target` too, with the options that its mount has."""
    _mount(source, target, _MS_BIND)


def make_private(target: str) -> None:
    _mount(None, target, _MS_PRIVATE)


def make_shared(target: str) -> None:
    _mount(None, target, _MS_SHARED)


def make_read_only(mount: Mount) -> None:
    """Forbid writing through this mount, and keep its other options."""
    kept = sum(flag for name, flag in _KEPT.items() if name in mount.options)
    if not mount.options & {"noatime", "relatime"}:
        kept |= _MS_STRICTATIME
    _mount(None, mount.point, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def unmount(target: str, *, detach: bool = False) -> None:
    """Take the topmost mount away. A busy one stays (EBUSY) unless it is to be detached now and freed later."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if detach else 0)
    if _libc.umount2(os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
