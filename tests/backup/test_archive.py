"""A backup's file: the same for the same state, and refused when one byte of it is not as it was written."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import b64decode
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.backup.archive import BackupMeta, BadBackup, digest_header, pack, unpack

STATE = b"some state " * 500
META = BackupMeta("2-7-1", 7, 2, len(STATE), cluster_id="c", time="2023-11-14T22:13:20Z", build="0.1.0")
PACKED = pack(META, [STATE[:1000], STATE[1000:]])


def archive(entries: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as written:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(data), kind
            written.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def entries() -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(PACKED), mode="r:gz") as read:
        # None is for folders alone, of which it has none.
        return {entry.name: read.extractfile(entry).read() for entry in read}  # type: ignore[union-attr]


def summed(changes: dict[str, bytes]) -> bytes:
    """The backup with these entries changed, and sums that fit."""
    changed = {**entries(), **changes}
    sums = "".join(f"{sha256(changed[name]).hexdigest()}  {name}\n" for name in ("meta.json", "state.bin"))
    return archive({**changed, "SHA256SUMS": sums.encode()})


def described(**changes: object) -> bytes:
    return summed({"meta.json": json.dumps({**json.loads(META.encode()), **changes}).encode()})


def test_what_was_packed_is_unpacked() -> None:
    assert unpack(PACKED) == (META, STATE)
    assert pack(META, [STATE]) == PACKED


def test_the_file_is_the_one_that_nomads_commands_check() -> None:
    found = entries()
    assert list(found) == ["meta.json", "state.bin", "SHA256SUMS"]
    names = ("meta.json", "state.bin")
    assert found["SHA256SUMS"].decode() == "".join(f"{sha256(found[name]).hexdigest()}  {name}\n" for name in names)
    assert {"ID", "Index", "Term", "Size", "Version"} <= set(json.loads(found["meta.json"]))
    kind, _, digest = digest_header(PACKED).partition("=")
    assert (kind, b64decode(digest)) == ("sha-256", sha256(PACKED).digest())


def test_a_meta_that_is_not_of_this_state_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="its meta says 1"):
        pack(replace(META, size=1), [STATE])


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_no_damaged_byte_passes_for_another_backup(place: int, change: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= change
    try:
        found = unpack(bytes(damaged))
    except BadBackup:
        return
    assert found == (META, STATE)  # gzip's header says nothing that matters


@given(st.integers(0, len(PACKED) - 1))
def test_a_backup_that_is_cut_off_is_none(end: int) -> None:
    with pytest.raises(BadBackup):
        unpack(PACKED[:end])


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"", "not a backup"),
        (b"nonsense", "not a backup"),
        (gzip.compress(b"nonsense"), "not a backup|no meta.json"),
        (archive({}), "not a backup|no meta.json"),
        (archive({"meta.json": META.encode()}), "no state.bin and no SHA256SUMS"),
        (archive({**entries(), "more": b"x"}), "doesn't belong to a backup"),
        (archive(entries(), tarfile.SYMTYPE), "doesn't belong to a backup"),
        (archive({**entries(), "state.bin": b"other"}), "SHA-256 of state.bin"),
        (archive({**entries(), "SHA256SUMS": b"\xff"}), "SHA-256 of meta.json"),
        (archive({**entries(), "SHA256SUMS": bytes(2 << 20)}), "more than the"),
        (described(Size=3), "has 5500 bytes, not 3"),
        (described(Version=3), "version 3, this volstore reads 1 and 2"),
        (described(Version=2), "doesn't say by which key"),
        (described(Index="x"), "no sound Index"),
        (described(Term=-1), "no sound Index"),
        (summed({"meta.json": b"["}), "meta.json can't be read"),
        (summed({"meta.json": b"[" * 100_000}), "meta.json can't be read"),
        (summed({"meta.json": b"[1]"}), "meta.json can't be read"),
    ],
)
def test_what_is_no_backup_is_refused_with_the_reason(packed: bytes, text: str) -> None:
    with pytest.raises(BadBackup, match=text):
        unpack(packed)
