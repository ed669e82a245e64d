"""A network of its own for a throw-away cluster: each node in a network namespace, behind a router that can cut links.

Every node, and the clients, have a subnet of their own; all packets pass the router, in one more namespace. A rule
there that sends what comes from A for B into a black hole is a link that lost its fibre: nobody is told, nothing
arrives. Nothing outside these namespaces is touched, so that any number of drills can go on beside each other.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from volstore.drill.leftovers import own_prefix, remove_namespace
from volstore.drill.target import TargetError

CLIENTS = "clients"
_ROUTER = "router"
_CLONE_NEWNET = 0x40000000
_CUT = 100
"""Preference of the rules that cut: before all other rules."""


def missing() -> str | None:
    """Why there can be no namespaces here, in words; None if there can be."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [program for program in ("ip", "nsenter") if shutil.which(program) is None]
    if absent:
        return f"there is no {' and no '.join(absent)}; on Debian: apt-get install iproute2 util-linux"
    # Root in a container may be less than it seems.
    probe = f"{own_prefix()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    remove_namespace(probe)
    return None if made.returncode == 0 else f"network namespaces can't be made here: {made.stderr.strip()}"


class Network:
    """`names` are the nodes. The namespaces' names have this process's id in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = own_prefix()
        self._places = [*names, CLIENTS]
        self._cut: set[tuple[str, str]] = set()
        self._own: int | None = None

    def address(self, name: str) -> str:
        return f"10.0.{self._places.index(name) + 1}.2"

    def gateway(self, name: str) -> str:
        return f"10.0.{self._places.index(name) + 1}.1"

    def inside(self, name: str) -> list[str]:
        """What a command is put after to run in the namespace of `name`."""
        return ["nsenter", f"--net={self._path(name)}"]

    def router(self) -> list[str]:
        return self.inside(_ROUTER)

    async def make(self) -> None:
        """Raises TargetError."""
        router = self._namespace(_ROUTER)
        await _ip(["netns add " + self._namespace(name) for name in (_ROUTER, *self._places)])
        # Packets may come back from where the way to their sender doesn't lead (slow_links.py).
        settings = "echo 1 > ip_forward; for filter in conf/*/rp_filter; do echo 0 > $filter; done"
        await run([*self.router(), "sh", "-c", f"cd /proc/sys/net/ipv4; {settings}"])
        for name in self._places:
            await _ip([f"link add {name} netns {router} type veth peer name eth0 netns {self._namespace(name)}"])
            await self._in(
                name,
                "link set lo up",
                f"address add {self.address(name)}/24 dev eth0",
                "link set eth0 up",
                f"route add default via {self.gateway(name)}",
            )
        await self._in(
            _ROUTER,
            *(f"address add {self.gateway(name)}/24 dev {name}" for name in self._places),
            *(f"link set {name} up" for name in self._places),
        )

    def enter(self) -> None:
        """From now on this thread's connections are the clients'. Those that are open stay where they are."""
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        descriptor = os.open(self._path(CLIENTS), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(descriptor)
        finally:
            os.close(descriptor)

    def leave(self) -> None:
        """Back to the machine's network; again: nothing."""
        if self._own is not None:
            _set_namespace(self._own)
            os.close(self._own)
            self._own = None

    def remove(self) -> None:
        self.leave()
        for name in (*self._places, _ROUTER):
            remove_namespace(self._namespace(name))

    # Cuts.

    async def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing of the first gets to the second of each pair any more."""
        new = [pair for pair in pairs if pair not in self._cut]
        self._cut.update(new)
        await self._in(_ROUTER, *(f"rule add {self._rule(*pair)}" for pair in new))

    async def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Undo `cut`; pairs that aren't cut are left alone."""
        old = [pair for pair in pairs if pair in self._cut]
        await self._in(_ROUTER, *(f"rule delete {self._rule(*pair)}" for pair in old))
        self._cut.difference_update(old)

    def rules(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        """For people: what `cut` runs."""
        return [f"ip -n {self._namespace(_ROUTER)} rule add {self._rule(*pair)}" for pair in pairs]

    def _rule(self, source: str, to: str) -> str:
        return f"pref {_CUT} from {self.address(source)} to {self.address(to)} blackhole"

    async def route(self, *commands: str) -> None:
        """Commands of `ip` in the router. Raises TargetError."""
        await self._in(_ROUTER, *commands)

    async def _in(self, name: str, *commands: str) -> None:
        if commands:
            await _ip(list(commands), "-n", self._namespace(name))

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _path(self, name: str) -> Path:
        return Path("/run/netns") / self._namespace(name)


async def _ip(commands: Sequence[str], *options: str) -> None:
    """All of them in one process. Raises TargetError at the first that fails."""
    await run(["ip", *options, "-batch", "-"], "".join(f"{command}\n" for command in commands))


async def run(command: Sequence[str], given: str = "") -> None:
    """Run a command that says nothing unless it fails. Raises TargetError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate(given.encode())
    except asyncio.CancelledError:
        # What undoes it must find it done.
        await process.wait()
        raise
    if process.returncode != 0:
        what = f"{' '.join(command)} {given.strip()}".strip()
        raise TargetError(f"{what} failed: {output.decode(errors='replace').strip()}")


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise TargetError(f"can't enter a network namespace: {os.strerror(number)}")
