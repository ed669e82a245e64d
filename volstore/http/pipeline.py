"""The three ways of a request, each written once: a read, a write, and what a node knows by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volstore.commands import Idempotency
from volstore.errors import ApiError
from volstore.http.call import Call
from volstore.http.endpoints import Absent, Endpoint, Local, Operation, Question, Read, Write
from volstore.http.forward import on_leader
from volstore.http.parameters import WAIT_JITTER
from volstore.http.replies import Reply, refusal
from volstore.registry import Contact
from volstore.state import State

Authorize = Callable[[Call, Endpoint, State], None]
"""Raises ApiError (403) unless the caller may do this, as `state` has it. Asked after the barrier, and again before a
blocking query answers."""

_WRITTEN = Contact(last_contact=0, known_leader=True)


def allow_all(call: Call, endpoint: Endpoint, state: State) -> None:
    """Without access control everybody may do everything."""


class Pipeline:
    """`random` draws from [0, 1): the jitter of waits."""

    def __init__(self, random: Callable[[], float], authorize: Authorize = allow_all) -> None:
        self._random = random
        self._authorize = authorize

    async def run(self, endpoint: Endpoint, call: Call, idempotency: Idempotency | None) -> Reply:
        match endpoint:
            case Read():
                return await self._read(endpoint, call)
            case Write():
                return await self._write(endpoint, call, idempotency)
            case Local():
                return endpoint.reply(call)
            case Operation():
                self._authorize(call, endpoint, call.service.registry.state)
                return await (on_leader(call, endpoint.reply) if endpoint.on_leader else endpoint.reply(call))
            case _:
                raise TypeError(f"{endpoint.name} is no kind of endpoint that has a pipeline")

    async def _read(self, endpoint: Read, call: Call) -> Reply:
        # Read even where nothing waits: a bad one is the caller's mistake, and Go's server says so too.
        index, wait = call.query.index, call.query.wait
        question = endpoint.ask(call)
        if isinstance(question, Reply):
            return question
        contact = await self._barrier(call)
        registry = call.service.registry
        self._authorize(call, endpoint, registry.state)
        if index and endpoint.blocking:
            until = asyncio.get_running_loop().time() + wait * (1 + self._random() * WAIT_JITTER)
            contact = await self._wait(question, index, until, call, contact)
            self._authorize(call, endpoint, registry.state)
        state = registry.state
        headers = freshness(max(state.index, 1), contact)
        try:
            reply = await question.answer(state, contact)
        except Absent as error:
            reply = refusal(error)
        reply.headers = {**reply.headers, **headers} if reply.headers else headers
        return reply

    async def _wait(self, question: Question, index: int, until: float, call: Call, contact: Contact) -> Contact:
        """Until what `question` answers moved after `index`, or `until`; the barrier that the answer may rely on.

        Between the look at the state and the place among the waiters nothing is awaited, so no change is missed.
        """
        registry, loop = call.service.registry, asyncio.get_running_loop()
        while registry.state.restored_at <= index and not question.moved_since(registry.state, index):
            if loop.time() >= until or registry.watch.closed:
                break
            topic, plugin_id = question.topic(registry.state)
            await registry.watch.wait(topic, until, plugin_id)
            contact = await self._barrier(call)
        return contact

    async def _write(self, endpoint: Write, call: Call, idempotency: Idempotency | None) -> Reply:
        registry, settings = call.service.registry, call.service.settings
        self._authorize(call, endpoint, registry.state)
        command = endpoint.command(call)
        deadline = asyncio.get_running_loop().time() + settings.deadline
        outcome = await registry.submit(command, deadline, idempotency)
        if outcome.status != 200:
            raise ApiError(outcome.status, outcome.text, retry_after=1 if outcome.status in (429, 503) else None)
        return Reply(json=endpoint.render(call, command, outcome), headers=freshness(outcome.index, _WRITTEN))

    async def _barrier(self, call: Call) -> Contact:
        deadline = asyncio.get_running_loop().time() + call.service.settings.deadline
        registry, max_stale = call.service.registry, call.query.max_stale
        if max_stale is not None:
            contact = await registry.barrier(stale=True, deadline=deadline)
            if contact.known_leader and contact.last_contact <= max_stale * 1000:
                return contact
        return await registry.barrier(stale=call.query.stale and max_stale is None, deadline=deadline)


def freshness(index: int, contact: Contact) -> dict[str, str]:
    """The three headers that say what an answer stands on."""
    return {
        "X-Nomad-Index": str(index),
        "X-Nomad-KnownLeader": "true" if contact.known_leader else "false",
        "X-Nomad-LastContact": str(contact.last_contact),
    }
