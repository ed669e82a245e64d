"""Reads a request of either parser: its target, its body, its idempotency key, and its origin for forwarding."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import HttpVersion10, web
from aiohttp.web_request import BaseRequest

from volstore.core.commands import Idempotency
from volstore.core.errors import ApiError
from volstore.http.json.parameters import Query
from volstore.http.json.reader import PIECE_BYTES
from volstore.http.server.bodies import Share
from volstore.http.server.call import Origin
from volstore.http.server.connection import headers_too_large, url_too_long
from volstore.http.server.declaration import Endpoint
from volstore.http.server.forward import HOPS_HEADER
from volstore.http.server.plain import PlainRequest
from volstore.http.server.settings import HttpSettings

Incoming = BaseRequest | PlainRequest

_LONGEST_KEY = 255
_LARGE_BODY_DEADLINE = 600.0
_WHO_ASKS = ("X-Nomad-Token", "Authorization", "X-Request-Id")


def check_head(request: BaseRequest, settings: HttpSettings) -> None:
    """Raises ApiError for what aiohttp's parser lets through: it counts headers one by one, and not exactly."""
    if request.version < HttpVersion10:  # HTTP/0.9 knows no headers, and so nothing of all this
        raise ApiError(400, "validation: HTTP/1.1 is spoken here")
    if len(request.raw_path) > settings.max_url_bytes:
        raise ApiError(414, url_too_long(settings))
    if sum(len(name) + len(value) for name, value in request.raw_headers) > settings.max_header_bytes:
        raise ApiError(431, headers_too_large(settings))


def target_of(request: Incoming) -> str:
    """Path and query as they came, whether the request names the whole URL (as to a proxy) or not."""
    target = request.raw_path
    if isinstance(request, PlainRequest):
        return target
    return target.partition("#")[0] if target.startswith("/") else request.rel_url.raw_path_qs


def idempotency_keys(request: Incoming, query: Query) -> list[str]:
    """The request's Idempotency-Keys: the headers and `idempotency_token`, as Nomad's clients send it."""
    keys = request.headers.getall("Idempotency-Key", ())
    token = query.text("idempotency_token")
    return list(dict.fromkeys((*keys, token))) if token else list(keys)


async def idempotency_of(keys: list[str], request: Incoming, path: str, raw_query: str, body: bytes) -> Idempotency:
    """The client's key with the hash of the whole request."""
    key = keys[0]
    if len(keys) > 1 or not key or not key.isprintable() or len(key.encode(errors="replace")) > _LONGEST_KEY:
        raise ApiError(
            400, f"validation: the Idempotency-Key must be one of 1 to {_LONGEST_KEY} bytes without control characters"
        )
    digest = hashlib.sha256()
    for part in (request.method, path, raw_query):
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    if len(body) > PIECE_BYTES:
        await asyncio.get_running_loop().run_in_executor(None, digest.update, body)
    else:
        digest.update(body)
    return Idempotency(caller="anonymous", key=key, request_hash=digest.digest())


def origin_of(request: Incoming, path: str, raw_query: str) -> Origin:
    hops = request.headers.get(HOPS_HEADER, "")
    return Origin(
        request.method,
        f"{path}?{raw_query}" if raw_query else path,
        {name: request.headers[name] for name in _WHO_ASKS if name in request.headers},
        int(hops) if hops in ("1", "2") else 0,
    )


async def receive(request: Incoming, endpoint: Endpoint, limit: int, body_deadline: float, share: Share) -> bytes:
    """The whole body: at most `limit` bytes, within `body_deadline` seconds, counted in `share`.

    A backup has more time and isn't counted: few may send one, and it is larger than all other bodies together.
    """
    if isinstance(request, PlainRequest):
        if len(request.body) > limit:
            raise too_large(limit)
        share.grow(len(request.body))
        return request.body
    within = _LARGE_BODY_DEADLINE if endpoint.largest_body else body_deadline
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ApiError(400, "validation: this Content-Encoding is not supported; send the body as it is")
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    if expects_continue(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > limit:
                    raise too_large(limit)
                if not endpoint.largest_body:
                    share.grow(len(body) + len(chunk))
                body += chunk
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {within:g} s") from None
    except web.RequestPayloadError:
        raise ApiError(400, "validation: the body broke off or is not framed as its headers say") from None
    return bytes(body)


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"validation: the body is larger than {limit} bytes")


def expects_continue(request: BaseRequest) -> bool:
    return request.headers.get("Expect", "").lower() == "100-continue"
