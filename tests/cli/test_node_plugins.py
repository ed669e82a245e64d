"""`volstore node plugins` and `volstore plugin dir`, one asking the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

SOCKET = "run/csi.sock"


def absolute(path: str) -> str:
    return str(Path(path).absolute())


@pytest.fixture
def running(clean_surroundings: None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "volstore", "plugin", "dir", "volumes", "-socket", SOCKET, "-node-id", "h1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"Serving volumes at {SOCKET}\n"
    yield process
    process.kill()
    process.communicate()


async def test_a_plugin_is_asked_who_it_is(running: object, cli: Cli) -> None:
    shown = await cli("node", "plugins", f"-plugin=dirs={absolute(SOCKET)}")
    assert shown.code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split("  ")[0] == "ID"
    assert lines[1].split()[:2] == ["dirs", "dir.csi.volstore"]
    assert "dirs can: create delete volume, list volumes, stage unstage volume" in lines
    assert "dirs is at: dir.csi.volstore/node=h1" in lines


async def test_as_json(running: object, cli: Cli) -> None:
    shown = await cli("node", "plugins", "-json", f"-plugin=dirs=unix://{absolute(SOCKET)}")
    (found,) = json.loads(shown.stdout)
    assert (found["Provider"], found["NodeID"], found["Healthy"]) == ("dir.csi.volstore", "h1", True)
    assert found["NodeCapabilities"] == ["STAGE_UNSTAGE_VOLUME"]


async def test_a_socket_that_is_not_there_is_told_and_fails(cli: Cli) -> None:
    shown = await cli("node", "plugins", "-plugin", "dirs=/nosuch/csi.sock")
    assert shown.code == 1
    assert "there is no socket at /nosuch/csi.sock" in shown.stdout
    assert "dirs can't be used" in shown.stderr


@pytest.mark.parametrize("given", ["dirs", "=/x", "dirs=", "dirs=relative"])
async def test_a_plugin_that_is_written_wrongly_is_a_usage_error(cli: Cli, given: str) -> None:
    shown = await cli("node", "plugins", "-plugin", given)
    assert shown.code == 2
    assert "write it as ID=/path/of/csi.sock" in shown.stderr


def test_the_plugin_takes_its_socket_away_when_it_ends(running: subprocess.Popen[str]) -> None:
    assert Path(SOCKET).is_socket()
    assert Path(SOCKET).stat().st_mode & 0o777 == 0o600
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(30) == 0
    assert not Path(SOCKET).exists()
