"""How a member asks another over HTTP: in the clear, or as a member over TLS, believing members only."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from yarl import URL


@dataclass(frozen=True, slots=True)
class MembersHttp:
    """`tls` shows our certificate; `host` is the name that every member's proves. Without `tls`, plain HTTP."""

    tls: ssl.SSLContext | None = None
    host: str = ""

    def url(self, address: str, target: str) -> URL:
        """`target` (path and query, encoded) at the "HOST:PORT" of a member."""
        return URL(f"{'http' if self.tls is None else 'https'}://{address}{target}", encoded=True)

    @property
    def options(self) -> dict[str, Any]:
        """What `aiohttp.ClientSession.request` must be given."""
        return {} if self.tls is None else {"ssl": self.tls, "server_hostname": self.host}


IN_THE_CLEAR = MembersHttp()
