"""A stderr that fails, fills up or isn't read never hinders a node; a node that fails ends, whatever stderr does."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import Agent, agents, get, leader, until

_FAILS = """
import pathlib, sys
from cluster.node.node import Node
from volstore.agent.agent import Agent
trigger, how = pathlib.Path(sys.argv.pop(1)), sys.argv.pop(1)
tick, stop, start = Node._on_tick, Agent.stop, Agent.start
def failing(self):
    if trigger.exists():
        raise RuntimeError("a defect in a tick")
    tick(self)
async def hanging(self):
    import asyncio
    await asyncio.Event().wait()
async def unable(self):
    raise RuntimeError("a defect at the start")
Node._on_tick = failing
if how == "hangs": Agent.stop = hanging
if how == "unable": Agent.start = unable
from volstore.cli import main
sys.exit(main())
"""
"""An agent in whose ticks a defect shows as soon as a file is there."""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Agent]]:
    with agents(tmp_path, 3) as nodes:
        yield nodes


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Agent]:
    with agents(tmp_path, 1) as nodes:
        yield nodes[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "volstore-test", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def unread_pipe(*, broken: bool = False) -> Iterator[tuple[int, int]]:
    """The ends of a small pipe, its reader's first: nobody reads it, or its reader is gone."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    if broken:
        os.close(reader)
    try:
        yield reader, writer
    finally:
        os.close(writer)
        if not broken:
            os.close(reader)


async def write(session: aiohttp.ClientSession, node: Agent, name: str) -> int:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with session.put(f"{node.url}/v1/namespace/{name}", json={"Name": name}) as response:
            return response.status
    return 0


async def acknowledged(session: aiohttp.ClientSession, node: Agent, name: str, seconds: float = 20.0) -> None:
    async def done() -> bool:
        return await write(session, node, name) == 200

    await until(done, seconds, what=f"a write through {node.name}")


async def problems(session: aiohttp.ClientSession, node: Agent) -> str:
    async with session.get(f"{node.url}/v1/operator/health") as response:
        return str(await response.json()) if response.status == 200 else ""


async def told(session: aiohttp.ClientSession, node: Agent, words: str) -> None:
    async def seen() -> bool:
        return words in await problems(session, node)

    await until(seen, 15, what=f"{words!r} in the health of the cluster")


async def changed_leader(session: aiohttp.ClientSession, nodes: list[Agent]) -> Agent:
    """Stop the leader for a while, so that all have something to log; a node that went on."""
    led = await leader(session, nodes)
    rest = [node for node in nodes if node is not led]
    led.send(signal.SIGSTOP)
    try:
        await acknowledged(session, rest[0], "while-it-stands")
    finally:
        led.send(signal.SIGCONT)
    return rest[0]


