"""The registry over HTTP: one member at a time, the next one when that fails.

What it is asked for is the node's own: its work, its reports, its claims. It shows its secret as its token; only the
first registration takes a token that may write nodes.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from volstore.node.identity import Identity
from volstore.node.work import HostReport, Outcome, RegistryUnavailable, Work

POLL_SECONDS = 60.0
"""For so long the registry holds a poll for which there is nothing new."""
ANSWER_SECONDS = 15.0
"""Beyond which an answer isn't waited for."""
_TEXT = 2048

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """`index`: the registry's, 0 if it said none."""

    status: int
    text: str
    index: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Refused(Exception):
    """The registry said no; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text or f"status {status}")
        self.status = status


class NotKnown(RegistryUnavailable):
    """The registry doesn't know this node, or not as one that manages its volumes."""


def segment(text: str) -> str:
    return quote(text, safe="")


class Registry:
    """`servers` are URLs. It is a `WorkSource` and the agent's `Reports`. Open it with `async with`."""

    def __init__(
        self, servers: tuple[str, ...], identity: Identity, *, tls: ssl.SSLContext | None, token_file: Path | None
    ) -> None:
        self.identity = identity
        self._servers = servers
        self._tls = tls
        self._token_file = token_file
        self._at = 0
        self._session: aiohttp.ClientSession | None = None
        self.known, self.unknown = asyncio.Event(), asyncio.Event()
        """Whether the registry knows this node, as far as it was heard."""

    async def __aenter__(self) -> Registry:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        parameters: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        token: str | None = None,
    ) -> Answer:
        """The answer of the first member that has one, whatever it says; 5xx and 429 are none.

        Raises RegistryUnavailable with what the last one said.
        """
        why = "no server is given"
        for _ in self._servers:
            server = self._servers[self._at % len(self._servers)]
            try:
                answer = await self._ask_one(server, method, path, body, parameters or {}, seconds, token)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = f"{server}: {str(error) or type(error).__name__}"
            else:
                if answer.status < 500 and answer.status != 429:
                    return answer
                why = f"{server}: {answer.text.strip()[:_TEXT] or answer.status}"
            self._at += 1
        raise RegistryUnavailable(why)

    async def _ask_one(
        self,
        server: str,
        method: str,
        path: str,
        body: Any,
        parameters: Mapping[str, str],
        seconds: float,
        token: str | None,
    ) -> Answer:
        if self._session is None:
            raise RuntimeError("the registry is used outside of its `async with`")
        data = None if body is None else (body if isinstance(body, bytes) else msgspec.json.encode(body))
        async with self._session.request(
            method,
            server + path,
            data=data,
            params=dict(parameters),
            headers={
                "X-Nomad-Token": self.identity.secret if token is None else token,
                "Content-Type": "application/json",
            },
            ssl=self._tls if self._tls is not None else True,
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5),
            allow_redirects=False,
        ) as response:
            index = response.headers.get("X-Nomad-Index", "")
            return Answer(response.status, await response.text(), int(index) if index.isdecimal() else 0)

    async def done(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """As `ask`, of what must succeed. Raises Refused, too."""
        answer = await self.ask(method, path, body, **options)
        if answer.status >= 300:
            raise Refused(answer.status, answer.text.strip()[:_TEXT])
        return answer

    # The agent's ports.

    async def poll(self, index: int) -> Work:
        await self.known.wait()
        parameters = {"index": str(index), "wait": f"{POLL_SECONDS:g}s"} if index else {}
        answer = await self.ask(
            "GET", self._own("work"), parameters=parameters, seconds=POLL_SECONDS * 1.2 + ANSWER_SECONDS
        )
        self._must_be_known(answer)
        try:
            return msgspec.json.decode(answer.text, type=Work)
        except msgspec.DecodeError as error:
            raise RegistryUnavailable(f"its work can't be read: {error}") from None

    async def attachments(self, report: HostReport) -> None:
        self._must_be_known(await self.ask("PUT", self._own("attachments"), report))

    async def outcome(self, operation_id: str, outcome: Outcome) -> bool:
        answer = await self.ask("PUT", f"/v1/operation/{segment(operation_id)}/outcome", outcome)
        if answer.status == 409:
            log.info("outcome_superseded", operation=operation_id, reason=answer.text.strip()[:_TEXT])
            return False
        self._must_be_known(answer)
        return True

    def _own(self, what: str) -> str:
        return f"/v1/node/{segment(self.identity.id)}/{what}"

    def _must_be_known(self, answer: Answer) -> None:
        if answer.status in (403, 404):
            self.known.clear()
            self.unknown.set()
            raise NotKnown(answer.text.strip()[:_TEXT])
        if answer.status >= 300:
            raise RegistryUnavailable(answer.text.strip()[:_TEXT] or f"status {answer.status}")

    # Who and how this node is.

    async def register(self, node: Mapping[str, Any]) -> float:
        """Report this node; the seconds within which to be heard again. Raises Refused and RegistryUnavailable."""
        path = f"/v1/node/{segment(self.identity.id)}"
        answer = await self.ask("PUT", path, dict(node))
        if answer.status == 403 and (token := self._token()):
            answer = await self.ask("PUT", path, dict(node), token=token)
        if answer.status >= 300:
            raise Refused(answer.status, answer.text.strip()[:_TEXT])
        self.unknown.clear()
        self.known.set()
        return _seconds(answer)

    async def heartbeat(self) -> float:
        """As `register`. Raises NotKnown, too."""
        answer = await self.ask("PUT", self._own("heartbeat"))
        self._must_be_known(answer)
        return _seconds(answer)

    def _token(self) -> str:
        """Read each time: it may be replaced, and it may be gone once the node is known."""
        if self._token_file is None:
            return ""
        try:
            return self._token_file.read_text().strip()
        except OSError as error:
            log.warning("token_file_unreadable", file=str(self._token_file), reason=error.strerror)
            return ""


def _seconds(answer: Answer) -> float:
    return float(answer.json.get("HeartbeatTTL", 0)) / 1e9
