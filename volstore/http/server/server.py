"""The HTTP server: aiohttp carries the bytes, the router finds the endpoint, the pipeline makes the answer."""

from __future__ import annotations

import asyncio
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
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from volstore.core.errors import ApiError
from volstore.http.endpoints.lists import VolumeLists
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.json.parameters import Query
from volstore.http.json.reader import in_one_turn, read_batch
from volstore.http.json.replies import Reply, refusal
from volstore.http.registry import Registry
from volstore.http.server.admission import Admission, Ticket
from volstore.http.server.answers import Answer, answer_to, away
from volstore.http.server.audit import NOT_AUDITED, AuditedRequest, AuditLog
from volstore.http.server.bodies import SMALL, Bodies, Share, Turns
from volstore.http.server.call import NO_ORIGIN, Call, Service
from volstore.http.server.caller import HttpCaller, secret_of
from volstore.http.server.connection import Connection
from volstore.http.server.declaration import Operation, Read, Write
from volstore.http.server.incoming import (
    Incoming,
    check_head,
    expects_continue,
    idempotency_keys,
    idempotency_of,
    origin_of,
    receive,
    target_of,
    too_large,
)
from volstore.http.server.limits import RequestRate, WaitersOfCallers
from volstore.http.server.listener import HttpListener, room_for
from volstore.http.server.openapi import document_route
from volstore.http.server.pipeline import Pipeline
from volstore.http.server.plain import PlainConnection, PlainConnections, PlainRequest
from volstore.http.server.requests import RequestFigures
from volstore.http.server.router import API, Route, Router
from volstore.http.server.settings import HttpSettings

T = TypeVar("T")

_log = structlog.get_logger("volstore.http")

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_RUN, _numbers = os.urandom(6).hex(), count(1)
"""The beginning and the end of the request IDs that this process gives."""
_SHUTDOWN_TIMEOUT = 2.0


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
        """Answer blocking queries with the present state, let running requests end, close the connections."""
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
        if expects_continue(request) and not request.content.is_eof():
            # Whether the body that it was not told to send comes all the same can't be known, nor thus what comes next.
            response.force_close()
        return response

    async def answer(self, request: Incoming) -> Answer:
        """The answer to any request. An internal error is described in the log only."""
        started = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if given and _SANE_REQUEST_ID.fullmatch(given) else f"{_RUN}-{next(_numbers)}"
        path, _, raw_query = target_of(request).partition("?")
        route: Route | None = None
        audited = NOT_AUDITED if self.audit is None else AuditedRequest(self.audit, request_id, request.method)
        failure = None
        try:
            if not isinstance(request, PlainRequest):
                check_head(request, self._settings)
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
        answer = await answer_to(reply, request.headers, self._settings.gzip_from)
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
        request: Incoming,
        route: Route,
        ids: tuple[str, ...],
        path: str,
        raw_query: str,
        audited: AuditedRequest,
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
        caller = HttpCaller(secret, request.remote or "", restricted=restricted, clock=self._registry.log_now)
        if caller.restricted:
            self._rate.take(caller.name(self._registry.state))
        if audited.begins(endpoint, caller, ids, query.namespace):
            await audited.note_attempt()
        origin = origin_of(request, path, raw_query) if isinstance(endpoint, Operation) else NO_ORIGIN
        if caller.restricted and (endpoint.body is not None or not isinstance(endpoint, Read)):
            await self._pipeline.admit(endpoint, Call(self._service, query, ids, b"", origin, caller))
        limit = endpoint.body_limit(self._settings.max_body_bytes)
        share: Share | None = None
        try:
            if not limit:
                body = b""
            elif isinstance(request, PlainRequest) and len(request.body) <= SMALL:
                body = request.body  # It is here, and gone before anything else comes.
                if len(body) > limit:
                    raise too_large(limit)
            else:
                share = self._bodies.share()
                body = await receive(request, endpoint, limit, self._settings.body_deadline, share)
            batch = None
            if endpoint.batch is not None and not in_one_turn(body):
                batch = await self._bodies.in_turns(read_batch(body, endpoint.batch))
            call = Call(self._service, query, ids, body, origin, caller, batch=batch)
            idempotency = None
            if isinstance(endpoint, Write) and (keys := idempotency_keys(request, query)):
                idempotency = await idempotency_of(keys, request, path, raw_query, body)
            reply = await self._pipeline.run(endpoint, call, idempotency)
        finally:
            if share is not None:
                share.give_back()
        if reply.json is not None and query.pretty:
            reply.json = await away(reply.json, reply.json.indented)
        return reply


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
