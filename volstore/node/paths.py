"""The paths that drivers are given: all below one base, made of hashes, and nobody else's.

One measured driver deletes the volume's data when told to unmount a path with a space in it; so nothing that a user
wrote is ever a part of them. With the default base they have at most 60 bytes (CSI: drivers must take 128).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

BASE = "/var/lib/volstore/csi"
_PLAIN = re.compile(r"/[A-Za-z0-9._/-]+")
_LONGEST_BASE = 64
_HEX = 16
"""Digits of a hash in a path."""
TARGET = "m"


class VolumeKey(NamedTuple):
    """A physical volume: two volumes of the registry may be one of these."""

    plugin_id: str
    external_id: str

    @property
    def hash(self) -> str:
        return _hash(f"{self.plugin_id}\0{self.external_id}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX]


class Paths:
    """The layout below `base`: `s/VOLUME` for staging, `p/VOLUME/ALLOCATION/m` for targets."""

    def __init__(self, base: str = BASE) -> None:
        """Raises ValueError for a base that drivers may stumble over."""
        if not _PLAIN.fullmatch(base) or base.endswith("/") or "//" in base or {".", ".."} & set(base.split("/")):
            raise ValueError(f"{base!r} can't be the base of mounts: an absolute path of A-Z a-z 0-9 . _ / - is needed")
        if len(base) > _LONGEST_BASE:
            raise ValueError(f"{base!r} is too long for the base of mounts: at most {_LONGEST_BASE} bytes")
        self.base = base

    def staging(self, key: VolumeKey) -> str:
        return f"{self.base}/s/{key.hash}"

    def volume(self, key: VolumeKey) -> str:
        return f"{self.base}/p/{key.hash}"

    def target(self, key: VolumeKey, allocation_id: str) -> str:
        return f"{self.volume(key)}/{_hash(allocation_id)}/{TARGET}"
