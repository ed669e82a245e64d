"""What only the leader can do is sent on to it as it came, with its token: one hop, or two when leadership moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from volstore.core.errors import ApiError
from volstore.http.json.replies import Reply
from volstore.http.operations import LeadershipMoved
from volstore.http.registry import ServerView
from volstore.http.server.call import Call

HOPS_HEADER = "X-Volstore-Hops"
"""How many nodes a request has come through already."""
_MOST_HOPS = 2
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=2)
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
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(
                origin.method,
                members.url(leader.http_address, origin.target),
                data=call.body,
                headers=headers,
                **members.options,
            ) as response,
        ):
            content = await response.read()
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            return Reply(status=response.status, content=content, headers=kept)
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise ApiError(
            503, f"the leader, {leader.name} at {leader.http_address}, can't be reached: {reason}", retry_after=1
        ) from None
