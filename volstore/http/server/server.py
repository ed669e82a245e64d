"""The HTTP server: aiohttp carries the bytes, the router finds the endpoint, the pipeline makes the answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import structlog
from aiohttp import HttpVersion10, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from volstore.core.commands import Idempotency
from volstore.core.errors import ApiError
from volstore.http.endpoints.lists import VolumeLists
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.json.parameters import Query
from volstore.http.json.reader import PIECE_BYTES, in_one_turn, read_batch
from volstore.http.json.replies import JSON, TEXT, Json, Reply, refusal
from volstore.http.json.shape import Batch
from volstore.http.registry import Registry
from volstore.http.server.admission import Admission, Ticket
from volstore.http.server.asker import Asker, secret_of
from volstore.http.server.audit import AuditLog
from volstore.http.server.audited import Audited
from volstore.http.server.bodies import SMALL, Bodies, Share, Turns
from volstore.http.server.call import NO_ORIGIN, Call, Origin, Service
from volstore.http.server.connection import Connection, headers_too_large, url_too_long
from volstore.http.server.declaration import Endpoint, Operation, Read, Write
from volstore.http.server.forward import HOPS_HEADER
from volstore.http.server.limits import RequestRate, WaitersOfCallers
from volstore.http.server.listener import HttpListener, room_for
from volstore.http.server.openapi import document_route
from volstore.http.server.pipeline import Pipeline
from volstore.http.server.plain import Answer, PlainConnection, PlainConnections, PlainRequest
from volstore.http.server.requests import RequestFigures
from volstore.http.server.router import API, Route, Router
from volstore.http.server.settings import HttpSettings

T = TypeVar("T")

_log = structlog.get_logger("volstore.http")

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_RUN, _numbers = os.urandom(6).hex(), count(1)
"""What the request IDs that this process gives begin and end with."""
_LONGEST_KEY = 255
_LARGE_BODY_DEADLINE = 600.0
_WHO_ASKS = ("X-Nomad-Token", "Authorization", "X-Request-Id")
_SHUTDOWN_TIMEOUT = 2.0
_LONG_WORK = 64 * 1024
"""Bytes of an answer from which on compressing and indenting take more than a millisecond."""
_JSON_HEADERS = {"Server": "volstore", "Content-Type": JSON, "Vary": "Accept-Encoding"}


class _ConnectionLog(logging.Logger):
    """Where aiohttp tells of connections: what a stranger sends that isn't HTTP is his mistake, the rest a defect."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            _log.debug("http_malformed_request", why=str(exc_info)[:200])
        else:
            _log.error("http_connection_failed", what=str(msg), exc_info=exc_info)


