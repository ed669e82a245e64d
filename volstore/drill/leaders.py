"""Who leads, by asking every node all the time: what the drill breaks first, and what the report marks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from volstore.drill.exchange import Exchange
from volstore.drill.record import Event
from volstore.drill.target import TargetNode

_EVERY = 0.1
_WITHIN = 0.5


class Leaders:
    """What each node says of itself; `changed` is told of every new leader, and of there being none."""

    def __init__(self, now: Callable[[], float], changed: Callable[[Event], None]) -> None:
        self._now = now
        self._changed = changed
        self._roles: dict[str, tuple[str, int]] = {}
        self._leader: str | None = None

    async def follow(self, node: TargetNode, exchange: Exchange, ended: asyncio.Event) -> None:
        """Ask `node` until `ended`. One that doesn't answer doesn't lead, as far as anybody can tell."""
        while not ended.is_set():
            answer = await exchange.ask("GET", node.url, "/v1/operator/node", within=_WITHIN)
            self._roles.pop(node.name, None)
            if answer.status == 200:
                said = answer.json()
                self._roles[node.name] = said["role"], said["term"]
            self._look()
            await rest(_EVERY, ended)

    def _look(self) -> None:
        """Of two that say they lead, the one of the later term is right."""
        leading = [(term, name) for name, (role, term) in self._roles.items() if role == "leader"]
        term, leader = max(leading, default=(0, None))
        if leader != self._leader:
            self._leader = leader
            text = f"{leader} leads, term {term}" if leader else "no node says that it leads"
            self._changed(Event(self._now(), "leader", text, leader))


async def rest(seconds: float, ended: asyncio.Event) -> None:
    """Until then, or until `ended`."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await ended.wait()
    except TimeoutError:
        return
