"""Conditions that steps of a node bring about, for coroutines to await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.api import LogError


class Conditions:
    """`look` is to be called after each step while this is true, and `end` once when the node acts no more."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._ended = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def until(self, condition: Callable[[], bool], deadline: float, what: str) -> None:
        """Return when `condition` holds. Raises LogError past `deadline` (loop time), or when the node stops.

        It holds still when this returns: a condition that held for a moment only is waited for again."""
        try:
            async with asyncio.timeout_at(deadline):
                while not condition():
                    if self._ended:
                        raise LogError("this node stops")
                    await self._next(condition)
        except TimeoutError:
            raise LogError(f"{what} before the deadline") from None

    async def _next(self, condition: Callable[[], bool]) -> None:
        waiting = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await waiting[1]
        finally:
            self._waiting.remove(waiting)

    def look(self) -> None:
        """Wake the coroutines whose condition holds now."""
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    def end(self) -> None:
        """Wake all: nothing more will happen."""
        self._ended = True
        for _condition, future in self._waiting:
            if not future.done():
                future.set_result(None)
