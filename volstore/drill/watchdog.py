"""Watchdog process: undoes the drill's faults if the drill dies first.

    python -m volstore.drill.watchdog SECONDS

It reads JSON lines from its standard input: {"id": N, "heal": [[WORD, …], …]} before a fault, {"id": N} once the fault
is healed. When the input ends, it heals what is left, the last fault first. SECONDS is the time-out of each command.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from volstore.drill.commands import run
from volstore.drill.target import TargetError

_TRIES = 3


class Watchdog:
    """The drill's handle. Raises TargetError if the process can't start or has died: no fault without a watchdog."""

    def __init__(self, seconds: float) -> None:
        # Its own session: a signal from the drill's terminal must not end it.
        command = [sys.executable, "-m", "volstore.drill.watchdog", f"{seconds:g}"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            raise TargetError(f"the watchdog process can't be started: {error}") from None
        self._next = 0

    def breaks(self, heal: Sequence[Sequence[str]]) -> int:
        """Announce a fault with its heal commands. Returns a number for `healed`."""
        self._next += 1
        self._tell({"id": self._next, "heal": [list(command) for command in heal]})
        return self._next

    def healed(self, number: int) -> None:
        self._tell({"id": number})

    def close(self) -> None:
        """End the process; it heals what is left first. May be called again."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise TargetError("the watchdog process has ended: heal by hand; the drill stops here") from None


async def heal(commands: Sequence[Sequence[str]], seconds: float) -> list[str]:
    """Run all commands, and retry failed ones. Returns the errors that remain."""
    failed = []
    for command in commands:
        for attempt in range(_TRIES):
            try:
                await run(command, seconds)
                break
            except TargetError as error:
                if attempt == _TRIES - 1:
                    failed.append(str(error))
    return failed


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    seconds = float(sys.argv[1])
    open_ones: dict[int, list[list[str]]] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "heal" in message:
            open_ones[message["id"]] = message["heal"]
        else:
            open_ones.pop(message["id"], None)
    commands = [command for number in sorted(open_ones, reverse=True) for command in open_ones[number]]
    if not commands:
        return 0
    for command in commands:
        sys.stderr.write(f"the drill has died; healing: {shlex.join(command)}\n")
    failed = asyncio.run(heal(commands, seconds))
    for failure in failed:
        sys.stderr.write(f"NOT HEALED: {failure}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
