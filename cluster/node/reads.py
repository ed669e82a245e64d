"""A node's linearizable reads: who leads is asked for the index to wait for, one question for all that wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.node.node import Node

REPEAT_AFTER = 5.0
"""Seconds after which a question that has no answer is put again, though its leader and the way there are the same:
only a full queue loses one so. A slow line takes longer than one would like to wait, and must not be asked anew
before it could answer: its answer would be to a question that is no longer put."""


class Questions:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: list[asyncio.Future[int]] = []
        self._asked: list[asyncio.Future[int]] = []
        self._question = 0
        self._asked_at: float | None = None

    async def ask(self) -> int:
        """The log index that a read which starts now must have seen applied. Waits for a leader as long as it takes."""
        future: asyncio.Future[int] = self._node.loop.create_future()
        self._waiting.append(future)
        self._put()
        return await future

    def _put(self) -> None:
        """One question at a time: it proves leadership after every read that joined it, and not for later ones."""
        node = self._node
        if self._asked_at is not None or not self._waiting or node.engine.leader is None or not node.running:
            return
        self._asked, self._waiting = self._waiting, []
        self._question += 1
        question = self._question
        self._asked_at = node.loop.time()
        if node.engine.leads:
            node.step(lambda: node.engine.read(node.loop.time(), lambda index: self.answered(question, index)))
        elif not node.send(node.engine.leader, ["read?", question]):
            self.lost()

    def answered(self, question: int, index: int | None) -> None:
        """None: whoever was asked doesn't lead (any more); the question is put again."""
        if question != self._question or self._asked_at is None:
            return
        if index is None:
            self.lost()
            return
        asked, self._asked, self._asked_at = self._asked, [], None
        for future in asked:
            if not future.done():
                future.set_result(index)
        if self._waiting:
            self._node.soon(self._put)

    def lost(self) -> None:
        """The question won't be answered; all that waited for it wait for the next one."""
        self._waiting = self._asked + self._waiting
        self._asked, self._asked_at = [], None

    def repeat(self) -> None:
        """Called often: put what waits, and what has waited for long, and forget who gave up waiting."""
        # Here and not for each read: thousands that wait at once would each look at all the others.
        self._waiting = [future for future in self._waiting if not future.done()]
        if self._asked_at is not None and self._node.loop.time() - self._asked_at >= REPEAT_AFTER:
            self.lost()
        self._put()
