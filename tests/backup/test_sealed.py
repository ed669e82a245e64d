"""A sealed backup: opened by its key alone, as the whole that it was, and by Nomad's commands still told for sound."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.sealing import Keyring, key_id_of, key_name
from tests.backup.test_archive import META, PACKED, STATE, archive
from volstore.backup import sealed as sealed_backup
from volstore.backup.archive import BackupMeta, BadBackup, pack, unpack
from volstore.backup.sealed import BLOCK_BYTES, BackupKeys

KEY, OTHER = bytes(32), bytes([1]) * 32
KEYS = BackupKeys(Keyring([KEY]))
NAME, OTHER_NAME = key_name(key_id_of(KEY)), key_name(key_id_of(OTHER))
NAMED, SEALED = KEYS.seal(META, [STATE[:1000], STATE[1000:]])
LARGE = os.urandom(2 * BLOCK_BYTES + 17)


def entries(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as read:
        # None is for folders alone, of which it has none.
        return {entry.name: read.extractfile(entry).read() for entry in read}  # type: ignore[union-attr]


def forged(meta: BackupMeta, state: bytes) -> bytes:
    """A backup whose sums and size fit, whatever is in it."""
    described = replace(meta, size=len(state)).encode()
    sums = "".join(f"{sha256(d).hexdigest()}  {n}\n" for n, d in (("meta.json", described), ("state.bin", state)))
    return archive({"meta.json": described, "state.bin": state, "SHA256SUMS": sums.encode()})


def test_what_was_sealed_is_opened_and_nothing_of_it_is_readable_before() -> None:
    packed = pack(NAMED, [SEALED])
    meta, state = unpack(packed)
    assert (meta, KEYS.opened(meta, state)) == (NAMED, STATE)
    assert b"some state" not in state
    assert KEYS.seal(META, [STATE])[1] != SEALED  # no salt and no nonce twice


def test_a_state_of_several_blocks_is_opened() -> None:
    meta, state = KEYS.seal(META, [LARGE])
    assert meta.size == len(state)
    assert KEYS.opened(meta, state) == LARGE


def test_what_is_said_of_it_is_in_the_clear_and_names_the_key() -> None:
    found = entries(pack(NAMED, [SEALED]))
    said = json.loads(found["meta.json"])
    assert (said["Sealed"], said["KeyID"], said["Version"], said["Size"]) == (True, NAME, 2, len(SEALED))
    assert {key: said[key] for key in ("ID", "Index", "Term")} == {"ID": "2-7-1", "Index": 7, "Term": 2}
    assert found["SHA256SUMS"].decode().splitlines() == [
        f"{sha256(found[name]).hexdigest()}  {name}" for name in ("meta.json", "state.bin")
    ]


def test_one_that_is_not_sealed_is_opened_with_and_without_keys() -> None:
    meta, state = unpack(PACKED)
    assert BackupKeys().opened(meta, state) == KEYS.opened(meta, state) == STATE
    assert {"Sealed", "KeyID"}.isdisjoint(json.loads(entries(PACKED)["meta.json"]))


@pytest.mark.parametrize(("keys", "has"), [((), "none"), ((OTHER,), f"only {OTHER_NAME}")])
def test_a_key_that_is_missing_is_named(keys: tuple[bytes, ...], has: str) -> None:
    with pytest.raises(BadBackup, match=f"sealed under backup key {NAME}, and this node has {has}: put that key into"):
        BackupKeys(Keyring(keys)).opened(NAMED, SEALED)


def test_after_a_rotation_the_old_key_opens_and_the_new_one_seals() -> None:
    keyring = Keyring([KEY])
    keys = BackupKeys(keyring)
    keyring.use([OTHER, KEY])
    assert keys.opened(NAMED, SEALED) == STATE
    assert keys.seal(META, [STATE])[0].key == OTHER_NAME


def test_without_a_key_nothing_is_sealed() -> None:
    assert not BackupKeys().seals
    with pytest.raises(ValueError, match="no backup key"):
        BackupKeys().seal(META, [STATE])


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 7))
def test_no_bit_of_what_is_sealed_can_be_turned_even_where_the_sums_are_made_to_fit(place: int, bit: int) -> None:
    turned = bytearray(SEALED)
    turned[place] ^= 1 << bit
    meta, state = unpack(forged(NAMED, bytes(turned)))
    with pytest.raises(BadBackup, match=r"has changed since|but it is not"):
        KEYS.opened(meta, state)


@given(st.integers(0, len(SEALED) - 1))
def test_what_is_cut_off_does_not_open(end: int) -> None:
    with pytest.raises(BadBackup):
        KEYS.opened(*unpack(forged(NAMED, SEALED[:end])))


STEP = BLOCK_BYTES + 28
LARGE_META, LARGE_SEALED = KEYS.seal(META, [LARGE])
HEAD, BLOCKS = LARGE_SEALED[:24], [LARGE_SEALED[start : start + STEP] for start in range(24, len(LARGE_SEALED), STEP)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0, 2), (0, 1, 2, 2), (0, 2), (2,)], ids=str)
def test_blocks_are_opened_in_their_places_and_all_of_them_or_none(order: tuple[int, ...]) -> None:
    state = HEAD + b"".join(BLOCKS[number] for number in order)
    for meta in (LARGE_META, replace(LARGE_META, size=len(state))):
        with pytest.raises(BadBackup, match="has changed since"):
            KEYS.opened(meta, state)


@pytest.mark.parametrize(
    "change",
    [{"index": 8}, {"term": 3}, {"id": "2-8-1"}, {"cluster_id": "d"}, {"time": "2024-01-01T00:00:00Z"}],
    ids=str,
)
def test_what_is_said_of_a_sealed_state_can_not_be_changed(change: dict[str, object]) -> None:
    meta, state = unpack(forged(replace(NAMED, **change), SEALED))  # type: ignore[arg-type]  # fields by name
    with pytest.raises(BadBackup, match="has changed since"):
        KEYS.opened(meta, state)


def test_a_state_that_is_not_sealed_does_not_pass_for_one_that_is() -> None:
    with pytest.raises(BadBackup, match="says that its state is sealed, but it is not"):
        KEYS.opened(*unpack(forged(NAMED, STATE)))


@pytest.mark.parametrize("meta", [replace(NAMED, key=""), replace(META, key=NAME)], ids=["no key", "no version"])
def test_what_says_only_half_that_it_is_sealed_is_refused(meta: BackupMeta) -> None:
    with pytest.raises(BadBackup, match="doesn't say by which key"):
        unpack(forged(meta, SEALED))


def test_what_unpacks_to_more_than_is_read_is_refused_before_it_is_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    meta, state = KEYS.seal(META, [bytes(10_000)])
    monkeypatch.setattr(sealed_backup, "LARGEST_STATE", 9_999)
    with pytest.raises(BadBackup, match="more than the 9999 bytes"):
        KEYS.opened(meta, state)


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=2000)))
def test_any_state_comes_back(chunks: list[bytes]) -> None:
    assert KEYS.opened(*KEYS.seal(META, chunks)) == b"".join(chunks)
