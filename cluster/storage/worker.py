"""One thread that does blocking work in order: half the processor time of an executor's way there and back.

An executor makes two futures for each piece of work, chains them, and takes half a dozen locks; here it is one queue
and one call back to the loop. A sync costs some 0.1 ms of processor time with it, on the way of every write.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_Tell = Callable[[Any, BaseException | None], None]
_Job = tuple[asyncio.AbstractEventLoop, Callable[[], Any], _Tell]


class Worker:
    """A thread that is started with the first work, and ends with `stop` or when nobody has the worker any more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopped = False

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin `work`, after what was given before; its result. Work that nobody waits for any more is done too."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(loop, work, partial(_settle, future))
        return future

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        """As `run`, without a future: it would cost one more turn of the loop, on the way of every write."""
        self._put(asyncio.get_running_loop(), work, lambda _result, error: done(error))

    def _put(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any], tell: _Tell) -> None:
        if self._stopped:
            raise RuntimeError("the worker was stopped")
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._jobs.put, None)
        self._jobs.put((loop, work, tell))

    def stop(self) -> None:
        """Wait for the work that was given, and end the thread."""
        self._stopped = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        loop, work, tell = job
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            if not loop.is_closed():
                raise
            # The loop is closed, and all that waited on it is gone.
        del job, loop, work, tell, result, error


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
