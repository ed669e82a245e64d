"""Runs an operator's command with a time-out, and returns its output."""

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
    """Run a command and return its output. Raises TargetError with the output if it fails or exceeds `seconds`.

    The command gets no input, and a time-out kills its whole process group: a command that waits for a password or for
    a dead machine must not hold up healing.
    """
    # A file, not a pipe: a background process may keep it open without making us wait.
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
                f"{shlex.join(command)} did not end within {seconds:g} s{_output(output.fileno())}"
            ) from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        output_text = _output(output.fileno())
        if code != 0:
            raise TargetError(f"{shlex.join(command)} ended with code {code}{output_text or '; it printed nothing'}")
        return output_text.removeprefix("; it printed: ")


def _output(file: int) -> str:
    text = os.pread(file, _SHOWN, 0).decode(errors="replace").strip()
    return f"; it printed: {text}" if text else ""
