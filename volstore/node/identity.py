"""Who this node is: an ID and a secret of its own, drawn at its first start and kept in its state directory."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    id: str
    secret: str = field(repr=False)


class IdentityError(Exception):
    """The state directory can't be used."""


def load_identity(directory: Path) -> Identity:
    """That of this directory; a new one is drawn if it has none. Raises IdentityError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        node_id = _read_or_draw(directory / "node-id", lambda: str(uuid.uuid4()))
        secret = _read_or_draw(directory / "node-secret", lambda: secrets.token_hex(32))
    except OSError as error:
        raise IdentityError(f"{error.filename or directory} can't be used: {error.strerror}") from None
    return Identity(node_id, secret)


def _read_or_draw(path: Path, draw: Callable[[], str]) -> str:
    if path.exists() and (found := path.read_text().strip()):
        return found
    drawn = draw()
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(drawn + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return drawn
