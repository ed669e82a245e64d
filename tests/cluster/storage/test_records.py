"""The journal's bytes: what was written is read, and anything else is seen for what it is."""

from __future__ import annotations

import struct

import pytest
from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st

from cluster.storage.records import (
    FORMAT_VERSION,
    MAGIC,
    NONCE_BYTES,
    PREAMBLE_BYTES,
    BadPreamble,
    Kind,
    NewerFormat,
    check_preamble,
    decode_vote,
    encode,
    encode_vote,
    preamble,
    scan,
    seed_of,
)

NUMBER = 7


def segment(*batches: list[bytes]) -> tuple[bytes, list[int]]:
    """The bytes of a segment in which each batch was synced before the next was written; where each entry begins."""
    content, offsets, index = preamble(), [], 0
    for batch in batches:
        synced = len(content)
        for data in batch:
            index += 1
            offsets.append(len(content))
            content += encode(Kind.ENTRY, index, 1, data, seed=seed_of(NUMBER), offset=len(content), synced=synced)
    return content, offsets


@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=5))
def test_records_are_read_as_they_were_written(batches: list[list[bytes]]) -> None:
    content, offsets = segment(*batches)
    found = scan(content, NUMBER)
    assert [record.data for record in found.records] == [data for batch in batches for data in batch]
    assert [record.offset for record in found.records] == offsets
    assert found.end == len(content)
    assert found.bad is None


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=6), st.data())
def test_every_flipped_bit_in_what_was_synced_is_damage(entries: list[bytes], data: st.DataObject) -> None:
    content, offsets = segment(*[[entry] for entry in entries])
    flipped = bytearray(content)
    place = data.draw(st.integers(PREAMBLE_BYTES, offsets[-1] - 1))
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    bad = scan(bytes(flipped), NUMBER).bad
    assert bad is not None
    assert bad.damage
    assert bad.offset == max(offset for offset in offsets if offset <= place)


def test_a_bad_record_in_a_write_that_never_completed_is_no_damage() -> None:
    content, offsets = segment([b"one"], [b"two", b"three", b"four"])
    torn = content[: offsets[2]] + bytes(offsets[3] - offsets[2]) + content[offsets[3] :]
    found = scan(torn, NUMBER)
    assert [record.data for record in found.records] == [b"one", b"two"]
    assert found.bad is not None
    assert not found.bad.damage
    assert found.bad.offset == offsets[2]


@pytest.mark.parametrize("size", range(1, 40))
def test_an_incomplete_last_record_is_a_torn_write(size: int) -> None:
    content, offsets = segment([b"one"], [b"two!!"])
    found = scan(content[: offsets[1] + size], NUMBER)
    assert [record.data for record in found.records] == [b"one"]
    assert found.bad is not None
    assert (found.bad.offset, found.bad.damage) == (offsets[1], False)


def test_a_record_does_not_verify_at_another_place_or_in_another_segment() -> None:
    content, offsets = segment([b"same"], [b"same"])
    first, second = content[offsets[0] : offsets[1]], content[offsets[1] :]
    swapped = scan(content[:PREAMBLE_BYTES] + second + first, NUMBER)
    assert swapped.records == []
    assert scan(content, NUMBER + 1).records == []


def test_a_length_that_reaches_beyond_the_file_is_told_from_a_wrong_checksum() -> None:
    content, _ = segment([b"data"])
    too_long = bytearray(content)
    too_long[PREAMBLE_BYTES + 6 : PREAMBLE_BYTES + 10] = struct.pack("<I", 1 << 31)
    bad = scan(bytes(too_long), NUMBER).bad
    assert bad is not None
    assert "beyond the end of the file" in bad.problem
    bad = scan(content[:-1] + b"?", NUMBER).bad
    assert bad is not None
    assert "checksum" in bad.problem


def test_an_encrypted_record_has_a_place_for_its_nonce() -> None:
    nonce = bytes(range(NONCE_BYTES))
    content = preamble() + encode(
        Kind.ENTRY, 1, 1, b"hidden", seed=seed_of(1), offset=PREAMBLE_BYTES, synced=0, key_id=9, nonce=nonce
    )
    (record,) = scan(content, 1).records
    assert (record.key_id, record.nonce, record.data, record.index) == (9, nonce, b"hidden", 1)
    with pytest.raises(ValueError, match="nonce"):
        encode(Kind.ENTRY, 1, 1, b"", seed=0, offset=0, synced=0, key_id=9)
    with pytest.raises(ValueError, match="nonce"):
        encode(Kind.ENTRY, 1, 1, b"", seed=0, offset=0, synced=0, nonce=nonce)


def test_a_newer_format_is_refused_naming_both_versions() -> None:
    start = MAGIC + struct.pack("<I", FORMAT_VERSION + 1)
    with pytest.raises(NewerFormat, match=f"format {FORMAT_VERSION + 1}.*knows {FORMAT_VERSION}"):
        check_preamble(start + struct.pack("<I", value(start)))


@pytest.mark.parametrize("place", range(PREAMBLE_BYTES))
def test_a_flipped_bit_in_the_preamble_is_not_taken_for_a_newer_format(place: int) -> None:
    start = bytearray(preamble())
    start[place] ^= 1
    with pytest.raises(BadPreamble):
        check_preamble(bytes(start))
    with pytest.raises(BadPreamble):
        check_preamble(preamble()[:place])


def test_no_vote_and_a_vote_are_told_apart() -> None:
    for vote in (None, "", "n1", "knöten"):
        assert decode_vote(encode_vote(vote)) == vote
