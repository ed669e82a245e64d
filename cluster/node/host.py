"""The node as its parts see it. Each part gets this and, by name, the few others that it works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from cluster.net.rate_limit import Logger, RateLimitedLog
from cluster.options import Options
from cluster.raft.engine import Engine
from cluster.raft.messages import Frame


class Host(Protocol):
    """`engine` is another object after the journal was read again from a disk that had failed: never keep it.

    `running` is false once the node acts no more.
    """

    options: Options
    engine: Engine
    loop: asyncio.AbstractEventLoop
    running: bool
    log: Logger
    limited: RateLimitedLog

    def send(self, peer: str, frame: Frame) -> bool:
        """Queue a message; False when it was dropped: not connected, or its queue is full."""
        ...

    def step(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do `work` on the engine, and then all that follows from it."""
        ...

    def soon(self, work: Callable[[], None]) -> None:
        """Do `work` in the next turn of the loop; an exception in it ends the node."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the node."""
        ...
