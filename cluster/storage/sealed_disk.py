"""A disk whose files are encrypted in blocks, and read and written as if they weren't: for snapshots.

A sealed file, little-endian: magic, format version u32, key id u32, 16 random bytes; then blocks, each a nonce and
64 KiB of content sealed, the last one of less. Files that aren't sealed are read as they are. Sizes and offsets are
those of the content, as members send snapshots to each other: each seals its own files under keys of its own.
"""

from __future__ import annotations

import errno
import os
import struct

from cluster.ports import Disk, File
from cluster.storage.disk_decorators import WrappedDisk
from cluster.storage.records import NONCE_BYTES, JournalError
from cluster.storage.sealing import TAG_BYTES, KeyMissing, Keyring, SealBroken

FORMAT_VERSION = 1
MAGIC = b"SEALEDFL"
BLOCK_BYTES = 64 << 10
_SEALED_BYTES = NONCE_BYTES + BLOCK_BYTES + TAG_BYTES
_OVERHEAD = NONCE_BYTES + TAG_BYTES

_header = struct.Struct("<8sII16s")


class SealedDisk(WrappedDisk):
    """`cluster.ports.Disk` over another one, of which it uses the folders, the lock and the thread."""

    def __init__(self, disk: Disk, keys: Keyring) -> None:
        super().__init__(disk)
        self._keys = keys

    def open(self, name: str, *, create: bool = False) -> File:
        """Raises KeyMissing for a file that is sealed under a key that isn't there, JournalError for a newer format."""
        file = super().open(name, create=create)
        try:
            return SealedFile(file, self._keys, name)
        except BaseException:
            file.close()
            raise


class SealedFile:
    """`cluster.ports.File`: sealed from its first byte on if there is a current key when that is written."""

    def __init__(self, file: File, keys: Keyring, name: str) -> None:
        self._file = file
        self._keys = keys
        self._name = name
        self._header = b""
        self._plain = False
        self._key_id = 0
        start = file.read(0, _header.size)
        if start and not MAGIC.startswith(start[: len(MAGIC)]):
            self._plain = True
        elif len(start) == _header.size:
            self._read_header(start)

    def append(self, data: bytes) -> None:
        """As a disk's; after an error, what was there before is there still, if the disk lets us put it back."""
        if not self._header and not self._plain:
            self._begin()
        if self._plain:
            self._file.append(data)
            return
        if not data:
            return
        number, tail = divmod(self.size(), BLOCK_BYTES)
        if not tail:
            self._file.append(self._sealed(number, data))
            return
        start = _raw_offset(number)
        before = self._file.read(start, _SEALED_BYTES)
        after = self._sealed(number, self._opened(number, before) + data)
        self._replace(start, before, after)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; OSError where they don't open."""
        if self._plain:
            return self._file.read(offset, size)
        size = min(size, self.size() - offset)
        if size <= 0:
            return b""
        first, last = offset // BLOCK_BYTES, (offset + size - 1) // BLOCK_BYTES
        raw = self._file.read(_raw_offset(first), (last - first + 1) * _SEALED_BYTES)
        pieces = [
            self._opened(first + n, raw[n * _SEALED_BYTES : (n + 1) * _SEALED_BYTES]) for n in range(last - first + 1)
        ]
        start = offset - first * BLOCK_BYTES
        return b"".join(pieces)[start : start + size]

    def size(self) -> int:
        if self._plain:
            return self._file.size()
        blocks, rest = divmod(max(0, self._file.size() - _header.size), _SEALED_BYTES)
        return blocks * BLOCK_BYTES + max(0, rest - _OVERHEAD)

    def sync(self) -> None:
        self._file.sync()

    def truncate(self, size: int) -> None:
        """OSError when there is less than `size`: a sealed file isn't lengthened by zeros."""
        if size == 0:
            self._file.truncate(0)
            self._header, self._plain = b"", False
        elif self._plain:
            self._file.truncate(size)
        elif size > self.size():
            raise OSError(errno.EINVAL, f"{self._name} has {self.size()} bytes and can't be lengthened to {size}")
        elif size < self.size():
            number, tail = divmod(size, BLOCK_BYTES)
            start = _raw_offset(number)
            if tail:
                before = self._file.read(start, _SEALED_BYTES)
                self._replace(start, before, self._sealed(number, self._opened(number, before)[:tail]))
            else:
                self._file.truncate(start)

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> None:
        self._file.truncate(0)
        if not self._keys.current:
            self._plain = True
            return
        header = _header.pack(MAGIC, FORMAT_VERSION, self._keys.current, os.urandom(16))
        self._file.append(header)
        self._read_header(header)

    def _read_header(self, header: bytes) -> None:
        _, version, key_id, salt = _header.unpack(header)
        if version != FORMAT_VERSION:
            raise JournalError(
                f"{self._name} is sealed in format {version} by another version; this one knows {FORMAT_VERSION}"
            )
        if key_id not in self._keys.ids:
            raise KeyMissing(f"{self._name}:", key_id, self._keys.ids)
        self._header, self._key_id, self._scope = header, key_id, b"file" + salt

    def _sealed(self, number: int, content: bytes) -> bytes:
        """Blocks from `number` on."""
        pieces: list[bytes] = []
        for start in range(0, len(content), BLOCK_BYTES):
            block = content[start : start + BLOCK_BYTES]
            pieces += self._keys.seal(self._key_id, self._scope, block, self._place(number))
            number += 1
        return b"".join(pieces)

    def _opened(self, number: int, raw: bytes) -> bytes:
        nonce, sealed = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        try:
            return self._keys.open(self._key_id, self._scope, nonce, sealed, self._place(number))
        except SealBroken:
            raise OSError(
                errno.EIO, f"{self._name}, byte {_raw_offset(number)}: this is not what was sealed there"
            ) from None

    def _place(self, number: int) -> bytes:
        return self._header + number.to_bytes(8, "little")

    def _replace(self, start: int, before: bytes, after: bytes) -> None:
        """Put `after` where `before` is, at the end of the file; `before` again when that fails."""
        self._file.truncate(start)
        try:
            self._file.append(after)
        except OSError:
            self._file.truncate(start)
            self._file.append(before)
            raise


def _raw_offset(number: int) -> int:
    return _header.size + number * _SEALED_BYTES
