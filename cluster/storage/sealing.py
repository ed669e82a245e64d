"""Keys that data is encrypted with at rest (AES-256-GCM), and the sealing of entries and of blocks of files. No I/O.

Nonces are 96 random bits, so that neither a crash, nor a copy of a virtual machine that goes on twice, can repeat one
as a counter would. What bounds random nonces is how much is sealed under one key (2^32 messages); so the keys that
are given never seal themselves: each stretch of 65,536 log indexes, and each file, has a key of its own, derived by
HKDF-SHA256 from the given one, and no key ever sees more than a few hundred thousand messages. A chance repetition
is then less likely than 2^-60 for each stretch, however long a key is used.

What is sealed is bound to its place (an entry to index and term, a block to its file and number), so that it can't be
put elsewhere unseen.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cluster.storage.records import NONCE_BYTES, JournalError, Kind, Record

KEY_BYTES = 32
TAG_BYTES = 16
_STRETCH_BITS = 16
_MOST_CIPHERS = 64

_place = struct.Struct("<BQQ")


class KeyMissing(JournalError):
    """Something is sealed under a key that this node doesn't have."""

    def __init__(self, where: str, key_id: int, has: Sequence[int]) -> None:
        known = f"only {', '.join(map(key_name, has))}" if has else "none"
        super().__init__(
            f"{where} encrypted under key {key_name(key_id)}, and this node has {known}: give it that key back. "
            "If the key is lost, this disk is too, and the others have it all: remove this member from the cluster, "
            "empty its data directory, and add it anew"
        )


class SealBroken(ValueError):
    """Sealed bytes aren't what was sealed, or not in the place that they were sealed for."""


def key_id_of(key: bytes) -> int:
    """What names `key` on the disk: never 0, which means that nothing is sealed."""
    return int.from_bytes(hashlib.sha256(b"key id\0" + key).digest()[:4], "little") or 1


def key_name(key_id: int) -> str:
    """As people see it."""
    return f"{key_id:08x}"


class Keyring:
    """Keys by their id: the first is the current one, which seals, the others only open. Without any nothing is sealed.

    Used from the loop and from the disks' threads.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """ValueError for a key that hasn't KEY_BYTES, or two with one id."""
        self._keys: dict[int, bytes] = {}
        self._ciphers: dict[tuple[int, bytes], AESGCM] = {}
        self.current = 0
        """The id of the key that seals; 0 where none does."""
        self.use(keys)

    def use(self, keys: Sequence[bytes]) -> None:
        """Encrypt with `keys` from now on; earlier keys still decrypt until the process ends."""
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        given = {key_id_of(key): key for key in keys}
        if len(given) < len(keys):
            raise ValueError("the same key twice")
        self._keys = self._keys | given
        self.current = key_id_of(keys[0]) if keys else 0

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(self._keys)

    def name(self, key_id: int) -> str:
        return key_name(key_id)

    def seal(self, key_id: int, scope: bytes, plain: bytes, place: bytes) -> tuple[bytes, bytes]:
        """A fresh nonce, and `plain` sealed under the key of `scope`, for `place` alone."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce, self._cipher(key_id, scope).encrypt(nonce, plain, place)

    def open(self, key_id: int, scope: bytes, nonce: bytes, sealed: bytes, place: bytes) -> bytes:
        """What was sealed. Raises SealBroken; KeyError when there is no such key."""
        try:
            return self._cipher(key_id, scope).decrypt(nonce, sealed, place)
        except InvalidTag:
            raise SealBroken from None

    def _cipher(self, key_id: int, scope: bytes) -> AESGCM:
        cipher = self._ciphers.get((key_id, scope))
        if cipher is None:
            derived = HKDF(SHA256(), KEY_BYTES, None, b"sealing at rest\0" + scope).derive(self._keys[key_id])
            cipher = AESGCM(derived)
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers = {}
            self._ciphers[key_id, scope] = cipher
        return cipher

    def __repr__(self) -> str:
        return f"Keyring({', '.join(map(key_name, self._keys))})"


def seal_entry(keys: Keyring, index: int, term: int, data: bytes) -> tuple[int, bytes, bytes]:
    """Key id, nonce and sealed data of the entry at `index`, of `term`; 0, nothing and `data` where no key seals."""
    key_id = keys.current
    if not key_id:
        return 0, b"", data
    nonce, sealed = keys.seal(key_id, _stretch(index), data, _place.pack(Kind.ENTRY, index, term))
    return key_id, nonce, sealed


def open_entry(keys: Keyring, record: Record, where: str) -> bytes:
    """The data of an entry's record, sealed or not. Raises KeyMissing, SealBroken."""
    if not record.key_id:
        return record.data
    place = _place.pack(record.kind, record.index, record.term)
    try:
        return keys.open(record.key_id, _stretch(record.index), record.nonce, record.data, place)
    except KeyError:
        raise KeyMissing(where, record.key_id, keys.ids) from None


def _stretch(index: int) -> bytes:
    return b"entries" + (index >> _STRETCH_BITS).to_bytes(8, "little")
