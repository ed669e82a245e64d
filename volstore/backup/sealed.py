"""The state in a backup as a backup key seals it: compressed, in blocks that open only as what, and where, they were.

A sealed state is `magic, salt` and then blocks of nonce, AES-256-GCM ciphertext and tag. Each backup has a key of its
own, derived from the backup key and the salt (`cluster.storage.sealing`). Each block is bound to its number, to
whether it is the last, and to what `meta.json` says: blocks of another backup, fewer of them, or another index
don't open. It is compressed first, as nothing can be afterwards.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from cluster.storage.records import NONCE_BYTES
from cluster.storage.sealing import TAG_BYTES, Keyring, SealBroken, key_name
from volstore.backup.archive import LARGEST_STATE, SEALED_FORMAT, BackupMeta, BadBackup

BLOCK_BYTES = 1 << 20
"""Compressed bytes in each block but the last."""

_MAGIC = b"VSBACKUP"
_SALT_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _SALT_BYTES
_OVERHEAD = NONCE_BYTES + TAG_BYTES
_place = struct.Struct("<Q?")


class BackupKeys:
    """The backup keys of a node, the current one first: it seals, all of them open. Without any, nothing is sealed."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """ValueError as `cluster.storage.sealing.Keyring` has it."""
        self._keys = Keyring(keys)

    def use(self, keys: Sequence[bytes]) -> None:
        """From now on; those of before open what they sealed until the node ends."""
        self._keys.use(keys)

    @property
    def seals(self) -> bool:
        return bool(self._keys.current)

    def seal(self, meta: BackupMeta, chunks: Iterable[bytes]) -> tuple[BackupMeta, bytes]:
        """The state that the chunks are together, sealed; and `meta` with the key's name, and the sealed size.

        KeyError where there is no key.
        """
        key_id = self._keys.current
        compressor = zlib.compressobj(6)
        plain = b"".join((*map(compressor.compress, chunks), compressor.flush()))
        starts = range(0, len(plain), BLOCK_BYTES)
        size = _HEADER_BYTES + len(plain) + len(starts) * _OVERHEAD
        named = replace(meta, version=SEALED_FORMAT, key=key_name(key_id), size=size)
        salt = os.urandom(_SALT_BYTES)
        sealed = bytearray(_MAGIC + salt)
        for number, start in enumerate(starts):
            place = _bound(named, number, last=start == starts[-1])
            for part in self._keys.seal(key_id, _scope(salt), plain[start : start + BLOCK_BYTES], place):
                sealed += part
        return named, bytes(sealed)

    def opened(self, meta: BackupMeta, state: bytes) -> bytes:
        """The state in the clear: `state` itself where `meta` doesn't call it sealed. Raises BadBackup."""
        if not meta.key:
            return state
        plain = bytearray()
        decompressor = zlib.decompressobj()
        for block in self._blocks(meta, state):
            try:
                plain += decompressor.decompress(block, LARGEST_STATE - len(plain) + 1)
            except zlib.error:
                raise BadBackup(f"what key {meta.key} sealed in the backup can't be unpacked") from None
            if len(plain) > LARGEST_STATE:
                raise BadBackup(f"the backup's state has more than the {LARGEST_STATE} bytes that are read")
        if not decompressor.eof:
            raise BadBackup("the backup's state is cut off")
        return bytes(plain)

    def _blocks(self, meta: BackupMeta, state: bytes) -> Iterator[bytes]:
        ids = self._keys.ids
        key_id = next((id for id in ids if key_name(id) == meta.key), None)
        if key_id is None:
            has = f"only {', '.join(map(key_name, ids))}" if ids else "none"
            raise BadBackup(
                f"the backup is sealed under backup key {meta.key}, and this node has {has}: put that key into its "
                "backup_key_file and reload it (SIGHUP)"
            )
        if not state.startswith(_MAGIC):
            raise BadBackup("the backup's meta.json calls its state sealed, and it isn't")
        scope, step = _scope(state[len(_MAGIC) : _HEADER_BYTES]), BLOCK_BYTES + _OVERHEAD
        starts = range(_HEADER_BYTES, len(state), step)
        for number, start in enumerate(starts):
            raw = state[start : start + step]
            place = _bound(meta, number, last=start == starts[-1])
            try:
                yield self._keys.open(key_id, scope, raw[:NONCE_BYTES], raw[NONCE_BYTES:], place)
            except (SealBroken, ValueError):  # ValueError: fewer bytes than a nonce and a tag have
                raise BadBackup(
                    f"the backup doesn't open with key {meta.key}: it was changed since it was sealed"
                ) from None


def _scope(salt: bytes) -> bytes:
    return b"backup" + salt


def _bound(meta: BackupMeta, number: int, *, last: bool) -> bytes:
    said = json.dumps([meta.version, meta.id, meta.index, meta.term, meta.size, meta.cluster_id, meta.time, meta.key])
    return _place.pack(number, last) + said.encode()
