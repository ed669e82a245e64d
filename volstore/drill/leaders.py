"""Watches the leader by polling every node, for faults that target it and for the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volstore.drill.exchange import Exchange
from volstore.drill.record import Event
from volstore.drill.target import TargetNode

_EVERY = 0.1
_WITHIN = 0.5


class Leaders:
    """Each node's role. `changed` is called with an event for every new leader, and when there is none."""

    def __init__(self, now: Callable[[], float], changed: Callable[[Event], None]) -> None:
        self._now = now
        self._changed = changed
        self._roles: dict[str, tuple[str, int]] = {}
        self._leader: str | None = None

    async def follow(self, node: TargetNode, exchange: Exchange, ended: asyncio.Event) -> None:
        """Poll `node` until `ended`. A node that doesn't answer counts as no leader."""
        while not ended.is_set():
            answer = await exchange.ask("GET", node.url, "/v1/operator/node", within=_WITHIN)
            self._roles.pop(node.name, None)
            if answer.status == 200:
                said = answer.json()
                self._roles[node.name] = said["role"], said["term"]
            self._look()
            await rest(_EVERY, ended)

    def _look(self) -> None:
        """If two nodes claim to lead, the one with the later term leads."""
        leading = [(term, name) for name, (role, term) in self._roles.items() if role == "leader"]
        term, leader = max(leading, default=(0, None))
        if leader != self._leader:
            self._leader = leader
            text = f"{leader} leads, term {term}" if leader else "no node says that it leads"
            self._changed(Event(self._now(), "leader", text, leader))


async def rest(seconds: float, ended: asyncio.Event) -> None:
    """Wait for `seconds`, or until `ended`."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await ended.wait()
    except TimeoutError:
        return
