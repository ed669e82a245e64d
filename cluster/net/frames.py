"""Frames on the wire: a length and one msgpack array, refused before they can cost memory or run anything.

A frame is a big-endian u32 length and that many bytes of msgpack: an array whose first element names its type. A
length of zero is a keep-alive: it says nothing and is skipped. Only plain msgpack values exist (no extension types,
map keys are text or bytes), so that reading a frame can build nothing but lists, dicts, text, bytes and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgpack

Frame = list[Any]
"""Not to be changed once it was sent."""

_ARRAYS = frozenset({list, tuple, dict})
# Kept: to make a packer costs half as much as to pack a small frame.
_pack: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True).pack
KEEP_ALIVE = b"\0\0\0\0"
_PREFIX = 4


class FrameError(ValueError):
    """Bytes that are no frame, or a frame beyond the limits; the text says why. The connection is of no more use."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a reader accepts: bytes of a frame's body, and elements of any array or map in it.

    An array's header alone makes msgpack allocate its list, at up to 1,024 levels of nesting: `max_items` bounds that.
    """

    max_bytes: int = 32 << 20
    max_items: int = 16_384
    keep_alives: bool = True


def encode(frame: Sequence[Any], limits: FrameLimits) -> bytes:
    """The bytes of `frame`, ready to be written. Raises FrameError for what a reader with `limits` would refuse.

    Lengths are checked on two levels, where all our frames have their long arrays.
    """
    _check_type(frame)
    if len(frame) > limits.max_items:
        raise FrameError(f"a frame of {len(frame)} elements; the limit is {limits.max_items}")
    for item in frame:
        if type(item) in _ARRAYS and len(item) > limits.max_items:
            raise FrameError(f"an array of {len(item)} elements in a frame; the limit is {limits.max_items}")
    body = _pack(frame)
    if len(body) > limits.max_bytes:
        raise FrameError(f"a frame of {len(body)} bytes; the limit is {limits.max_bytes}")
    return len(body).to_bytes(_PREFIX, "big") + body


class Decoder:
    """Cuts a byte stream into frames: `feed` what was read, `take` frames until there is none.

    `limits` may be replaced between two frames (a handshake is read under narrower ones). After a FrameError the
    stream's framing is lost: every later call raises it again.
    """

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self.unread = 0
        """Bytes that were fed and not taken yet."""
        self._buffer = bytearray()
        self._start = 0
        self._error: FrameError | None = None

    def feed(self, data: bytes) -> None:
        """Add `data`, of any length, to what is waiting. Never raises."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data
        self.unread = len(self._buffer)

    def take(self) -> Frame | None:
        """The next whole frame, None when more bytes are needed. Raises FrameError."""
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        while self.unread >= _PREFIX:
            body = self._start + _PREFIX
            length = int.from_bytes(buffer[self._start : body], "big")
            if length == 0 and self.limits.keep_alives:
                self._start = body
                self.unread -= _PREFIX
                continue
            if length > self.limits.max_bytes:
                self._fail(f"a length of {length} bytes; the limit is {self.limits.max_bytes}")
            if self.unread - _PREFIX < length:
                return None
            self._start = body + length
            self.unread -= _PREFIX + length
            # The view must be gone before the buffer is resized.
            with memoryview(buffer)[body : self._start] as one:
                try:
                    return decode(one, self.limits)
                except FrameError as error:
                    self._error = error
                    raise
        return None

    def _fail(self, text: str) -> NoReturn:
        self._error = FrameError(text)
        raise self._error


def decode(body: bytes | memoryview, limits: FrameLimits) -> Frame:
    """The frame in `body` (without its length). Raises FrameError."""
    try:
        frame = msgpack.unpackb(
            body,
            raw=False,
            use_list=True,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            max_str_len=limits.max_bytes,
            max_bin_len=limits.max_bytes,
            max_array_len=limits.max_items,
            max_map_len=limits.max_items,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError(f"not a frame: {str(error) or type(error).__name__}") from error
    if not isinstance(frame, list):
        raise FrameError(f"a frame is an array, not {type(frame).__name__}")
    _check_type(frame)
    return frame


def _check_type(frame: Sequence[Any]) -> None:
    if not frame or type(frame[0]) not in (str, int):
        raise FrameError("a frame begins with its type, a text or a number")


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")