class HttpServer:
    """Serves one registry. `draw` gives numbers from [0, 1), for the jitter of waits."""

    def __init__(
        self,
        registry: Registry,
        settings: HttpSettings,
        more: tuple[Route, ...] = (),
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`more`: routes of a node that is operated, beside the registry's own."""
        self.requests = RequestFigures()
        self.audit: AuditLog | None = None
        """Where writes and denied requests are noted; whoever opens it closes it."""
        self._log = _log.bind()  # not looked up anew for every request
        self._registry = registry
        self._settings = settings
        self._service = Service(registry, settings, VolumeRenderer(), VolumeLists())
        self._waiters = WaitersOfCallers(0)
        self._bodies = Bodies(settings.max_bodies_bytes)
        self._pipeline = Pipeline(draw, self._waiters)
        self._limit_callers()
        routes = (*API, *more)
        self._router = Router((*routes, document_route(settings.version, routes)))
        self._runner: web.ServerRunner | None = None
        self._plain: PlainConnections | None = None
        self._listener: HttpListener | None = None
        self.admission = Admission(room_for(settings.max_connections), settings.max_connections_per_client)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> str:
        """Listen, and return the "HOST:PORT" that is bound (for port 0). Raises OSError where it can't."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = _listen(family, host, port)
        server = web.Server(
            self._serve,
            handler_cancellation=True,  # a client that hangs up frees its waiter
        )
        loop, log, turns = asyncio.get_running_loop(), _ConnectionLog("volstore.http.connection"), Turns()

        def aiohttps(ticket: Ticket) -> Connection:
            options = {"loop": loop, "access_log": None, "logger": log, "auto_decompress": False, "lingering_time": 2.0}
            return Connection(server, ticket, self._settings, turns, **options)

        plain = self._plain = PlainConnections(self.answer, aiohttps)

        def connection(ticket: Ticket) -> PlainConnection:
            return PlainConnection(plain, ticket, self._settings)

        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await self._runner.setup()
        self._listener = HttpListener(
            listening, self.admission, connection, tls, handshake_timeout=self._settings.head_deadline
        )
        bound = listening.getsockname()
        return f"[{bound[0]}]:{bound[1]}" if family == socket.AF_INET6 else f"{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Answer who waits with what there is now, let running requests end, close the connections."""
        self._registry.watch.close()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._plain is not None:
            await self._plain.stop(_SHUTDOWN_TIMEOUT)
            self._plain = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._settings.members.close()

    def _limit_callers(self) -> None:
        """Only where callers can be told apart."""
        limited = self._settings.acl_enabled
        self._rate = RequestRate(self._settings.requests_per_second if limited else 0.0, time.monotonic)
        self._waiters.most = self._settings.waiters_per_token if limited else 0

    async def _serve(self, request: BaseRequest) -> web.Response:
        status, headers, body = await self.answer(request)
        response = web.Response(status=status, headers=headers, body=body)
        if _expects_continue(request) and not request.content.is_eof():
            # Whether the body that it was not told to send comes all the same can't be known, nor thus what comes next.
            response.force_close()
        return response

    async def answer(self, request: BaseRequest | PlainRequest) -> Answer:
        """Whatever comes, an answer; what went wrong inside is told to the log only."""
        started = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if given and _SANE_REQUEST_ID.fullmatch(given) else f"{_RUN}-{next(_numbers)}"
        path, _, raw_query = _target(request).partition("?")
        route: Route | None = None
        audited, failure = Audited(self.audit, request_id, request.method), None
        try:
            if not isinstance(request, PlainRequest):
                self._check_head(request)
            route, ids = self._router.find(path)
            reply = await self._reply(request, route, ids, path, raw_query, audited)
        except ApiError as error:
            reply, failure = refusal(error), error
        except (asyncio.CancelledError, ConnectionError):
            audited.left()
            _log.debug("http_client_left", method=request.method, path=path, request_id=request_id)
            raise
        except Exception:
            _log.exception("http_request_failed", method=request.method, path=path, request_id=request_id)
            reply = Reply(
                status=500,
                text=f"internal error; the log of this node tells more under request id {request_id}",
                headers={"X-Request-Id": request_id},
            )
        if given and given == request_id:
            reply.headers = {**reply.headers, "X-Request-Id": request_id}
        audited.ended(reply, failure)
        # Its traceback has this frame, and those that had the body: together they would stay until the next collection.
        failure = None
        packs = reply.json is not None and len(reply.json.raw) >= self._settings.gzip_from
        if packs and (accepted := request.headers.get("Accept-Encoding")) and _takes_gzip(accepted):
            answer = await _packed(reply)
        else:
            answer = _unpacked(reply)
        seconds = time.perf_counter() - started
        self.requests.answered(route, request.method, reply.status, seconds)
        self._log.debug(
            "http_request",
            method=request.method,
            path=path,
            status=reply.status,
            ms=round(seconds * 1000, 3),
            request_id=request_id,
        )
        return answer

    def use_tls(self, tls: ssl.SSLContext) -> None:
        """For new connections of a server that was started with TLS; those that are open go on."""
        if self._listener is None or self._listener.tls is None:
            raise RuntimeError("whether there is TLS is decided at the start")
        self._listener.tls = tls

    def use(self, settings: HttpSettings) -> None:
        """From now on, the limits of a connection from the next one on. Version, region and whether there is access
        control stay what they were.
        """
        self._settings = settings = replace(settings, acl_enabled=self._settings.acl_enabled)
        self._limit_callers()
        self._bodies.most = settings.max_bodies_bytes
        self.admission.most = room_for(settings.max_connections)
        self.admission.most_of_client = settings.max_connections_per_client
        self._service = replace(self._service, settings=settings)

    async def _reply(
        self,
        request: BaseRequest | PlainRequest,
        route: Route,
        ids: tuple[str, ...],
        path: str,
        raw_query: str,
        audited: Audited,
    ) -> Reply:
        method = request.method
        if method == "OPTIONS":
            return Reply(status=204, headers={"Allow": ", ".join(route.allow)})
        endpoint = route.endpoint(method)
        query = Query(raw_query)
        if raw_query:
            query.check(endpoint.known)
        region = query.text("region")
        if region not in ("", self._settings.region):
            raise ApiError(
                400, f"No path to region: validation: the one region of this cluster is {self._settings.region}"
            )
        restricted = self._settings.acl_enabled
        secret = secret_of(request.headers) if restricted else ""
        asker = Asker(secret, request.remote or "", restricted=restricted, clock=self._registry.log_now)
        if asker.restricted:
            self._rate.take(asker.name(self._registry.state))
        if audited.begins(endpoint, asker, ids, query.namespace):
            await audited.note_attempt()
        origin = _origin(request, path, raw_query) if isinstance(endpoint, Operation) else NO_ORIGIN
        if asker.restricted and (endpoint.body is not None or not isinstance(endpoint, Read)):
            await self._pipeline.admit(endpoint, Call(self._service, query, ids, b"", origin, asker))
        limit = self._largest_body(endpoint)
        share: Share | None = None
        try:
            if not limit:
                body = b""
            elif isinstance(request, PlainRequest) and len(request.body) <= SMALL:
                body = request.body  # It is here, and gone before anything else comes.
                if len(body) > limit:
                    raise _too_large(limit)
            else:
                share = self._bodies.share()
                body = await self._body(request, endpoint, limit, share)
            batch = None if endpoint.batch is None or in_one_turn(body) else await self._batch(body, endpoint.batch)
            call = Call(self._service, query, ids, body, origin, asker, batch=batch)
            idempotency = None
            if isinstance(endpoint, Write) and (keys := _keys(request, query)):
                idempotency = await _idempotency(keys, request, path, raw_query, body)
            reply = await self._pipeline.run(endpoint, call, idempotency)
        finally:
            if share is not None:
                share.give_back()
        if reply.json is not None and query.pretty:
            reply.json = await _away(reply.json, reply.json.indented)
        return reply

    def _check_head(self, request: BaseRequest) -> None:
        """What aiohttp's parser lets through: it takes headers one by one, and a little more than it says."""
        if request.version < HttpVersion10:  # HTTP/0.9 knows no headers, and so nothing of all this
            raise ApiError(400, "validation: HTTP/1.1 is spoken here")
        if len(request.raw_path) > self._settings.max_url_bytes:
            raise ApiError(414, url_too_long(self._settings))
        if sum(len(name) + len(value) for name, value in request.raw_headers) > self._settings.max_header_bytes:
            raise ApiError(431, headers_too_large(self._settings))

    def _largest_body(self, endpoint: Endpoint) -> int:
        """In bytes; 0 where none is taken. What isn't a batch is read in one turn."""
        if endpoint.largest_body or endpoint.body is None:
            return endpoint.largest_body
        most = self._settings.max_body_bytes
        return most if endpoint.batch is not None else min(most, PIECE_BYTES)

    async def _batch(self, body: bytes, kind: Batch[Any]) -> tuple[Any, ...]:
        return await self._bodies.in_turns(read_batch(body, kind))

    async def _body(self, request: BaseRequest | PlainRequest, endpoint: Endpoint, limit: int, share: Share) -> bytes:
        """The whole body, within the limits of size and time, and of all bodies together.

        A backup isn't counted among those: few may send one, and it is larger than all others together.
        """
        if isinstance(request, PlainRequest):
            if len(request.body) > limit:
                raise _too_large(limit)
            share.grow(len(request.body))
            return request.body
        within = _LARGE_BODY_DEADLINE if endpoint.largest_body else self._settings.body_deadline
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise ApiError(400, "validation: this Content-Encoding is not supported; send the body as it is")
        if request.content_length is not None and request.content_length > limit:
            raise _too_large(limit)
        if _expects_continue(request):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        try:
            async with asyncio.timeout(within):
                while chunk := await request.content.readany():
                    if len(body) + len(chunk) > limit:
                        raise _too_large(limit)
                    if not endpoint.largest_body:
                        share.grow(len(body) + len(chunk))
                    body += chunk
        except TimeoutError:
            raise ApiError(408, f"the body did not come within {within:g} s") from None
        except web.RequestPayloadError:
            raise ApiError(400, "validation: the body broke off or is not framed as its headers say") from None
        return bytes(body)


async def _packed(reply: Reply) -> Answer:
    assert reply.json is not None
    headers = {**reply.headers, **_JSON_HEADERS, "Content-Encoding": "gzip"}
    return Answer(reply.status, headers, await _away(reply.json, reply.json.packed))


def _unpacked(reply: Reply) -> Answer:
    if reply.json is not None:
        return Answer(reply.status, {**reply.headers, **_JSON_HEADERS}, reply.json.raw)
    headers = {**reply.headers, "Server": "volstore"}
    if reply.content is not None:
        return Answer(reply.status, headers, reply.content)
    if reply.text:
        headers["Content-Type"] = TEXT
    return Answer(reply.status, headers, reply.text.encode(errors="backslashreplace"))


def _listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except BaseException:
        listening.close()
        raise
    return listening


def _target(request: BaseRequest | PlainRequest) -> str:
    """Path and query as they came, whether the request names the whole URL (as to a proxy) or not."""
    target = request.raw_path
    if isinstance(request, PlainRequest):
        return target
    return target.partition("#")[0] if target.startswith("/") else request.rel_url.raw_path_qs


def _keys(request: BaseRequest | PlainRequest, query: Query) -> list[str]:
    """The request's Idempotency-Keys: the headers and `idempotency_token`, as Nomad's clients send it."""
    keys = request.headers.getall("Idempotency-Key", ())
    token = query.text("idempotency_token")
    return list(dict.fromkeys((*keys, token))) if token else list(keys)


async def _idempotency(
    keys: list[str], request: BaseRequest | PlainRequest, path: str, raw_query: str, body: bytes
) -> Idempotency:
    """What the client's key stands for: this request, whole."""
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


def _origin(request: BaseRequest | PlainRequest, path: str, raw_query: str) -> Origin:
    hops = request.headers.get(HOPS_HEADER, "")
    return Origin(
        request.method,
        f"{path}?{raw_query}" if raw_query else path,
        {name: request.headers[name] for name in _WHO_ASKS if name in request.headers},
        int(hops) if hops in ("1", "2") else 0,
    )


def _expects_continue(request: BaseRequest) -> bool:
    return request.headers.get("Expect", "").lower() == "100-continue"


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() in ("gzip", "x-gzip"):
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality)
    return False


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"validation: the body is larger than {limit} bytes")


async def _away(json: Json, work: Callable[[], T]) -> T:
    """`work` on an answer's bytes: here when it is quick, in a thread when it would hold up everybody else."""
    if len(json.raw) < _LONG_WORK:
        return work()
    return await asyncio.get_running_loop().run_in_executor(None, work)
