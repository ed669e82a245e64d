"""Commands of operators fail, hang and leave children behind: it is said, and nothing waits for them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.agents import until
from volstore.drill.commands import run
from volstore.drill.target import TargetError
from volstore.drill.watchdog import Watchdog


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_a_command_says_what_it_printed() -> None:
    assert await run(["sh", "-c", "echo out; echo err >&2"], 10) == "out\nerr"


async def test_a_command_gets_no_input_so_that_it_can_not_ask_for_a_password() -> None:
    assert await run(["cat"], 10) == ""


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "echo no such host >&2; exit 3"], "ended with code 3; it printed: no such host"),
        (["false"], "false ended with code 1; it printed nothing"),
        (["sh", "-c", "kill -9 $$"], "ended with code -9"),
        (["no-such-program-here"], "can't run no-such-program-here: No such file or directory"),
    ],
)
async def test_a_command_that_fails_is_told_of_with_its_words(command: list[str], why: str) -> None:
    with pytest.raises(TargetError) as raised:
        await run(command, 10)
    assert why in str(raised.value)


async def test_a_command_that_hangs_is_stopped_with_all_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(TargetError, match=r"did not end within 0\.5 s; it printed: waiting"):
        await run(["sh", "-c", f"sleep 600 & echo $! >{note}; echo waiting; wait"], 0.5)
    pid = int(note.read_text())
    await until(lambda: gone(pid), what="the end of the child")


async def test_a_command_that_leaves_a_child_behind_is_not_waited_for_longer(tmp_path: Path) -> None:
    """As one that starts a node: its child keeps the output open."""
    note = tmp_path / "pid"
    try:
        assert await run(["sh", "-c", f"setsid sleep 600 & echo $! >{note}; echo started"], 20) == "started"
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


async def test_a_command_that_is_given_up_is_stopped(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ >{note}; exec sleep 600"], 60))
    await until(lambda: note.exists() and note.read_text(), what="the command")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(int(note.read_text()))


# The watchdog.


def test_what_is_not_healed_when_the_drill_is_gone_is_healed_then_last_first(tmp_path: Path) -> None:
    done = tmp_path / "done"
    watchdog = Watchdog(10.0)
    watchdog.breaks([["sh", "-c", f"echo first >>{done}"]])
    healed = watchdog.breaks([["sh", "-c", f"echo healed >>{done}"]])
    watchdog.breaks([["sh", "-c", f"echo third >>{done}"], ["sh", "-c", f"echo fourth >>{done}"]])
    watchdog.healed(healed)
    watchdog.close()
    watchdog.close()
    assert done.read_text().split() == ["third", "fourth", "first"]


def test_a_watchdog_that_has_ended_lets_nothing_more_be_broken() -> None:
    watchdog = Watchdog(10.0)
    watchdog.close()
    with pytest.raises(TargetError, match="has ended"):
        watchdog.breaks([["true"]])


def test_a_healing_that_fails_is_tried_again_and_then_told_of(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    messages = json.dumps({"id": 1, "heal": [["sh", "-c", f"echo x >>{tries}; echo unreachable; exit 1"]]})
    command = [sys.executable, "-m", "volstore.drill.watchdog", "10"]
    ended = subprocess.run(command, input=messages + "\n", capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "NOT HEALED" in ended.stderr
    assert "unreachable" in ended.stderr
    assert tries.read_text().split() == ["x"] * 3
