"""How a new node becomes a member: it learns from one which cluster that is, and asks to be added until it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp
import structlog
from yarl import URL

from volstore.operations import NewPeer

_AGAIN_AFTER = 1.0
_LEARN_TIMEOUT = aiohttp.ClientTimeout(total=5)
_ADD_TIMEOUT = aiohttp.ClientTimeout(total=40)
"""Above what a member takes to say that we have not caught up yet."""

_log = structlog.get_logger("volstore.joining")


class _Told:
    """Logs what is in the way once, not at every attempt."""

    def __init__(self) -> None:
        self._last = ""

    def why_not(self, address: str, reason: str) -> None:
        if (said := f"{address}: {reason}") != self._last:
            self._last = said
            _log.warning("join_waits", member=address, reason=reason)


async def learn_cluster(addresses: Sequence[str]) -> str:
    """The id of the cluster that the members at these HTTP addresses belong to; asks until one answers."""
    told = _Told()
    async with aiohttp.ClientSession(timeout=_LEARN_TIMEOUT) as session:
        while True:
            for address in addresses:
                try:
                    async with session.get(_url(address, "/v1/operator/raft/configuration")) as response:
                        if response.status == 200:
                            return str((await response.json())["ClusterID"])
                        told.why_not(address, await response.text())
                except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
                    told.why_not(address, str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_AFTER)


async def ask_to_be_added(addresses: Sequence[str], peer: NewPeer, added: Callable[[], bool]) -> None:
    """Ask the members to add `peer` until `added` says that this node knows it has its vote."""
    told = _Told()
    body = {"Address": peer.address, "Incarnation": peer.incarnation.hex(), "Name": peer.name}
    async with aiohttp.ClientSession(timeout=_ADD_TIMEOUT) as session:
        while not added():
            for address in addresses:
                try:
                    async with session.put(_url(address, "/v1/operator/raft/peer"), json=body) as response:
                        if response.status == 200:
                            break
                        told.why_not(address, await response.text())
                except (aiohttp.ClientError, TimeoutError) as error:
                    told.why_not(address, str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_AFTER)
    _log.info("joined", name=peer.name)


def _url(address: str, path: str) -> URL:
    return URL(f"http://{address}{path}", encoded=True)
