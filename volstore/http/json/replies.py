"""Replies, without aiohttp: JSON bytes with their compressed form, and the reply around them."""

from __future__ import annotations

import gzip

import msgspec
from msgspec import Struct

from volstore.core.errors import ApiError

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Json:
    """An answer's bytes, and their compressed form once somebody asked for it."""

    __slots__ = ("_packed", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._packed: bytes | None = None

    def packed(self) -> bytes:
        """As gzip; takes about 10 ms a megabyte the first time."""
        if self._packed is None:
            # Level 1: lists of volumes shrink fifteenfold at it, and the next levels cost twice the time.
            self._packed = gzip.compress(self.raw, compresslevel=1, mtime=0)
        return self._packed

    def indented(self) -> Json:
        """As `?pretty` wants it: by four spaces, with a newline at the end."""
        return Json(msgspec.json.format(self.raw, indent=4) + b"\n")


class Reply(Struct, kw_only=True):
    """An answer: JSON, or `text` as plain text, or `content` of the type that `headers` name, or an empty body."""

    status: int = 200
    json: Json | None = None
    text: str = ""
    content: bytes | None = None
    headers: dict[str, str] = {}


def refusal(error: ApiError) -> Reply:
    """An error as its client sees it."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.allow is not None:
        headers["Allow"] = ", ".join(error.allow)
    return Reply(status=error.status, text=error.text, headers=headers)
