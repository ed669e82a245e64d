"""How a new node becomes a member: it asks a member for the cluster's id, then asks to be added until it has a vote."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence

import structlog

from volstore.http.cluster_admin import NewPeer
from volstore.http.server.members import MembersClient, MemberUnreachable

_RETRY_AFTER = 1.0
_LEARN_SECONDS = 5.0
_ADD_SECONDS = 40.0
"""More than a member takes to answer that we have not caught up yet."""

_log = structlog.get_logger("volstore.joining")


class _Obstacles:
    """Logs what holds up joining: once, not at every attempt."""

    def __init__(self) -> None:
        self._last = ("", "")

    def log(self, address: str, reason: str) -> None:
        if (address, reason) != self._last:
            self._last = address, reason
            _log.warning("join_waits", member=address, reason=reason)


def _headers() -> dict[str, str]:
    """The token of the command line's variable. Members with access control ask for a management token."""
    token = os.environ.get("VOLSTORE_TOKEN")
    return {"X-Nomad-Token": token} if token else {}


async def learn_cluster(addresses: Sequence[str], members: MembersClient) -> str:
    """The id of the cluster of the members at these HTTP addresses. Asks until one answers."""
    obstacles = _Obstacles()
    path = "/v1/operator/raft/configuration"
    while True:
        for address in addresses:
            try:
                answer = await members.ask(address, path, headers=_headers(), seconds=_LEARN_SECONDS)
                if answer.status == 200:
                    return str(json.loads(answer.body)["ClusterID"])
                obstacles.log(address, answer.text or f"it answered {answer.status}")
            except (MemberUnreachable, ValueError, KeyError, TypeError) as error:
                obstacles.log(address, str(error) or type(error).__name__)
        await asyncio.sleep(_RETRY_AFTER)


async def ask_to_be_added(
    addresses: Sequence[str], peer: NewPeer, added: Callable[[], bool], members: MembersClient
) -> None:
    """Ask the members to add `peer` until `added` says that this node's own log shows its vote."""
    obstacles = _Obstacles()
    body = json.dumps(
        {
            "Address": peer.address,
            "Incarnation": peer.incarnation.hex(),
            "Level": peer.level,
            "Name": peer.name,
        }
    ).encode()
    headers = {**_headers(), "Content-Type": "application/json"}
    path = "/v1/operator/raft/peer"
    while not added():
        for address in addresses:
            try:
                answer = await members.ask(
                    address, path, method="PUT", headers=headers, body=body, seconds=_ADD_SECONDS
                )
                if answer.status == 200:
                    break
                obstacles.log(address, answer.text or f"it answered {answer.status}")
            except MemberUnreachable as error:
                obstacles.log(address, str(error))
        await asyncio.sleep(_RETRY_AFTER)
    _log.info("joined", name=peer.name)
