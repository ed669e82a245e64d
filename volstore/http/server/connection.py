"""One HTTP connection as aiohttp carries it, with limits on what a client may leave half done or send too much of."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_request import BaseRequest

from volstore.http.server.admission import Ticket
from volstore.http.server.bodies import MUCH, Turns
from volstore.http.server.settings import HttpSettings

MOST_HEADERS = 100
FAREWELL = 1.0
"""Seconds in which a refused client can read why."""


class _Handler(web.RequestHandler):
    """aiohttp's handler of one connection, with names for what is private in it.

    aiohttp tells nobody when a head is whole, nor whether it waits for one, and both are needed to bound the time and
    the bytes of a head. `test_connection.py` fails when a name changes its meaning. Two methods are private
    too: `_pause_transport_reading`, and `_resume_transport_reading`, which `Connection` overrides to take turns.
    """

    __slots__ = ()

    @property
    def heads_read(self) -> int:
        """Whole heads that were parsed so far (`_request_count`: counted in `data_received`, before a handler runs)."""
        return self._request_count

    @property
    def waits_for_head(self) -> bool:
        """Whether no request is being handled (`_waiter`: what the handler's task waits for between two requests)."""
        return self._request_count == 0 or (self._waiter is not None and not self._waiter.done())

    @property
    def is_closing(self) -> bool:
        """Whether what comes is ignored (`_close`: set by `close()`)."""
        return self._close

    @property
    def pauses_reading(self) -> bool:
        """Whether aiohttp wants nothing more read now (`_reading_paused`: by a body, `_buffer_paused`: by requests)."""
        return self._reading_paused or self._buffer_paused


class Connection(_Handler):
    """Gives its ticket back when it ends.

    The head of a request must come within `head_deadline` of its first byte (the first head within it of the
    connection itself), and be no larger than the limits; an idle connection is closed after `idle_timeout`, and one
    that takes nothing of its answer for `send_deadline` too. aiohttp itself bounds none of these but the idle time.
    Large pieces are taken in `turns`, and no more is read meanwhile.
    """

    __slots__ = ("_head_bytes", "_head_timer", "_limits", "_send_timer", "_ticket", "_turns", "_untaken")

    def __init__(self, server: web.Server, ticket: Ticket, limits: HttpSettings, turns: Turns, **options: Any) -> None:
        super().__init__(
            server,
            keepalive_timeout=limits.idle_timeout,
            # The two must differ, as an error tells only the limit that was exceeded.
            max_line_size=limits.max_url_bytes,
            max_field_size=limits.max_header_bytes + (limits.max_header_bytes == limits.max_url_bytes),
            max_headers=MOST_HEADERS,
            **options,
        )
        self._ticket = ticket
        self._limits = limits
        self._turns = turns
        self._untaken: deque[bytes] = deque()
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ticket.give_back()
        self._untaken.clear()
        self._head_done()
        self._sent()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Empty: aiohttp itself goes on with what it has.
        if data and (self._untaken or len(data) >= MUCH) and not self.is_closing:
            self._untaken.append(data)
            self._pause_transport_reading()
            if len(self._untaken) == 1:
                self._turns.join(self._take_turn)
        else:
            self._take(data)

    def _take_turn(self) -> None:
        if self._untaken:
            try:
                self._take(self._untaken[0])
            except Exception as fault:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "reading a request failed", "exception": fault})
                self._abort()
                return
        if self._untaken:
            self._untaken.popleft()
        if self._untaken:
            self._turns.join(self._take_turn)
        elif not self.pauses_reading:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if not self._untaken:
            super()._resume_transport_reading()

    def _take(self, data: bytes) -> None:
        if self.is_closing:
            return
        before = self.heads_read
        super().data_received(data)
        if self.heads_read != before:
            self._head_done()
        elif self.waits_for_head:
            self._head_bytes += len(data)
            # The line of the request and the ends of lines are no headers, but there must be an end.
            if self._head_bytes > self._limits.max_header_bytes + self._limits.max_url_bytes + 1024:
                self._last_words(431, "Request Header Fields Too Large", headers_too_large(self._limits))
            elif self._head_timer is None:
                self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = asyncio.get_running_loop().call_later(self._limits.send_deadline, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._sent()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer bytes that aiohttp can't parse with our own status and a text of one line."""
        response = super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong) and exc.args[1] == self.max_line_size:
            status, text = 414, url_too_long(self._limits)
        elif isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and "many headers" in exc.message):
            status, text = 431, headers_too_large(self._limits)
        elif status == 400:
            reason = "".join(filter(str.isprintable, (message or "").strip().partition("\n")[0]))[:200]
            text = f"validation: this is not HTTP/1.1 as RFC 9112 has it: {reason}"
        else:
            return response
        self._ticket.refused(status)
        answer = web.Response(status=status, text=text, headers={"Server": "volstore"})
        answer.force_close()
        return answer

    def _await_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._limits.head_deadline, self._head_late)

    def _head_done(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.is_closing or not self.waits_for_head:
            return
        if self._head_bytes:
            text = f"the head of the request did not come within {self._limits.head_deadline:g} s"
            self._last_words(408, "Request Timeout", text)
        else:
            self.force_close()

    def _last_words(self, status: int, phrase: str, text: str) -> None:
        if self.transport is None:
            return
        self._head_done()
        self._ticket.refused(status)
        self.transport.write(last_words(status, phrase, text))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        # What still comes is ignored for a moment: an answer to it, of the kernel, could destroy what was said.
        self.close()
        self._head_timer = asyncio.get_running_loop().call_later(FAREWELL, self.force_close)

    def _sent(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _abort(self) -> None:
        """Not close(): it would wait for a client that reads nothing."""
        self._send_timer = None
        if self.transport is not None:
            self.transport.abort()


def url_too_long(limits: HttpSettings) -> str:
    return f"validation: the URL is longer than {limits.max_url_bytes} bytes"


def headers_too_large(limits: HttpSettings) -> str:
    return (
        f"validation: the headers are more than {MOST_HEADERS}, or larger than {limits.max_header_bytes} bytes in all"
    )


def last_words(status: int, phrase: str, text: str, more: str = "") -> bytes:
    """A whole answer, after which the connection is closed. `more`: header lines, each with its end."""
    head = f"HTTP/1.1 {status} {phrase}\r\nServer: volstore\r\nContent-Type: text/plain; charset=utf-8\r\n{more}"
    return f"{head}Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n{text}".encode()
