"""The volumes below a directory: `NAME/` is a file system, `NAME.img` a block device. There is no other state."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from volstore.node import mountinfo
from volstore.plugin_dir.serving import Refusal

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BLOCK = ".img"
_TRASH = ".deleted-"
DEFAULT_BLOCK_BYTES = 64 * 1024 * 1024


class Volumes:
    """Volumes by ID, which is the file's or directory's name."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, volume_id: str) -> Path:
        """Raises Refusal NOT_FOUND."""
        path = self._path(volume_id)
        if path is None or not path.exists() or path.is_symlink() or path.is_file() != (path.suffix == _BLOCK):
            raise Refusal("NOT_FOUND", f"there is no volume {volume_id!r}")
        return path

    def create(self, name: str, *, block: bool, size: int) -> tuple[str, int]:
        """The volume's ID and size in bytes (0: not limited). Raises Refusal."""
        if not _ID.fullmatch(name) or name.endswith(_BLOCK):
            raise Refusal("INVALID_ARGUMENT", f"{name!r} can't be a volume's name: A-Z a-z 0-9 . _ - are needed")
        if not block:
            if (self._root / (name + _BLOCK)).exists():
                raise Refusal("ALREADY_EXISTS", f"{name} is a block device")
            (self._root / name).mkdir(mode=0o755, exist_ok=True)
            return name, 0
        if (self._root / name).exists():
            raise Refusal("ALREADY_EXISTS", f"{name} is a file system")
        path = self._root / (name + _BLOCK)
        if path.exists():
            if size and path.stat().st_size != size:
                raise Refusal("ALREADY_EXISTS", f"{name} has {path.stat().st_size} bytes")
            return path.name, path.stat().st_size
        new = self._root / f"{_TRASH}{name}"
        with new.open("wb") as file:
            file.truncate(size or DEFAULT_BLOCK_BYTES)
            os.fsync(file.fileno())
        new.rename(path)
        return path.name, path.stat().st_size

    def delete(self, volume_id: str) -> None:
        """Remove a volume with its data; one that isn't there is fine. Raises Refusal for one that is mounted."""
        path = self._path(volume_id)
        if path is None or not path.exists() or path.is_symlink():
            return
        table = mountinfo.read()
        if table.at(str(path)) or table.below(str(path)):
            raise Refusal("FAILED_PRECONDITION", f"something is mounted at or in {path}")
        if path.suffix == _BLOCK:
            path.unlink()
            return
        # First out of sight, so that a crash doesn't leave half a volume; never through a symbolic link (rmtree).
        trash = self._root / f"{_TRASH}{path.name}"
        if trash.exists():
            shutil.rmtree(trash)
        path.rename(trash)
        shutil.rmtree(trash)

    def all(self) -> Iterator[tuple[str, int]]:
        """Each volume's ID and size, in order."""
        for path in sorted(self._root.iterdir()):
            if _ID.fullmatch(path.name) and not path.is_symlink() and (path.is_dir() or path.suffix == _BLOCK):
                yield path.name, path.stat().st_size if path.suffix == _BLOCK else 0

    def _path(self, volume_id: str) -> Path | None:
        return self._root / volume_id if _ID.fullmatch(volume_id) else None


def is_block(path: Path) -> bool:
    return path.suffix == _BLOCK
