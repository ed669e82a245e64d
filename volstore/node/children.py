"""System calls that may never come back, made in a child process: a dead NFS server must not stop the agent."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable

TIMEOUT_SECONDS = 5.0


class TookTooLong(OSError):
    """The call hasn't returned. It may still have its effect."""


async def in_child(call: Callable[[], object], *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Make the call in a fork of this process, which must have one thread. Raises the call's OSError, or TookTooLong.

    The child does nothing else: it neither logs nor cleans up, and its memory is never written back.
    """
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            call()
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    status: list[int] = []
    descriptor = os.pidfd_open(pid)

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        ended.set()

    loop.add_reader(descriptor, reap)
    try:
        async with asyncio.timeout(timeout_seconds):
            await ended.wait()
    except TimeoutError:
        # It stays until the kernel lets it go, and is reaped then.
        os.kill(pid, signal.SIGKILL)
        raise TookTooLong(errno.ETIMEDOUT, f"the kernel hasn't answered within {timeout_seconds:g} s") from None
    if status[0] != 0:
        number = status[0] if 0 < status[0] < 255 else errno.EIO
        raise OSError(number, os.strerror(number))
