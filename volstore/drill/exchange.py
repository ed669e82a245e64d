"""Sends one HTTP request, and says what is known afterwards: the answer, or whether the request may have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from multidict import CIMultiDict

from volstore.drill.record import Kind, Outcome
from volstore.drill.target import Access

_NOT_APPLIED = "the write was not applied"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. If `status` is None, none came: `error` says why, and `sent` whether the request may have arrived."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    sent: bool = True

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").strip() or self.error

    @property
    def index(self) -> int | None:
        return self._number("X-Nomad-Index")

    @property
    def staleness(self) -> float | None:
        """The seconds in X-Nomad-LastContact; None if the node knows no leader, because then it claims nothing."""
        contact = self._number("X-Nomad-LastContact")
        return contact / 1000 if contact is not None and self.headers.get("X-Nomad-KnownLeader") == "true" else None

    def json(self) -> Any:
        """The decoded body. Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body)

    def _number(self, name: str) -> int | None:
        text = self.headers.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else None


class Exchange:
    """An HTTP client for the nodes of one cluster, with connections that stay open.

    Create it on the loop that uses it.
    """

    def __init__(self, access: Access) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=access.tls if access.tls is not None else True)
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        self._session = aiohttp.ClientSession(connector=connector, headers=access.headers, trace_configs=[trace])

    async def close(self) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        url: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        key: str = "",
        within: float,
    ) -> Answer:
        """Send a request; a failure is an Answer too. `key` is its Idempotency-Key, `within` its time-out in seconds.

        If a reused connection turns out closed, aiohttp retries once, as Nomad's Go clients do.
        """
        query = f"?{urlencode(parameters)}" if parameters else ""
        trace = SimpleNamespace(sent=False)
        headers: CIMultiDict[str] = CIMultiDict({"Idempotency-Key": key} if key else {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                f"{url}{path}{query}",
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=within),
                trace_request_ctx=trace,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, await response.read(), response.headers)
        except TimeoutError:
            return Answer(None, error=f"no answer within {within:g} s", sent=trace.sent)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(None, error=str(error) or type(error).__name__, sent=trace.sent)


async def _note_sent(_session: object, context: SimpleNamespace, _parameters: object) -> None:
    """Note that the request was sent.

    The first of two tries counts: a failed connection of the second proves nothing.
    """
    context.trace_request_ctx.sent = True


def outcome_of(kind: Kind, answer: Answer) -> Outcome:
    """The request's outcome: a write may have had an effect unless the answer says that it had none."""
    if answer.status == 200:
        return Outcome.DONE
    if kind.writes:
        if answer.status is None:
            return Outcome.UNKNOWN if answer.sent else Outcome.REFUSED
        none = 400 <= answer.status < 500 or (answer.status == 503 and _NOT_APPLIED in answer.text)
        return Outcome.REFUSED if none else Outcome.UNKNOWN
    # "Not found" is a valid read if the answer has an index.
    if answer.status == 404 and answer.index is not None:
        return Outcome.DONE
    return Outcome.UNKNOWN if answer.status is None and answer.sent else Outcome.REFUSED
