"""Runs an operator's command with its time bounded, and keeps what it said."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import tempfile
from collections.abc import Sequence

from volstore.drill.target import TargetError

_SHOWN = 2000


async def run(command: Sequence[str], seconds: float) -> str:
    """What it printed. Raises TargetError with that when it fails, or when it takes longer than `seconds`.

    It gets no input, and all that it started goes with it when it is stopped: a command that waits for a password or
    for a machine that is gone must not hold up healing.
    """
    # A file: whoever inherits it may keep it open without keeping us.
    with tempfile.TemporaryFile() as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            raise TargetError(f"can't run {shlex.join(command)}: {error.strerror}") from None
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            raise TargetError(
                f"{shlex.join(command)} did not end within {seconds:g} s{_said(output.fileno())}"
            ) from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        said = _said(output.fileno())
        if code != 0:
            raise TargetError(f"{shlex.join(command)} ended with code {code}{said or '; it said nothing'}")
        return said.removeprefix("; it said: ")


def _said(file: int) -> str:
    text = os.pread(file, _SHOWN, 0).decode(errors="replace").strip()
    return f"; it said: {text}" if text else ""
