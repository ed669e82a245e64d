"""Makes answers of replies: headers and a body, compressed where the client accepts it, and their bytes on the wire."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from volstore.http.json.replies import JSON, TEXT, Json, Reply

T = TypeVar("T")

_LONG_WORK = 64 * 1024
"""Bytes of an answer from which on compressing and indenting take more than a millisecond."""
_JSON_HEADERS = {"Server": "volstore", "Content-Type": JSON, "Vary": "Accept-Encoding"}
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Answer(NamedTuple):
    """A response. `headers` lack Content-Length and Date, which every response has."""

    status: int
    headers: dict[str, str]
    body: bytes


async def answer_to(reply: Reply, asked: Mapping[str, str], gzip_from: int) -> Answer:
    """`asked` has the request's headers: JSON of `gzip_from` bytes and more is compressed where they accept it."""
    packs = reply.json is not None and len(reply.json.raw) >= gzip_from
    if packs and (accepted := asked.get("Accept-Encoding")) and _takes_gzip(accepted):
        return await _packed(reply)
    return _unpacked(reply)


async def _packed(reply: Reply) -> Answer:
    assert reply.json is not None
    headers = {**reply.headers, **_JSON_HEADERS, "Content-Encoding": "gzip"}
    return Answer(reply.status, headers, await away(reply.json, reply.json.packed))


def _unpacked(reply: Reply) -> Answer:
    if reply.json is not None:
        return Answer(reply.status, {**reply.headers, **_JSON_HEADERS}, reply.json.raw)
    headers = {**reply.headers, "Server": "volstore"}
    if reply.content is not None:
        return Answer(reply.status, headers, reply.content)
    if reply.text:
        headers["Content-Type"] = TEXT
    return Answer(reply.status, headers, reply.text.encode(errors="backslashreplace"))


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() in ("gzip", "x-gzip"):
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality)
    return False


async def away(json: Json, work: Callable[[], T]) -> T:
    """Run `work` on an answer's bytes: in a thread where it would hold up the event loop."""
    if len(json.raw) < _LONG_WORK:
        return work()
    return await asyncio.get_running_loop().run_in_executor(None, work)


class _Date:
    """The Date header of this second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


_date = _Date()


def encode_head(answer: Answer) -> bytes:
    """The head of an HTTP/1.1 answer to GET, PUT, POST or DELETE, byte for byte as aiohttp sends it."""
    status, headers, body = answer
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", *map(": ".join, headers.items())]
    if body and "Content-Type" not in headers:
        lines.append("Content-Type: application/octet-stream")
    lines.append(f"Content-Length: {len(body)}\r\nDate: {_date.now()}\r\n\r\n")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) + 2:
        raise ValueError("a header of an answer has a line break in it")
    return head.encode()
