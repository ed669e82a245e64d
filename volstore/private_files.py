"""Writes files that only their owner may read: keys, certificates, backups."""

from __future__ import annotations

import os
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_private(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600 and sync it. Raises FileExistsError if `path` exists, also as a link; OSError.

    A file that could not be written whole is removed again.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def replace_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 at `path`, atomically. Raises OSError; then the old file is untouched.

    The temporary file has a random name, so that nobody can lay a link there first.
    """
    unfinished = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    create_private(unfinished, content)
    try:
        unfinished.replace(path)
    except OSError:
        unfinished.unlink()
        raise
