"""The own network of a throw-away cluster: each node in a network namespace, behind a router that can cut links.

Every node has its own subnet, and so have the clients. All packets pass the router, in one more namespace. To cut a
link from A to B, a rule there drops all packets from A to B silently, as a broken fibre does. Nothing outside these
namespaces changes, so any number of drills can run at the same time.
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

from volstore.drill.cleanup import own_prefix, remove_namespace
from volstore.drill.target import TargetError

CLIENTS = "clients"
_ROUTER = "router"
_CLONE_NEWNET = 0x40000000
_CUT = 100
"""Preference of the rules that cut links: before all other rules."""


def missing() -> str | None:
    """Why network namespaces are impossible here; None if they are possible."""
    if not sys.platform.startswith("linux"):
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [program for program in ("ip", "nsenter") if shutil.which(program) is None]
    if absent:
        return f"there is no {' and no '.join(absent)}; on Debian: apt-get install iproute2 util-linux"
    # Root in a container may lack the capability.
    probe = f"{own_prefix()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    remove_namespace(probe)
    return None if made.returncode == 0 else f"network namespaces can't be made here: {made.stderr.strip()}"


class Network:
    """The network of the nodes `names`. The names of the namespaces contain this process's id."""

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
        """The prefix of a command that runs in the namespace of `name`."""
        return ["nsenter", f"--net={self._path(name)}"]

    def router(self) -> list[str]:
        return self.inside(_ROUTER)

    async def make(self) -> None:
        """Create the namespaces and links. Raises TargetError."""
        router = self._namespace(_ROUTER)
        await _ip(["netns add " + self._namespace(name) for name in (_ROUTER, *self._places)])
        # Without the reverse path filter: packets of slow links come back through another interface (slow_links.py).
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
        """Move this thread to the clients' namespace. Open connections stay in theirs."""
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        descriptor = os.open(self._path(CLIENTS), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(descriptor)
        finally:
            os.close(descriptor)

    def leave(self) -> None:
        """Return to the machine's network. A second call does nothing."""
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
        """Drop all packets from the first to the second of each pair."""
        new = [pair for pair in pairs if pair not in self._cut]
        self._cut.update(new)
        await self._in(_ROUTER, *(f"rule add {self._rule(*pair)}" for pair in new))

    async def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Undo `cut`. Pairs that aren't cut stay as they are."""
        old = [pair for pair in pairs if pair in self._cut]
        await self._in(_ROUTER, *(f"rule delete {self._rule(*pair)}" for pair in old))
        self._cut.difference_update(old)

    def _rule(self, source: str, to: str) -> str:
        return f"pref {_CUT} from {self.address(source)} to {self.address(to)} blackhole"

    async def route(self, *commands: str) -> None:
        """Run `ip` commands in the router. Raises TargetError."""
        await self._in(_ROUTER, *commands)

    async def _in(self, name: str, *commands: str) -> None:
        if commands:
            await _ip(list(commands), "-n", self._namespace(name))

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _path(self, name: str) -> Path:
        return Path("/run/netns") / self._namespace(name)


async def _ip(commands: Sequence[str], *options: str) -> None:
    """Run `ip` commands in one process. Raises TargetError at the first that fails."""
    await run(["ip", *options, "-batch", "-"], "".join(f"{command}\n" for command in commands))


async def run(command: Sequence[str], given: str = "") -> None:
    """Run a command; `given` is its input. Raises TargetError if it fails."""
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
        # Let it finish: the command that undoes it must find it done.
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
