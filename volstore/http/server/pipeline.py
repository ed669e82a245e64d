"""The three ways of a request, each written once: a read, a write, and what a node knows by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from volstore.core.acl.check import may
from volstore.core.commands import Command, Idempotency, Outcome
from volstore.core.errors import ApiError, NoLeader
from volstore.core.idempotency import TOO_MANY_OF_ONE
from volstore.core.rules import Refusal
from volstore.core.state import State
from volstore.http.json.parameters import WAIT_JITTER
from volstore.http.json.replies import Reply, refusal
from volstore.http.registry import Contact
from volstore.http.server.authorize import admit, authorize
from volstore.http.server.call import Call
from volstore.http.server.caller import Denied, permission_denied
from volstore.http.server.declaration import Absent, Endpoint, Local, Operation, Question, Read, Write
from volstore.http.server.forward import on_leader
from volstore.http.server.limits import WaitersOfCallers

Foresee = Callable[[State, Command], Refusal | None]

_WRITTEN = Contact(last_contact=0, known_leader=True)


class Pipeline:
    """`random` draws from [0, 1): the jitter of waits. `waiters` bounds how many queries of one caller wait."""

    def __init__(self, random: Callable[[], float], waiters: WaitersOfCallers) -> None:
        self._random = random
        self._waiters = waiters

    async def admit(self, endpoint: Endpoint, call: Call) -> None:
        """Before the body is read: it may be large, and a stranger's. All that a write needs is known with its command
        only. Raises ApiError 403; NoLeader where a read's right can't be told without one.
        """
        await self._here(call, lambda state: admit(call, endpoint, state), patient=isinstance(endpoint, Read))

    def run(self, endpoint: Endpoint, call: Call, idempotency: Idempotency | None) -> Awaitable[Reply]:
        if isinstance(endpoint, Write):
            return self._write(endpoint, call, idempotency)
        if isinstance(endpoint, Read):
            return self._read(endpoint, call)
        return self._other(endpoint, call)

    async def _other(self, endpoint: Endpoint, call: Call) -> Reply:
        match endpoint:
            case Local():
                await self._authorize_here(call, endpoint)
                return endpoint.reply(call)
            case Operation():
                await self._authorize_here(call, endpoint)
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
        try:
            authorize(call, endpoint, registry.state)
        except Denied:
            if contact.known_leader:
                raise
            # A node that has just started may not have the caller's token yet, and 403 would be a client's last word.
            raise NoLeader from None
        if index and endpoint.blocking:
            until = asyncio.get_running_loop().time() + wait * (1 + self._random() * WAIT_JITTER)
            with self._waiters.one(call.caller.name(registry.state)):
                contact = await self._wait(question, index, until, call, contact)
            authorize(call, endpoint, registry.state)
        state = registry.state
        headers = freshness(max(state.index, 1), contact)
        try:
            reply = await question.answer(state, contact)
        except Absent as error:
            reply = refusal(error)
        reply.headers = {**reply.headers, **headers} if reply.headers else headers
        return reply

    async def _wait(self, question: Question, index: int, until: float, call: Call, contact: Contact) -> Contact:
        """Until what `question` answers, or what the caller may see of it, moved after `index`, or `until`; the barrier
        that the answer may rely on.

        Between the look at the state and the place among the waiters nothing is awaited, so no change is missed.
        """
        registry, loop, caller = call.service.registry, asyncio.get_running_loop(), call.caller
        while registry.state.restored_at <= index and not question.moved_since(registry.state, index):
            if caller.rights_moved_since(registry.state, index):
                break
            if loop.time() >= until or registry.watch.closed:
                break
            topic, plugin_id = question.topic(registry.state)
            await registry.watch.wait(topic, until, plugin_id, caller.sources(registry.state))
            contact = await self._barrier(call)
        return contact

    async def _write(self, endpoint: Write, call: Call, idempotency: Idempotency | None) -> Reply:
        registry, settings = call.service.registry, call.service.settings
        command, caller = endpoint.command(call), call.caller
        if caller.restricted:
            await self._authorize_here(call, endpoint, command)
        if idempotency is not None and caller.restricted:
            idempotency = _key_of(call, idempotency)
        if endpoint.foresee is not None:
            await self._refuse_here(call, endpoint.foresee, command, idempotency)
        deadline = asyncio.get_running_loop().time() + settings.deadline
        if endpoint.unchanged is not None and endpoint.unchanged(registry.state, command):
            # What is here may be old: another report may have been applied elsewhere meanwhile.
            contact = await registry.barrier(stale=False, deadline=deadline)
            if endpoint.unchanged(registry.state, command):
                index = registry.state.index
                return Reply(json=endpoint.render(call, command, Outcome(index)), headers=freshness(index, contact))
        outcome = await registry.submit(command, deadline, idempotency, caller.identity(registry.state))
        if outcome.status != 200:
            raise ApiError(outcome.status, outcome.text, retry_after=1 if outcome.status in (429, 503) else None)
        headers = freshness(outcome.index, _WRITTEN)
        if endpoint.index_only:
            headers = {"X-Nomad-Index": headers["X-Nomad-Index"]}
        return Reply(json=endpoint.render(call, command, outcome), headers=headers)

    async def _authorize_here(self, call: Call, endpoint: Endpoint, command: Command | None = None) -> None:
        await self._here(call, lambda state: _allow(call, endpoint, command, state))

    async def _here(self, call: Call, allow: Callable[[State], None], *, patient: bool = False) -> None:
        """By this node's state, and when that says no, by what it is after a barrier: a token that was made through
        another node a moment ago is good here too. A yes is asked of the state again where a write is applied.

        `patient`: without a leader it isn't a no.
        """
        if not call.caller.restricted:
            return
        registry = call.service.registry
        try:
            allow(registry.state)
        except Denied as denied:
            if call.query.stale:
                raise
            try:
                await self._barrier(call)
            except NoLeader:
                if patient:
                    raise
                raise denied from None
            allow(registry.state)

    async def _refuse_here(self, call: Call, foresee: Foresee, command: Command, key: Idempotency | None) -> None:
        """Raise ApiError where this node's state, and that after a barrier, is certain to refuse; nothing of what a key
        is remembered for: its outcome is known already."""
        registry = call.service.registry
        refusal = _foreseen(registry.state, foresee, command, key)
        if refusal is None:
            return
        with contextlib.suppress(NoLeader):
            await self._barrier(call)
            refusal = _foreseen(registry.state, foresee, command, key)
        if refusal is not None:
            raise ApiError(*refusal)

    async def _barrier(self, call: Call) -> Contact:
        deadline = asyncio.get_running_loop().time() + call.service.settings.deadline
        registry, max_stale = call.service.registry, call.query.max_stale
        if max_stale is not None:
            contact = await registry.barrier(stale=True, deadline=deadline)
            # 0 is a leader's: one that was paused doesn't know yet whether it still is, and has to ask.
            if contact.known_leader and 0 < contact.last_contact <= max_stale * 1000:
                return contact
        return await registry.barrier(stale=call.query.stale and max_stale is None, deadline=deadline)


def _key_of(call: Call, idempotency: Idempotency) -> Idempotency:
    """The key as its caller's. Raises ApiError for whoever has no name to keep it under, or too many of them."""
    state = call.service.registry.state
    if call.caller.anonymous:
        raise ApiError(400, "validation: an Idempotency-Key is kept for the token that sends it: send one, or no key")
    key = replace(idempotency, caller=call.caller.name(state))
    if state.outcomes.has_its_share(key.caller) and state.outcomes.find(key, state.log_time) is None:
        raise ApiError(429, TOO_MANY_OF_ONE, retry_after=1)
    return key


def _foreseen(state: State, foresee: Foresee, command: Command, key: Idempotency | None) -> Refusal | None:
    if key is not None and state.outcomes.find(key, state.log_time) is not None:
        return None
    return foresee(state, command)


def _allow(call: Call, endpoint: Endpoint, command: Command | None, state: State) -> None:
    authorize(call, endpoint, state)
    if command is not None and not may(state, call.caller.rights(state), command):
        raise permission_denied()


def freshness(index: int, contact: Contact) -> dict[str, str]:
    """The three headers that say what an answer stands on."""
    return {
        "X-Nomad-Index": str(index),
        "X-Nomad-KnownLeader": "true" if contact.known_leader else "false",
        "X-Nomad-LastContact": str(contact.last_contact),
    }
