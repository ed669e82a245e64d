"""Forwards requests that only the leader can serve, unchanged, with their token: one hop, two if the leader changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from volstore.core.errors import ApiError
from volstore.http.cluster_admin import LeadershipMoved
from volstore.http.json.replies import Reply
from volstore.http.registry import ServerView
from volstore.http.server.call import Call
from volstore.http.server.members import MemberUnreachable

HOPS_HEADER = "X-Volstore-Hops"
"""How many nodes a request has come through already."""
_MOST_HOPS = 2
_SECONDS, _CONNECT_SECONDS = 60.0, 2.0
_KEPT_HEADERS = ("Content-Type", "X-Nomad-Index", "Retry-After", "Digest")


async def on_leader(call: Call, reply: Callable[[Call], Awaitable[Reply]]) -> Reply:
    """The leader's answer: this node's own if it leads. Raises NoLeader past the deadline, ApiError."""
    name, leader = await _leader(call)
    if leader.name == name:
        try:
            return await reply(call)
        except LeadershipMoved:
            name, leader = await _leader(call)
    if leader.name == name or call.origin.hops >= _MOST_HOPS:
        raise ApiError(503, "leadership is moving just now: try again", retry_after=1)
    return await _forwarded(call, leader)


async def _leader(call: Call) -> tuple[str, ServerView]:
    """This node's name, and the leader, for which it waits as a write does."""
    registry = call.service.registry
    deadline = asyncio.get_running_loop().time() + call.service.settings.deadline
    while (view := registry.cluster()).leader is None:
        await registry.barrier(stale=False, deadline=deadline)
    return view.name, view.leader


async def _forwarded(call: Call, leader: ServerView) -> Reply:
    if not leader.http_address:
        raise ApiError(503, f"the leader, {leader.name}, has not said where its HTTP API is: try again", retry_after=1)
    origin = call.origin
    headers = {**origin.headers, HOPS_HEADER: str(origin.hops + 1)}
    members = call.service.settings.members
    try:
        answer = await members.ask(
            leader.http_address,
            origin.target,
            method=origin.method,
            headers=headers,
            body=call.body,
            seconds=_SECONDS,
            connect_seconds=_CONNECT_SECONDS,
        )
    except MemberUnreachable as error:
        raise ApiError(
            503, f"the leader, {leader.name} at {leader.http_address}, can't be reached: {error}", retry_after=1
        ) from None
    kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    return Reply(status=answer.status, content=answer.body, headers=kept)
