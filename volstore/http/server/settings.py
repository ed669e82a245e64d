"""The operator's settings of the HTTP side, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from volstore.http.server.members import MembersClient


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Times are in seconds, sizes in bytes.

    `deadline` bounds how long a read or write looks for a leader; `body_deadline` how long a client may take to send
    its body, `head_deadline` that of a request's head, and of a TLS handshake; `send_deadline` how long it may take
    nothing of an answer; `idle_timeout` how long a connection may be without a request. `max_header_bytes` is for all
    headers of a request, `max_bodies_bytes` for the bodies of all requests under way. `max_connections_per_client`
    counts by address: None is the default, 0 no limit. Answers from `gzip_from` on are compressed for clients that
    accept it. `bootstrap_reset` is the file in which an operator writes that access control may be bootstrapped again.
    `requests_per_second` and `waiters_per_token` bound each caller while access control is on; 0: no limit. `members`
    sends requests to other members; the server closes it.
    """

    region: str = "global"
    datacenter: str = "dc1"
    version: str = "0.1.0"
    max_body_bytes: int = 4 * 1024 * 1024
    max_bodies_bytes: int = 32 * 1024 * 1024
    deadline: float = 5.0
    body_deadline: float = 30.0
    head_deadline: float = 10.0
    send_deadline: float = 60.0
    idle_timeout: float = 75.0
    max_url_bytes: int = 8 * 1024
    max_header_bytes: int = 32 * 1024
    max_connections: int = 20_000
    max_connections_per_client: int | None = None
    gzip_from: int = 1024
    acl_enabled: bool = False
    metrics_require_token: bool = False
    bootstrap_reset: Path | None = None
    requests_per_second: float = 0.0
    waiters_per_token: int = 0
    members: MembersClient = field(default_factory=MembersClient)
