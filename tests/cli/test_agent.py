"""`volstore agent --dev` as a person runs it: a real process, its lines to paste, its data kept and wiped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import Cli
from volstore.agent.offline import DEV_MARKER
from volstore.client import Client, Connection

AGENT = ("-c", "import sys; from volstore.cli import main; sys.exit(main())", "agent", "--dev")
ANY_PORT = ("-http-addr=127.0.0.1:0", "-raft-addr=127.0.0.1:0")


@dataclass(slots=True)
class Running:
    """An agent that serves; `lines` are those to try next."""

    url: str
    lines: list[list[str]]
    process: asyncio.subprocess.Process

    async def stop(self) -> int:
        self.process.terminate()
        return await self.process.wait()


@asynccontextmanager
async def agent(*flags: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *AGENT, *ANY_PORT, *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        seen = ""
        while not (found := re.search(r"serves (http://[\d.:]+)", seen)):
            line = (await process.stdout.readline()).decode()
            assert line, f"the agent ended: {seen}"
            seen += line
        lines = [shlex.split((await process.stdout.readline()).decode()) for _ in range(3)]
        yield Running(found[1], lines, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_what_to_try_next_works_and_data_is_kept_until_wiped(cli: Cli, tmp_path: Path) -> None:
    async with agent() as running:
        curl, _, show = running.lines
        url, body = curl[3], curl[5]
        client = Client(Connection(running.url))
        await asyncio.to_thread(client.put, url.removeprefix(running.url), json.loads(body))
        assert "Schedulable          = true\n" in (await cli(*show[1:])).stdout
        assert "15/18" in (await cli("plugin", "status", f"-address={running.url}")).stdout
        wiped_meanwhile = await cli("agent", "--dev", "--fresh", *ANY_PORT)
        assert wiped_meanwhile.code == 2
        assert "in use by process" in wiped_meanwhile.stderr
        assert await running.stop() == 0
    assert (tmp_path / ".volstore-dev" / DEV_MARKER).exists()

    async with agent() as running:
        assert (await cli("volume", "status", f"-address={running.url}", "volume-id1")).code == 0
        assert await running.stop() == 0

    async with agent("--fresh") as running:
        assert (await cli("volume", "status", f"-address={running.url}", "volume-id1")).code == 1
        assert "15/18" in (await cli("plugin", "status", f"-address={running.url}")).stdout
        assert await running.stop() == 0
    sound = await cli("journal", "verify", os.fspath(tmp_path / ".volstore-dev"))
    assert (sound.code, sound.stderr) == (0, "")
