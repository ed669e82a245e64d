"""How a new node becomes a member: it learns from one which cluster that is, and asks to be added until it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

import aiohttp
import structlog

from volstore.http.operations import NewPeer
from volstore.http.server.members import MembersHttp

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


def _headers() -> dict[str, str]:
    """The token to ask with, from where the command line has it too; members with access control want management's."""
    token = os.environ.get("VOLSTORE_TOKEN")
    return {"X-Nomad-Token": token} if token else {}


async def learn_cluster(addresses: Sequence[str], members: MembersHttp) -> str:
    """The id of the cluster that the members at these HTTP addresses belong to; asks until one answers."""
    told = _Told()
    async with aiohttp.ClientSession(timeout=_LEARN_TIMEOUT, headers=_headers()) as session:
        while True:
            for address in addresses:
                try:
                    url = members.url(address, "/v1/operator/raft/configuration")
                    async with session.get(url, **members.options) as response:
                        if response.status == 200:
                            return str((await response.json())["ClusterID"])
                        told.why_not(address, await response.text())
                except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
                    told.why_not(address, str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_AFTER)


async def ask_to_be_added(
    addresses: Sequence[str], peer: NewPeer, added: Callable[[], bool], members: Callable[[], MembersHttp]
) -> None:
    """Ask the members to add `peer` until `added` says that this node knows it has its vote."""
    told = _Told()
    body = {
        "Address": peer.address,
        "Incarnation": peer.incarnation.hex(),
        "Level": peer.level,
        "Name": peer.name,
    }
    async with aiohttp.ClientSession(timeout=_ADD_TIMEOUT, headers=_headers()) as session:
        while not added():
            for address in addresses:
                try:
                    url, options = members().url(address, "/v1/operator/raft/peer"), members().options
                    async with session.put(url, json=body, **options) as response:
                        if response.status == 200:
                            break
                        told.why_not(address, await response.text())
                except (aiohttp.ClientError, TimeoutError) as error:
                    told.why_not(address, str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_AFTER)
    _log.info("joined", name=peer.name)
