"""Jumps of a node's wall clock, with libfaketime. The monotonic clock stays unaffected, as on real machines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from volstore.drill.exchange import Exchange
from volstore.drill.local_node import LocalNode
from volstore.drill.target import Access, Fault, TargetError

_FOLDERS = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
_LIBRARY = "libfaketimeMT.so.1"
_SHOWS_WITHIN = 15.0
_LOOK_EVERY = 0.1
_WITHIN = 2.0
_EXACT = 2.0
"""Seconds: the node shows whole seconds, and libfaketime reads its file once per second."""


def library() -> Path | None:
    """The path of libfaketime for threaded programs; None if it is not installed."""
    for folder in _FOLDERS:
        for pattern in (f"faketime/{_LIBRARY}", f"*/faketime/{_LIBRARY}"):
            if found := next(Path(folder).glob(pattern), None):
                return found
    return None


def environment(file: Path) -> dict[str, str]:
    """The environment with which a node must start, so that `file` sets its clock."""
    found = library()
    if found is None:
        return {}
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Otherwise threads that wait by the monotonic clock, as Python's lock does, wake at once or far too late.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


class ClockJump:
    """Sets a node's clock. `file_of` returns the file that libfaketime reads."""

    def __init__(
        self, nodes: Mapping[str, LocalNode], file_of: Callable[[str], Path], access: Callable[[], Access]
    ) -> None:
        self._nodes = nodes
        self._file_of = file_of
        self._access = access

    def cannot(self, fault: Fault) -> str | None:
        if not sys.platform.startswith("linux"):
            return "the clock of a single process can be set on Linux only"
        return None if library() else "there is no libfaketime; on Debian: apt-get install libfaketime"

    def plan(self, fault: Fault) -> list[str]:
        return [
            f"the wall clock of {name} jumps by {fault.jump:+g} s (libfaketime); later: back" for name in fault.nodes
        ]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._jump(name, fault.jump)

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            if self._nodes[name].runs:
                await self._jump(name, 0.0)

    async def _jump(self, name: str, offset: float) -> None:
        """Set the clock, and wait until the node itself shows it. Raises TargetError."""
        self._file_of(name).write_text(f"{offset:+.3f}\n")
        exchange = Exchange(self._access())
        end = time.monotonic() + _SHOWS_WITHIN
        try:
            while abs(await self._ahead(exchange, name) - offset) > _EXACT:
                if time.monotonic() > end:
                    raise TargetError(f"the clock of {name} does not show a jump of {offset:+g} s")
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            await exchange.close()

    async def _ahead(self, exchange: Exchange, name: str) -> float:
        """The seconds by which the node's clock is ahead of ours; infinity without an answer."""
        answer = await exchange.ask("GET", self._nodes[name].node.url, "/v1/metrics", within=_WITHIN)
        if answer.status != 200:
            return float("inf")
        shown = datetime.strptime(answer.json()["Timestamp"], "%Y-%m-%d %H:%M:%S +0000 UTC")
        return shown.replace(tzinfo=UTC).timestamp() - time.time()
