"""Encrypts the state in a backup: compressed, in authenticated blocks that are bound to their place and their backup.

A sealed state is `magic, salt`, then blocks of nonce, AES-256-GCM ciphertext and tag. Each backup has its own key,
derived from the backup key and the salt (`Keys`). The associated data of each block are its number, whether it is the
last, and the fields of `meta.json`: blocks of another backup, a truncated state, or another index don't decrypt. The
state is compressed first, because ciphertext can't be.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from volstore.backup.archive import LARGEST_STATE, SEALED_FORMAT, BackupMeta, BadBackup

BLOCK_BYTES = 1 << 20
"""Compressed bytes in each block except the last."""

_MAGIC = b"VSBACKUP"
_SALT_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _SALT_BYTES
NONCE_BYTES = 12
_OVERHEAD = NONCE_BYTES + 16
"""AES-GCM's nonce and tag."""
_place = struct.Struct("<Q?")


class Keys(Protocol):
    """A keyring. Without a key nothing is sealed, and `current` is 0."""

    @property
    def current(self) -> int: ...

    @property
    def ids(self) -> tuple[int, ...]: ...

    def name(self, key_id: int) -> str:
        """The key's name for people."""

    def seal(self, key_id: int, scope: bytes, plain: bytes, place: bytes) -> tuple[bytes, bytes]:
        """Encrypt `plain` with the key derived for `scope`;

        `place` is associated data. Returns nonce and ciphertext.
        """

    def open(self, key_id: int, scope: bytes, nonce: bytes, sealed: bytes, place: bytes) -> bytes:
        """Decrypt. Raises ValueError if key, scope, place or content differ."""


class BackupKeys:
    """Seals and opens the states in backups. The current key seals, every key opens. Without keys nothing is sealed."""

    def __init__(self, keys: Keys | None = None) -> None:
        self._keys = keys

    @property
    def seals(self) -> bool:
        return self._keys is not None and bool(self._keys.current)

    def seal(self, meta: BackupMeta, chunks: Iterable[bytes]) -> tuple[BackupMeta, bytes]:
        """Seal the state in `chunks`. Returns `meta` with the key's name and the sealed size, and the sealed state.

        Raises ValueError if there is no key.
        """
        if self._keys is None or not self._keys.current:
            raise ValueError("there is no backup key to seal with")
        key_id = self._keys.current
        compressor = zlib.compressobj(6)
        plain = b"".join((*map(compressor.compress, chunks), compressor.flush()))
        starts = range(0, len(plain), BLOCK_BYTES)
        size = _HEADER_BYTES + len(plain) + len(starts) * _OVERHEAD
        named = replace(meta, version=SEALED_FORMAT, key=self._keys.name(key_id), size=size)
        salt = os.urandom(_SALT_BYTES)
        sealed = bytearray(_MAGIC + salt)
        for number, start in enumerate(starts):
            place = _bound(named, number, last=start == starts[-1])
            for part in self._keys.seal(key_id, _scope(salt), plain[start : start + BLOCK_BYTES], place):
                sealed += part
        return named, bytes(sealed)

    def opened(self, meta: BackupMeta, state: bytes) -> bytes:
        """Decrypt `state` if `meta` says that it is sealed; otherwise return it unchanged. Raises BadBackup."""
        if not meta.key:
            return state
        plain = bytearray()
        decompressor = zlib.decompressobj()
        for block in self._blocks(meta, state):
            try:
                plain += decompressor.decompress(block, LARGEST_STATE - len(plain) + 1)
            except zlib.error:
                raise BadBackup(f"the state that key {meta.key} decrypts can't be unpacked") from None
            if len(plain) > LARGEST_STATE:
                raise BadBackup(f"the backup's state has more than the {LARGEST_STATE} bytes that are read")
        if not decompressor.eof:
            raise BadBackup("the backup's state is cut off")
        return bytes(plain)

    def _blocks(self, meta: BackupMeta, state: bytes) -> Iterator[bytes]:
        keys = self._keys
        names = {} if keys is None else {keys.name(key_id): key_id for key_id in keys.ids}
        key_id = names.get(meta.key)
        if keys is None or key_id is None:
            has = f"only {', '.join(names)}" if names else "none"
            raise BadBackup(
                f"the backup is sealed under backup key {meta.key}, and this node has {has}: put that key into its "
                "backup_key_file and reload it (SIGHUP)"
            )
        if not state.startswith(_MAGIC):
            raise BadBackup("the backup's meta.json says that its state is sealed, but it is not")
        scope, step = _scope(state[len(_MAGIC) : _HEADER_BYTES]), BLOCK_BYTES + _OVERHEAD
        starts = range(_HEADER_BYTES, len(state), step)
        for number, start in enumerate(starts):
            raw = state[start : start + step]
            place = _bound(meta, number, last=start == starts[-1])
            try:
                yield keys.open(key_id, scope, raw[:NONCE_BYTES], raw[NONCE_BYTES:], place)
            except ValueError:
                raise BadBackup(
                    f"the backup doesn't open with key {meta.key}: it has changed since it was sealed"
                ) from None


def _scope(salt: bytes) -> bytes:
    return b"backup" + salt


def _bound(meta: BackupMeta, number: int, *, last: bool) -> bytes:
    said = json.dumps([meta.version, meta.id, meta.index, meta.term, meta.size, meta.cluster_id, meta.time, meta.key])
    return _place.pack(number, last) + said.encode()
