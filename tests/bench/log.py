"""The replicated log alone, without HTTP and without volumes: its rate, and what an entry of it costs.

    python -m tests.bench.log [--clients 32] [--seconds 5] [--rounds 3]
    python -m tests.bench.log --one-process [--calls 40]

Three members with real disks on loopback, commands of 400 bytes, synced on all three. Each member has a process of its
own, and the proposers are in the leader's; the processor time is that of all three. With `--one-process` all share one
process and one loop, whose calls `--calls` counts: figures that other work on the machine doesn't change.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import logging
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

import structlog
import uvloop

from cluster.api import Applied, Captured, Member, Role
from cluster.log import ReplicatedLog
from cluster.net.tcp import TcpNetwork
from cluster.options import Options
from cluster.storage.disk import RealDisk
from tests.bench.processes import processor_seconds
from tests.process.agents import free_ports, until

COMMAND = bytes(400)
_WARM_UP = 0.5


class _Count(NamedTuple):
    applied: int

    def chunks(self) -> Iterator[bytes]:
        yield b"%d" % self.applied


class Counts:
    """A state machine that counts what it is given: as little work as a machine can do."""

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, _command: bytes) -> bytes:
        self.applied += 1
        return b""

    def capture(self) -> Captured:
        return _Count(self.applied)

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        (held,) = chunks

        def adopt() -> None:
            self.applied = int(held)

        return adopt

    def digest(self) -> bytes:
        return b"%016d" % self.applied


def make(name: str, members: tuple[Member, ...], folder: Path) -> ReplicatedLog:
    member = next(member for member in members if member.name == name)
    log = structlog.get_logger(node=name)
    return ReplicatedLog(
        Options("bench", name, member.address, member.address, members),
        Counts(),
        disk=RealDisk(folder / name),
        snapshot_disk=RealDisk(folder / name),
        network=TcpNetwork(log),
        random=SystemRandom(),
        log=log,
    )


async def load(log: ReplicatedLog, clients: int, seconds: float) -> dict[str, float]:
    """So many proposers for so long: commands and entries per second, commands an entry, and latency."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    begun, before = time.perf_counter(), log.status().applied_index

    async def propose() -> None:
        while (start := time.perf_counter()) - begun < seconds:
            outcome = await log.propose(COMMAND, loop.time() + 10)
            if not isinstance(outcome, Applied):
                raise SystemExit(f"a proposal was not applied: {outcome}")
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(propose() for _ in range(clients)))
    elapsed, entries = time.perf_counter() - begun, log.status().applied_index - before
    took.sort()
    return {
        "per_s": len(took) / elapsed,
        "commands": len(took),
        "entries": entries,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[len(took) * 99 // 100] * 1e3,
    }


async def led(logs: list[ReplicatedLog]) -> ReplicatedLog:
    """The one that leads, once a command of it was applied."""
    found = await until(lambda: next((log for log in logs if log.status().role is Role.LEADER), None))
    assert isinstance(found, ReplicatedLog)
    await found.propose(COMMAND, asyncio.get_running_loop().time() + 10)
    await load(found, 8, _WARM_UP)
    return found


async def in_one_process(options: argparse.Namespace, members: tuple[Member, ...], folder: Path) -> None:
    logs = [make(member.name, members, folder) for member in members]
    for log in logs:
        await log.start()
    leader = await led(logs)
    for _ in range(options.rounds):
        used = time.process_time()
        figures = await load(leader, options.clients, options.seconds)
        show(options.clients, figures, time.process_time() - used)
    if options.calls:
        profile = cProfile.Profile()
        profile.enable()
        figures = await load(leader, options.clients, options.seconds)
        profile.disable()
        show_calls(profile, int(figures["entries"]), options.calls)
    for log in logs:
        await log.stop()


def show(clients: int, figures: dict[str, float], used: float) -> None:
    print(
        f"{clients} proposers: {figures['per_s']:,.0f}/s, p50 {figures['p50_ms']:.2f} ms, "
        f"p99 {figures['p99_ms']:.2f} ms, {figures['commands'] / figures['entries']:.1f} commands an entry; "
        f"processor time of all members {used / figures['entries'] * 1e6:.0f} us an entry, "
        f"{used / figures['commands'] * 1e6:.1f} us a command",
        flush=True,
    )


def show_calls(profile: cProfile.Profile, entries: int, rows: int) -> None:
    # The table has no type in the standard library's stubs.
    found = sorted(pstats.Stats(profile).stats.items(), key=lambda row: -row[1][2])  # type: ignore[attr-defined]
    print(f"{sum(row[1][1] for row in found) / entries:,.0f} calls an entry; those that take most, under the profiler:")
    for (file, line, name), (_primitive, calls, own, with_callees, _callers) in found[:rows]:
        own, with_callees = own / entries * 1e6, with_callees / entries * 1e6
        place = f"{Path(file).name}:{line} {name}"
        print(f"{calls / entries:7.2f} calls {own:7.1f} us, {with_callees:7.1f} with what they call  {place}")


async def member(options: argparse.Namespace, members: tuple[Member, ...], folder: Path) -> None:
    """One member in this process. Whoever leads when it reads a line "CLIENTS SECONDS" loads the log and answers."""
    log = make(options.member, members, folder)
    await log.start()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        clients, seconds = line.split()
        answer = {}
        if log.status().role is Role.LEADER:
            answer = await load(log, int(clients), float(seconds))
        print(json.dumps(answer), flush=True)
    await log.stop()


def in_processes(options: argparse.Namespace, ports: list[int], folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.log",
        "--folder",
        str(folder),
        "--ports",
        *map(str, ports),
        "--member",
    ]
    members = [
        subprocess.Popen([*command, f"s{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(len(ports))
    ]

    def ask(clients: int, seconds: float) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in members:
            assert one.stdin is not None
            one.stdin.write(f"{clients} {seconds}\n")
            one.stdin.flush()
        for one in members:
            assert one.stdout is not None
            found |= json.loads(one.stdout.readline())
        return found

    try:
        while not ask(8, _WARM_UP):
            time.sleep(0.1)
        for _ in range(options.rounds):
            before = processor_seconds(one.pid for one in members)
            figures = ask(options.clients, options.seconds)
            show(options.clients, figures, processor_seconds(one.pid for one in members) - before)
    finally:
        for one in members:
            one.kill()
            one.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-process", action="store_true")
    parser.add_argument("--calls", type=int, default=0, help="count calls in one more round, and show so many of them")
    for inner in ("--member", "--folder"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    ports = options.ports or free_ports(3)
    members = tuple(Member(f"s{n}", f"127.0.0.1:{port}") for n, port in enumerate(ports))
    if options.member:
        uvloop.run(member(options, members, Path(options.folder)))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        if options.one_process:
            uvloop.run(in_one_process(options, members, Path(folder)))
        else:
            in_processes(options, ports, Path(folder))


if __name__ == "__main__":
    main()
