"""What a register costs in instructions, counted by valgrind: a figure that other work on the machine hardly moves.

    python -m tests.bench.instructions [--clients 256]

One node with its log, its disk and its HTTP, in one process. The connections are its own, but no sockets are behind
them: each asks anew when it is answered. The count is the difference of two runs, so that the start isn't in it.
Times of the loop are in it (ticks, turns while a sync is under way), more of them the fewer clients there are: one part
in a thousand at 256 clients, two in a hundred at one. Needs Debian's package valgrind.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog
import uvloop

from tests.bench.bodies import as_go_sends_it
from tests.process.agents import free_ports
from volstore.agent.agent import Agent
from volstore.agent.config import load
from volstore.agent.sample import sample_nodes
from volstore.http.server.admission import Ticket
from volstore.http.server.plain import PlainConnection, PlainConnections
from volstore.http.server.settings import HttpSettings

_FEW, _MANY = 1_500, 4_500
_FILLER = "x" * 280
"""As an ExternalID: it makes commands of about 400 bytes, as in the other benches."""
_PATIENCE = 30.0


class _Registers:
    """The requests still to be sent, and the answers to come."""

    def __init__(self, count: int) -> None:
        self.unsent = self.unanswered = count
        self.done = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        if not self.unsent:
            return None
        self.unsent -= 1
        id = f"volume-{self.unsent:06}"
        body = as_go_sends_it(id, _FILLER)
        head = f"PUT /v1/volume/csi/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(f"a register was answered by {data[:200]!r}"))
        self.unanswered -= 1
        if not self.unanswered:
            self.done.set_result(None)


class _Client(asyncio.Transport):
    """A connection without a socket, whose client asks again as soon as it is answered."""

    def __init__(self, registers: _Registers) -> None:
        super().__init__()
        self._registers = registers
        self._connection: PlainConnection | None = None

    def begin(self, connection: PlainConnection) -> None:
        self._connection = connection
        connection.connection_made(self)
        self._ask()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._registers.answered(bytes(data))
        asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        request = self._registers.next()
        if request is not None and self._connection is not None:
            self._connection.data_received(request)

    def abort(self) -> None:
        raise RuntimeError("the connection was given up")

    def close(self) -> None: ...


def _no_other(_ticket: Ticket) -> asyncio.Protocol:
    raise RuntimeError("a register wasn't taken for a plain request")


async def _serve(clients: int, requests: int) -> None:
    http, raft = free_ports(2)
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "name": "s1",
            "data_dir": str(Path(folder) / "data"),
            "http_addr": f"127.0.0.1:{http}",
            "raft_addr": f"127.0.0.1:{raft}",
            # Under valgrind a sync may take longer than a disk may otherwise.
            "heartbeat_interval": "500ms",
            "election_timeout_min": "3s",
            "election_timeout_max": "4s",
            "min_heartbeat_ttl": "1h",
        }
        config, _ = load(given, {}, hostname="localhost")
        agent = Agent(config, "instructions", None)
        await agent.start()
        deadline = loop.time() + _PATIENCE
        await agent.barrier(stale=False, deadline=deadline)
        for command in sample_nodes():
            await agent.submit(command, deadline)
        registers = _Registers(requests)
        connections = PlainConnections(agent.http.answer, _no_other)
        settings = HttpSettings(head_deadline=600.0, idle_timeout=600.0)
        for _ in range(clients):
            ticket = agent.http.admission.admit("127.0.0.1")
            assert isinstance(ticket, Ticket)
            _Client(registers).begin(PlainConnection(connections, ticket, settings))
        await registers.done
        await agent.stop()


def _counted(clients: int, requests: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.instructions", f"--clients={clients}", f"--requests={requests}"]
    counting = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    return subprocess.Popen([*counting, *command], stderr=subprocess.PIPE, text=True)


def _count(run: subprocess.Popen[str]) -> int:
    _, told = run.communicate()
    found = re.search(r"Collected : (\d+)", told)
    if run.returncode != 0 or found is None:
        raise SystemExit(f"a run under valgrind failed:\n{told}")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--requests", type=int, default=0, help="run so many here, without counting")
    options = parser.parse_args()
    if options.requests:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        uvloop.run(_serve(options.clients, options.requests))
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("not found: valgrind; on Debian, as root: apt-get install valgrind")
    few, many = [_counted(options.clients, requests) for requests in (_FEW, _MANY)]
    each = (_count(many) - _count(few)) / (_MANY - _FEW)
    print(f"{each:,.0f} instructions a register, at {options.clients} clients")


if __name__ == "__main__":
    main()
