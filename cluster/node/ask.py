"""Questions that a member's user has for the leader's user: bytes there and bytes back, outside of the log.

Nothing of it is replicated, durable or linearizable: who is asked believes to lead, no more. It is for what only the
leader keeps and what may be asked twice, as a question whose answer got lost is put again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.api import NoLeader
from cluster.node.reads import REPEAT_AFTER

if TYPE_CHECKING:
    from cluster.node.node import Node

Answer = Callable[[bytes], bytes | None]
"""What the leader's user answers; None when it can't yet, and shall be asked again."""

_AGAIN_AFTER = 0.05
"""Seconds after which a question is put again that was answered with None. One without an answer: `REPEAT_AFTER`."""


@dataclass(slots=True)
class _Asked:
    question: bytes
    answer: asyncio.Future[bytes]
    again_at: float = 0.0


class Asks:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self.answer: Answer | None = None

    async def ask(self, question: bytes, deadline: float) -> bytes:
        """The leader's answer, wherever it leads; `deadline` in the loop's time. Raises NoLeader past it."""
        self._number += 1
        number, asked = self._number, _Asked(question, self._node.loop.create_future())
        self._asked[number] = asked
        self._put(number, asked)
        try:
            async with asyncio.timeout_at(deadline):
                return await asked.answer
        except TimeoutError:
            raise NoLeader("no leader answered before the deadline") from None
        finally:
            del self._asked[number]

    def taken(self, question: bytes) -> bytes | None:
        """What this member answers to a question that came to it."""
        if self.answer is None or not self._node.engine.leads:
            return None
        return self.answer(question)

    def answered(self, number: int, answer: bytes | None) -> None:
        asked = self._asked.get(number)
        if asked is None or asked.answer.done():
            return
        if answer is None:
            asked.again_at = self._node.loop.time() + _AGAIN_AFTER
        else:
            asked.answer.set_result(answer)

    def lost(self) -> None:
        """Who leads, or the way to it, changed."""
        for asked in self._asked.values():
            asked.again_at = 0.0

    def repeat(self) -> None:
        """Called often: put again what has waited for long."""
        now = self._node.loop.time()
        for number, asked in list(self._asked.items()):
            if asked.again_at <= now and not asked.answer.done():
                self._put(number, asked)

    def _put(self, number: int, asked: _Asked) -> None:
        node = self._node
        asked.again_at = node.loop.time() + REPEAT_AFTER
        if not node.running or node.engine.leader is None:
            asked.again_at = 0.0
        elif node.engine.leads:
            self.answered(number, self.taken(asked.question))
        elif not node.send(node.engine.leader, ["ask", number, asked.question]):
            asked.again_at = 0.0
