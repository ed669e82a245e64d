"""The command line as tests call it: in this process, against a server that listens for real."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.cli.recorded import RecordedServer
from volstore.cli import main


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: str
    stderr: str


Cli = Callable[..., Awaitable[Result]]


def write(name: str, content: str | bytes) -> None:
    """Writes a file into the test's directory."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def read(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def apart(clean_surroundings: None) -> None:
    """Every test of the command line."""


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RecordedServer]:
    """A server of recorded answers; VOLSTORE_ADDR leads to it."""
    recorded = RecordedServer()
    runner = web.ServerRunner(web.Server(recorded.handle))
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    recorded.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("VOLSTORE_ADDR", recorded.url)
    yield recorded
    await runner.cleanup()
    assert not recorded.unexpected


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line, beside the loop that the server runs on, and returns what came of it."""

    async def run(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = await asyncio.to_thread(main, arguments)
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return run
