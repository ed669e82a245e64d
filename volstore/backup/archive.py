"""A backup as one file: the gzipped tar that Nomad's `operator snapshot` commands read, made and checked here.

It holds `meta.json`, `state.bin` and `SHA256SUMS`. `state.bin` is the state as `volstore.core.snapshot` writes it,
secrets included, or that state encrypted by `volstore.backup.sealed`. Packing and unpacking hash and compress the whole
state: don't do it on the event loop.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

FORMAT, SEALED_FORMAT = 1, 2
"""A sealed backup has its own version, so that an older volstore refuses it clearly."""
LARGEST_STATE = 4 << 30
"""The most bytes that a backup's state may unpack to; more is an attack."""
_LARGEST_TEXT = 1 << 20
_META, _STATE, _SUMS = "meta.json", "state.bin", "SHA256SUMS"


class BadBackup(ValueError):
    """The file is no complete backup; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class BackupMeta:
    """A backup's `meta.json`. `index` is the FSM's, `time` is RFC 3339, `size` counts the bytes of `state.bin`.

    `key` is the name of the backup key that encrypts the state, "" if the state is not encrypted.
    """

    id: str
    index: int
    term: int
    size: int
    version: int = FORMAT
    cluster_id: str = ""
    time: str = ""
    build: str = ""
    key: str = ""

    def encode(self) -> bytes:
        said = {
            "Build": self.build,
            "ClusterID": self.cluster_id,
            "ID": self.id,
            "Index": self.index,
            "Size": self.size,
            "Term": self.term,
            "Time": self.time,
            "Version": self.version,
        }
        if self.key:
            said |= {"KeyID": self.key, "Sealed": True}
        return json.dumps(said, sort_keys=True).encode()


def pack(meta: BackupMeta, chunks: Iterable[bytes]) -> bytes:
    """The whole file. `meta.size` must be the total size of the chunks."""
    hashed = sha256()
    state = bytearray()
    for chunk in chunks:
        hashed.update(chunk)
        state += chunk
    if len(state) != meta.size:
        raise ValueError(f"the state has {len(state)} bytes, its meta says {meta.size}")
    described = meta.encode()
    sums = f"{sha256(described).hexdigest()}  {_META}\n{hashed.hexdigest()}  {_STATE}\n".encode()
    packed = io.BytesIO()
    # mtime 0 and fixed owners: the same state gives the same file.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in ((_META, described), (_STATE, state), (_SUMS, sums)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def digest_header(packed: bytes) -> str:
    """The value of a file's `Digest` header (RFC 3230)."""
    return "sha-256=" + b64encode(sha256(packed).digest()).decode()


def unpack(packed: bytes) -> tuple[BackupMeta, bytes]:
    """A file's meta and state, checked against its SHA256SUMS. Raises BadBackup."""
    entries = _entries(packed)
    missing = [name for name in (_META, _STATE, _SUMS) if name not in entries]
    if missing:
        raise BadBackup(f"the backup has no {' and no '.join(missing)} in it")
    expected = _sums(entries[_SUMS])
    for name in (_META, _STATE):
        if expected.get(name) != sha256(entries[name]).hexdigest():
            raise BadBackup(f"the backup is damaged: the SHA-256 of {name} is not what SHA256SUMS says")
    meta = _meta(entries[_META])
    if meta.size != len(entries[_STATE]):
        raise BadBackup(f"the backup is damaged: its state has {len(entries[_STATE])} bytes, not {meta.size}")
    return meta, entries[_STATE]


def _entries(packed: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with (
            gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r:") as archive,
        ):
            for entry in archive:
                limit = LARGEST_STATE if entry.name == _STATE else _LARGEST_TEXT
                if entry.name in found or not entry.isreg() or entry.name not in (_META, _STATE, _SUMS):
                    raise BadBackup("the archive holds something that doesn't belong to a backup")
                if entry.size > limit:
                    raise BadBackup(f"{entry.name} has {entry.size} bytes, more than the {limit} that are read")
                content = archive.extractfile(entry)
                found[entry.name] = content.read() if content is not None else b""
                if len(found[entry.name]) != entry.size:
                    raise BadBackup("the backup is cut off")
            # Read to the end: gzip's checksum is there. After the end of the tar there is only padding.
            if len(unpacked.read(_LARGEST_TEXT)) == _LARGEST_TEXT:
                raise BadBackup("the archive holds something that doesn't belong to a backup")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BadBackup(f"this is not a backup of volstore, or it is cut off: {error}") from None
    return found


def _sums(text: bytes) -> dict[str, str]:
    sums = {}
    for line in text.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
    return sums


def _meta(text: bytes) -> BackupMeta:
    try:
        value: Any = json.loads(text)
        version = value["Version"]
        if version not in (FORMAT, SEALED_FORMAT):
            raise BadBackup(
                f"the backup has version {version}, this volstore reads {FORMAT} and {SEALED_FORMAT}: upgrade it"
            )
        numbers = [value["Index"], value["Term"], value["Size"]]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise BadBackup("the backup's meta.json has no sound Index, Term and Size")
        texts = [str(value.get(key, "")) for key in ("ID", "ClusterID", "Time", "Build", "KeyID")]
        if (version == SEALED_FORMAT) != bool(texts[4]):
            raise BadBackup("the backup's meta.json doesn't say by which key its state is sealed, or whether it is")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, BadBackup):
            raise
        raise BadBackup("the backup's meta.json can't be read") from None
    index, term, size = numbers
    return BackupMeta(texts[0], index, term, size, version, *texts[1:])
