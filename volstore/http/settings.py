"""What an operator may set about the HTTP side, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Times are in seconds, sizes in bytes.

    `deadline` bounds how long a read or write looks for a leader; `body_deadline` how long a client may take to
    send its body; answers from `gzip_from` on are compressed for clients that accept it. `bootstrap_reset` is the file
    in which an operator writes that access control may be bootstrapped again. The last two bound each caller while
    access control is on; 0: no limit.
    """

    region: str = "global"
    datacenter: str = "dc1"
    version: str = "0.1.0"
    max_body_bytes: int = 4 * 1024 * 1024
    deadline: float = 5.0
    body_deadline: float = 30.0
    gzip_from: int = 1024
    acl_enabled: bool = False
    bootstrap_reset: Path | None = None
    requests_per_second: float = 0.0
    waiters_per_token: int = 0
