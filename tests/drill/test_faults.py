"""Faults are real: links are cut without a word, packets come late, disks are full, clocks jump, and all is healed."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from volstore.drill import faults_clock, namespaces
from volstore.drill.cleanup import Place
from volstore.drill.faults_disk import SlowDisk, SmallDisk, no_strace
from volstore.drill.faults_network import Flap, OneWay, Partition
from volstore.drill.local import LocalTarget
from volstore.drill.local_node import LocalNode
from volstore.drill.namespaces import Network
from volstore.drill.packages import provide
from volstore.drill.slow_links import SlowLink
from volstore.drill.target import Fault, FaultKind, TargetError, TargetNode

NO_NETWORK = namespaces.missing()
NETWORK = pytest.mark.skipif(NO_NETWORK is not None, reason=NO_NETWORK or "")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="making a file system needs root")

ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 7000))
print("ready", flush=True)
while True:
    data, sender = server.recvfrom(100)
    server.sendto(data, sender)
"""
ASK = """
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(float(sys.argv[2]))
began = time.monotonic()
try:
    client.sendto(b"?", (sys.argv[1], 7000))
    client.recvfrom(100)
    print(time.monotonic() - began)
except TimeoutError:
    print("nothing")
"""


def own_namespaces() -> list[Path]:
    return list(Path("/run/netns").glob(f"*-{os.getpid()}-*"))


