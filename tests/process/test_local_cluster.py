"""`make cluster` runs three nodes that serve, and Ctrl-C stops them all."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import get, until

SCRIPT = Path(__file__).parents[2] / "deploy" / "local" / "cluster.py"
PORTS = (4646, 4647, 4656, 4657, 4666, 4667)


def taken() -> list[int]:
    found = []
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            found.append(port)
    return found


def started(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), "--dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def test_three_nodes_run_until_an_interrupt(tmp_path: Path) -> None:
    if busy := taken():
        pytest.skip(f"its ports are fixed, and somebody listens on {busy}")
    folder = tmp_path / "c"
    running = started(folder)
    try:
        async with aiohttp.ClientSession() as session:
            for port in (4646, 4656, 4666):

                async def ready(port: int = port) -> bool:
                    try:
                        return (await get(session, f"http://127.0.0.1:{port}/v1/agent/health/ready"))[0] == 200
                    except aiohttp.ClientError:
                        return False

                await until(ready, what=f"the node on {port}")
            status, members = await get(session, "http://127.0.0.1:4656/v1/agent/members")
            assert (status, len(members["Members"])) == (200, 3)
        running.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(running.wait, 60) == 0
    finally:
        if running.poll() is None:
            running.terminate()  # it stops the nodes first
            await asyncio.to_thread(running.wait, 90)
    assert taken() == []
    for name in ("s1", "s2", "s3"):
        assert "agent_stopping" in (folder / f"{name}.log").read_text()


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    refused = subprocess.run(
        [sys.executable, str(SCRIPT), "--dir", str(tmp_path), "--fresh"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "left alone" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
