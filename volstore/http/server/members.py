"""The client with which a member sends requests to other members over HTTP or HTTPS."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL


class MemberUnreachable(Exception):
    """No answer came; the text says why. The request may have taken effect all the same."""


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """An HTTP response; `body` is all of it."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class MembersClient:
    """One session for all requests of a node to other members.

    It follows no redirects: requests carry tokens, and those are for members only. It reuses no connections either:
    aiohttp repeats a request when a reused connection turns out closed, and a change of the cluster must not be sent
    twice.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "") -> None:
        """`tls` presents our certificate; every member's certificate proves the name `host`. Without `tls`: HTTP."""
        self._tls = tls
        self._host = host
        self._session: aiohttp.ClientSession | None = None

    def use(self, tls: ssl.SSLContext | None, host: str) -> None:
        """Send the next requests with these."""
        self._tls, self._host = tls, host

    async def ask(
        self,
        address: str,
        target: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float,
        connect_seconds: float | None = None,
    ) -> MemberAnswer:
        """Send a request to the member at "HOST:PORT". `target` is path and query, encoded.

        `seconds` bounds the whole request, `connect_seconds` the connection. Raises MemberUnreachable.
        """
        if self._session is None:
            # No limit of its own: each request here is made for one request that the server has let in.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        try:
            async with self._session.request(
                method,
                URL(f"{'http' if self._tls is None else 'https'}://{address}{target}", encoded=True),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=connect_seconds),
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls,
                server_hostname=None if self._tls is None else self._host,
            ) as response:
                return MemberAnswer(response.status, await response.read(), response.headers)
        except TimeoutError as error:
            raise MemberUnreachable(str(error) or f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise MemberUnreachable(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Close the session. A later `ask` opens another one."""
        if self._session is not None:
            await self._session.close()
            self._session = None
