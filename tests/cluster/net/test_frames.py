"""Frames survive any cutting of their stream, and nothing but frames passes."""

from __future__ import annotations

import pickle
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.net.frames import KEEP_ALIVE, Decoder, Frame, FrameError, FrameLimits, decode, encode

LIMITS = FrameLimits(max_bytes=1 << 20, max_items=1000)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.binary(), inner, max_size=4),
    max_leaves=8,
)
frames = st.builds(lambda kind, rest: [kind, *rest], st.text() | st.integers(0, 255), st.lists(values, max_size=4))


def taken(decoder: Decoder) -> list[Frame]:
    found = []
    while (frame := decoder.take()) is not None:
        found.append(frame)
    return found


@given(st.lists(frames, max_size=5), st.data())
def test_frames_come_back_whole_and_in_order_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(frame, LIMITS) + KEEP_ALIVE * (number % 2) for number, frame in enumerate(sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, received = Decoder(LIMITS), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[start:end])
        received += taken(decoder)
    assert received == sent


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_arbitrary_bytes_give_frames_or_a_frame_error_and_nothing_else(pieces: list[bytes]) -> None:
    decoder = Decoder(LIMITS)
    try:
        for piece in pieces:
            decoder.feed(piece)
            taken(decoder)
    except FrameError:
        with pytest.raises(FrameError):
            decoder.take()


@given(st.binary(max_size=300))
def test_an_arbitrary_body_gives_a_frame_or_a_frame_error_and_nothing_else(body: bytes) -> None:
    try:
        frame = decode(body, LIMITS)
    except FrameError:
        return
    assert isinstance(frame, list)


@given(frames, st.data())
def test_a_damaged_frame_gives_a_frame_or_a_frame_error_and_nothing_else(frame: Frame, data: st.DataObject) -> None:
    body = bytearray(encode(frame, LIMITS)[4:])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = decode(bytes(body), LIMITS)
    except FrameError:
        return
    assert isinstance(damaged, list)


BODIES = {
    "nothing": b"",
    "no msgpack at all": b"\xc1",
    "an old pickle": pickle.dumps({"type": "append_entries"}),
    "a frame that ends early": b"\x92\x01",
    "bytes after the frame": b"\x91\x01\x02",
    "no array": b"\x05",
    "no type": b"\x90",
    "a type that is a truth value": b"\x91\xc3",
    "a type that is a list": b"\x91\x90",
    "a depth bomb": b"\x91" * 5000 + b"\x01",
    "a list of four thousand million": b"\x92\x01\xdd\xff\xff\xff\xff",
    "a list beyond the limit": b"\x92\x01\xdc\x03\xe9" + b"\x00" * 1001,
    "a text of four thousand million": b"\x92\x01\xdb\xff\xff\xff\xff",
    "a text that is no UTF-8": b"\x92\x01\xa1\xff",
    "a number as a map's key": b"\x92\x01\x81\x05\x05",
    "an extension": b"\x92\x01\xd4\x05\x00",
    "an empty extension": b"\x92\x01\xc7\x00\x05",
    "a time stamp": b"\x92\x01\xd6\xff\x00\x00\x00\x01",
    "a long time stamp": b"\x92\x01\xc7\x0c\xff" + b"\x00" * 12,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_what_is_no_frame_is_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(FrameError) as refusal:
        decode(body, LIMITS)
    assert len(str(refusal.value)) > 5


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    decoder = Decoder(LIMITS)
    decoder.feed((LIMITS.max_bytes + 1).to_bytes(4, "big"))
    with pytest.raises(FrameError, match=f"length of {LIMITS.max_bytes + 1} bytes"):
        decoder.take()


def test_a_keep_alive_is_refused_where_none_is_expected() -> None:
    decoder = Decoder(FrameLimits(max_bytes=100, max_items=5, keep_alives=False))
    decoder.feed(KEEP_ALIVE)
    with pytest.raises(FrameError):
        decoder.take()


def test_limits_can_be_widened_between_two_frames() -> None:
    decoder = Decoder(FrameLimits(max_bytes=10, max_items=5))
    long = ["long", b"x" * 100]
    decoder.feed(encode(["hi"], LIMITS) + encode(long, LIMITS))
    assert decoder.take() == ["hi"]
    decoder.limits = LIMITS
    assert decoder.take() == long


@pytest.mark.parametrize(
    "frame",
    [[], [None], [True], [1.5], ["m", b"x" * (1 << 20)], ["m", [0] * 1001], ["m", {str(n): 0 for n in range(1001)}]],
    ids=["empty", "no type", "truth", "fraction", "too long", "long list", "long map"],
)
def test_a_frame_that_the_reader_would_refuse_is_not_even_encoded(frame: Any) -> None:
    with pytest.raises(FrameError):
        encode(frame, LIMITS)


def test_tuples_arrive_as_lists_and_bytes_stay_bytes() -> None:
    assert decode(encode((1, (2, b"x")), LIMITS)[4:], LIMITS) == [1, [2, b"x"]]


def test_the_largest_frame_passes() -> None:
    overhead = len(msgpack.packb(["m", b"x" * 70_000])) - 70_000
    frame = ["m", b"x" * (LIMITS.max_bytes - overhead)]
    assert decode(encode(frame, LIMITS)[4:], LIMITS) == frame