class Net:
    """Two nodes and the clients, and somebody on each node who answers."""

    def __init__(self, network: Network) -> None:
        self.network = network

    async def ask(self, source: str, to: str, patience: float = 10.0) -> float | None:
        """Seconds until the answer came, None if none did."""
        command = [*self.network.inside(source), sys.executable, "-c", ASK, self.network.address(to), str(patience)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return None if output == b"nothing\n" else float(output)

    def rules(self) -> list[str]:
        """Of the router."""
        command = [*self.network.router(), "ip", "rule"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    async def reaches(self, source: str, to: str) -> bool:
        return await self.ask(source, to, 0.3) is not None


@asynccontextmanager
async def net() -> AsyncIterator[Net]:
    network = Network(["s1", "s2"])
    answering = []
    try:
        await network.make()
        for name in ("s1", "s2"):
            command = [*network.inside(name), sys.executable, "-c", ECHO, network.address(name)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            answering.append(process)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        yield Net(network)
    finally:
        for process in answering:
            process.kill()
            await process.wait()
        network.remove()


@NETWORK
async def test_a_partition_cuts_nodes_but_not_clients_and_is_healed() -> None:
    async with net() as made:
        injector, fault = Partition(made.network, ["s1", "s2"], ""), Fault(FaultKind.PARTITION, ("s1",))
        assert await made.ask("s1", "s2") is not None
        await injector.do(fault)
        assert not await made.reaches("s1", "s2")
        assert not await made.reaches("s2", "s1")
        assert await made.ask("clients", "s1") is not None
        await injector.heal(fault)
        await injector.heal(fault)
        assert await made.ask("s2", "s1") is not None
    assert not own_namespaces()


@NETWORK
@pytest.mark.parametrize(("direction", "rule"), [("in", ("s2", "s1")), ("out", ("s1", "s2"))])
async def test_a_one_way_cut_is_of_one_way(direction: str, rule: tuple[str, str]) -> None:
    injector = OneWay(None, ["s1", "s2", "s3"], "")
    assert injector.pairs(Fault(FaultKind.ONE_WAY, ("s1",), direction=direction))[0] == rule
    async with net() as made:
        # Who is heard but hears nothing is not answered; nor is who isn't heard. The rules tell them apart.
        fault = Fault(FaultKind.ONE_WAY, ("s1",), direction=direction)
        injector = OneWay(made.network, ["s1", "s2"], "")
        await injector.do(fault)
        cut = [line for line in made.rules() if "blackhole" in line]
        assert len(cut) == 1
        assert f"from {made.network.address(rule[0])} to {made.network.address(rule[1])} blackhole" in cut[0]
        assert not await made.reaches("s1", "s2")
        await injector.heal(fault)
        assert await made.ask("s1", "s2") is not None


@NETWORK
async def test_a_flapping_link_is_whole_when_healed() -> None:
    async with net() as made:
        injector = Flap(made.network, ["s1", "s2"], "")
        fault = Fault(FaultKind.FLAP, ("s1",), up=0.05, down=0.2)
        await injector.do(fault)
        while await made.reaches("s1", "s2"):
            pass
        await injector.heal(fault)
        assert await made.ask("s1", "s2") is not None


class WiredLink(SlowLink):
    """As on a kernel without netem."""

    async def _by_kernel(self, name: str, fault: Fault) -> bool:
        return False


@NETWORK
@pytest.mark.parametrize("kind", [SlowLink, WiredLink])
async def test_packets_of_a_slow_link_come_late_in_both_directions(kind: type[SlowLink]) -> None:
    place = Place()
    try:
        async with net() as made:
            injector = kind(made.network, ["s1", "s2"], "", place.note)
            fault = Fault(FaultKind.SLOW_LINK, ("s2",), delay=0.15)
            await injector.do(fault)
            for source, to in (("s1", "s2"), ("s2", "s1"), ("clients", "s2")):
                took = await made.ask(source, to)
                assert took is not None
                assert took >= 0.3
            await injector.heal(fault)
            await injector.heal(fault)
            assert await made.ask("s1", "s2") is not None
            assert not [line for line in made.rules() if "wire" in line]
    finally:
        place.remove()


@NETWORK
async def test_a_wire_that_loses_nearly_all_lets_nearly_nothing_through() -> None:
    place = Place()
    try:
        async with net() as made:
            injector = WiredLink(made.network, ["s1", "s2"], "", place.note)
            fault = Fault(FaultKind.SLOW_LINK, ("s2",), loss=0.999999)
            await injector.do(fault)
            assert not await made.reaches("s1", "s2")
            await injector.heal(fault)
            assert await made.ask("s1", "s2") is not None
    finally:
        place.remove()


def test_without_a_network_of_its_own_a_cluster_says_why_links_cannot_be_broken(tmp_path: Path) -> None:
    target = LocalTarget(3, tmp_path, own_network=False)
    for kind in (FaultKind.PARTITION, FaultKind.ONE_WAY, FaultKind.FLAP, FaultKind.SLOW_LINK):
        why = target.cannot(Fault(kind, ("s1",)))
        assert why == "links between nodes on loopback can't be broken: it was not requested"
    assert target.cannot(Fault(FaultKind.KILL, ("s1",))) is None


async def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(TargetError, match=r"sh -c echo no >&2; exit 3 failed: no"):
        await namespaces.run(["sh", "-c", "echo no >&2; exit 3"])


@ROOT
async def test_a_full_disk_has_no_room_for_a_byte_and_has_it_again_when_healed() -> None:
    provide([FaultKind.DISK_FULL])
    place = Place()
    try:
        disk = SmallDisk(place.folder)
        await disk.make()
        (disk.path / "before").write_bytes(b"x" * 4096)
        disk.fill()
        with pytest.raises(OSError, match="No space left") as raised:
            (disk.path / "log").write_bytes(b"x" * 4096)
        assert raised.value.errno == errno.ENOSPC
        disk.empty()
        disk.empty()
        (disk.path / "log").write_bytes(b"x" * 4096)
    finally:
        place.remove()
    assert not place.folder.exists()


SYNCS = """
import os, sys, threading, time
def sync():
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    while True:
        os.write(file, b"x")
        began = time.monotonic()
        os.fdatasync(file)
        print(time.monotonic() - began, flush=True)
        time.sleep(0.01)
threading.Thread(target=sync).start()
"""


@pytest.mark.skipif(bool(no_strace()) and os.geteuid() != 0, reason=no_strace() or "")
async def test_syncs_of_a_slow_disk_take_long_until_it_is_healed(tmp_path: Path) -> None:
    provide([FaultKind.SLOW_DISK])
    node = LocalNode(TargetNode("s1", ""), tmp_path, tmp_path / "data", tmp_path / "log", {})
    node.process = process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SYNCS, str(tmp_path / "file"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        injector, fault = SlowDisk({"s1": node}, lambda pid: None), Fault(FaultKind.SLOW_DISK, ("s1",), delay=0.3)
        assert injector.cannot(fault) is None
        await injector.do(fault)
        while float(await process.stdout.readline()) < 0.3:
            pass
        await injector.heal(fault)
        await injector.heal(fault)
        while float(await process.stdout.readline()) >= 0.3:
            pass
    finally:
        await node.kill()


async def test_a_node_that_has_just_ended_can_be_killed(tmp_path: Path) -> None:
    node = LocalNode(TargetNode("s1", ""), tmp_path, tmp_path / "data", tmp_path / "log", {})
    node.process = process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    with suppress(ChildProcessError):  # where asyncio's own thread waited for it first
        os.waitpid(process.pid, 0)  # noqa: ASYNC222 - the loop must not turn meanwhile
    # It is gone, and the loop, which has not turned since, doesn't know.
    assert node.runs
    with pytest.raises(TargetError, match="s1 ended just now"):
        node.send(signal.SIGSTOP)
    await node.kill()
    assert not node.runs


def test_a_clock_jumps_without_the_monotonic_one(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        provide([FaultKind.CLOCK_JUMP])
    if faults_clock.library() is None:
        pytest.skip("there is no libfaketime")
    file = tmp_path / "clock"
    file.write_text("+7200\n")
    before = time.monotonic()
    shown = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
        env={**os.environ, **faults_clock.environment(file)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert float(shown[0]) > time.time() + 7000
    assert before <= float(shown[1]) <= time.monotonic()
