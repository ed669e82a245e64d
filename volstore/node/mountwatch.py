"""Tells when the host's mounts change: the kernel marks /proc/self/mountinfo (proc(5)), so nothing is polled."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from types import TracebackType

SETTLE_SECONDS = 0.05
"""Mounts come in bursts: this long after the first change, all of them are looked at once."""


class MountWatch:
    """Calls `on_change` in the running loop, at most once per SETTLE_SECONDS."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> MountWatch:
        self._file = open("/proc/self/mountinfo", "rb")  # noqa: PTH123  # open as long as it is watched
        # A selector of the loop waits for input alone; changes are told as urgent data, which an epoll of ours hears.
        self._epoll = select.epoll()
        self._epoll.register(self._file.fileno(), select.EPOLLPRI)
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._changed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        if self._timer:
            self._timer.cancel()
        self._epoll.close()
        self._file.close()

    def _changed(self) -> None:
        self._epoll.poll(0)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._on_change()