async def test_nodes_whose_log_is_on_a_full_disk_go_on_and_say_later_what_is_missing(
    three: list[Agent], small_disk: Path, session: aiohttp.ClientSession
) -> None:
    files = [os.open(small_disk / node.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for node in three]
    try:
        for node, file in zip(three, files, strict=True):
            node.stderr = file
            node.start()
        await acknowledged(session, three[0], "before")
        filler = small_disk / "filler"
        files.append(os.open(filler, os.O_WRONLY | os.O_CREAT))
        # The last one's file first; then what room is left in the pages of the logs.
        for file in reversed(files):
            with contextlib.suppress(OSError):
                while True:
                    os.write(file, b"x" * 63 + b"\n")
        rest = await changed_leader(session, three)
        await told(session, rest, "No space left on device")
        assert all(node.process is not None and node.process.poll() is None for node in three)
        for node in three:
            await acknowledged(session, node, "full")
        os.truncate(filler, 0)
        await until(lambda: b"log_written_again" in (small_disk / rest.name).read_bytes(), what="a line")
    finally:
        for file in files:
            os.close(file)


async def test_nodes_whose_logs_reader_died_elect_and_write(three: list[Agent], session: aiohttp.ClientSession) -> None:
    with unread_pipe(broken=True) as (_reader, writer):
        for node in three:
            node.stderr = writer
            node.start()
        await acknowledged(session, three[0], "before")
        rest = await changed_leader(session, three)
        await told(session, rest, "Broken pipe")
        for node in three:
            await acknowledged(session, node, "after")
        assert three[0].stop() == 0


async def test_a_node_whose_log_nobody_reads_answers_and_stops_in_time(
    one: Agent, session: aiohttp.ClientSession
) -> None:
    with unread_pipe() as (reader, writer):
        one.stderr = writer
        one.start()
        await acknowledged(session, one, "before")
        # A reload is told in the log: more than the pipe holds.
        for _ in range(60):
            one.send(signal.SIGHUP)
            assert (await get(session, f"{one.url}/v1/agent/health/live"))[0] == 200
        await told(session, one, "nobody reads it")
        assert await write(session, one, "unread") == 200
        assert "volstore_log_fault 1.0" in (await get(session, f"{one.url}/v1/metrics?format=prometheus"))[1]
        os.read(reader, 1 << 20)  # The pipe's reader wakes up: what waits comes, and nothing was lost.
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < 15


async def test_a_node_that_fails_while_nobody_reads_its_log_ends(
    one: Agent, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with unread_pipe() as (_reader, writer):
        await _fails_in_time(one, session, tmp_path, writer)


async def test_a_node_that_fails_while_its_log_breaks_ends(
    one: Agent, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with unread_pipe(broken=True) as (_reader, writer):
        await _fails_in_time(one, session, tmp_path, writer)


async def test_a_node_that_fails_says_why_and_ends_though_it_can_not_be_stopped_in_order(
    one: Agent, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    for how, forced in (("well", False), ("hangs", True)):
        await _fails_in_time(one, session, tmp_path, None, how)
        said = one.output()
        assert "node_failed" in said
        assert "RuntimeError: a defect in a tick" in said
        assert ("agent_exit_forced" in said) is forced


async def _fails_in_time(
    one: Agent, session: aiohttp.ClientSession, folder: Path, stderr: int | None, how: str = "well"
) -> None:
    trigger = folder / "fail"
    one.program, one.stderr = ["-c", _FAILS, str(trigger), how], stderr
    one.start()
    assert one.process is not None
    await acknowledged(session, one, "before")
    for _ in range(60 if stderr is not None else 0):
        one.send(signal.SIGHUP)
        await get(session, f"{one.url}/v1/agent/health/live")
    trigger.touch()
    began = time.monotonic()
    while one.process.poll() is None:
        assert time.monotonic() - began < 10, "the node lives on, and does nothing"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            status, text = await get(session, f"{one.url}/v1/agent/health/live")
            # Between the tick and its end it says so, if it can be asked at all.
            assert status == 200 or (status == 503 and "a defect in a tick" in text)
        await asyncio.sleep(0.02)
    assert one.process.returncode == 1
    trigger.unlink()


def test_why_an_agent_cannot_start_and_an_uncaught_error_reach_stderr(one: Agent, tmp_path: Path) -> None:
    one.program = ["-c", _FAILS, str(tmp_path / "fail"), "unable"]
    one.start()
    assert one.process is not None
    assert one.process.wait(30) == 1
    assert "RuntimeError: a defect at the start" in one.output()
    (tmp_path / one.name / "journal").touch()
    one.program = ["-m", "volstore"]
    one.start()
    assert one.process.wait(30) == 1
    assert "agent_cannot_start" in one.output()


_CLOSED = """
import os, sys
for descriptor in sys.argv.pop(1):
    os.close(int(descriptor))
os.execv(sys.executable, [sys.executable, "-m", "volstore", *sys.argv[1:]])
"""


def _targets(process: int, descriptors: str) -> set[str]:
    return {str(Path(f"/proc/{process}/fd/{number}").readlink()) for number in descriptors}


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
async def test_a_node_whose_standard_descriptors_are_closed_goes_on_when_clients_hang_up_and_stops_in_order(
    one: Agent, session: aiohttp.ClientSession, closed: str
) -> None:
    """The loop's library aborts a process that closes a socket of such a number."""
    one.program = ["-c", _CLOSED, closed]
    one.start()
    await leader(session, [one])
    host, port = one.http.split(":")
    for _ in range(4):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()
    assert await leader(session, [one]) is one
    assert one.process is not None
    assert _targets(one.process.pid, closed) == {os.devnull}
    assert one.stop() == 0
