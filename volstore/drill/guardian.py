"""A process beside the drill that heals what the drill broke if the drill is gone before it did so itself.

    python -m volstore.drill.guardian SECONDS

Told on its standard input, one JSON line each: {"id": N, "heal": [[WORD, …], …]} before something is broken, {"id": N}
once it is healed. When the input ends, what is left is healed, the last first; each command has SECONDS.
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


class Guardian:
    """The drill's end of it. Raises TargetError where it can't be started or is gone: nothing is broken unguarded."""

    def __init__(self, seconds: float) -> None:
        # A session of its own: what ends the drill at its terminal doesn't end this.
        command = [sys.executable, "-m", "volstore.drill.guardian", f"{seconds:g}"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            raise TargetError(f"the process that heals if this one is killed can't be started: {error}") from None
        self._next = 0

    def breaks(self, heal: Sequence[Sequence[str]]) -> int:
        """What will undo what is about to be done; its number, for `healed`."""
        self._next += 1
        self._tell({"id": self._next, "heal": [list(command) for command in heal]})
        return self._next

    def healed(self, number: int) -> None:
        self._tell({"id": number})

    def close(self) -> None:
        """It heals what is left, and ends. May be called again."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise TargetError(
                "the process that heals if this one is killed has ended: heal by hand, stop here"
            ) from None


async def heal(commands: Sequence[Sequence[str]], seconds: float) -> list[str]:
    """Run all of them, each again where it fails; what could not be done, in words."""
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
        sys.stderr.write(f"the drill is gone; healing: {shlex.join(command)}\n")
    failed = asyncio.run(heal(commands, seconds))
    for failure in failed:
        sys.stderr.write(f"NOT HEALED: {failure}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
