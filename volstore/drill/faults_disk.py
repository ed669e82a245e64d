"""Disk faults: slow syncs, and a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from volstore.drill.exchange import Exchange
from volstore.drill.local_node import LocalNode
from volstore.drill.namespaces import run
from volstore.drill.target import Access, Fault, TargetError

DISK_BYTES = 64 << 20
"""Size of each node's own disk in a drill with DISK_FULL."""
_ATTACHED_WITHIN = 10.0
_NOTICED_WITHIN = 60.0
_LOOK_EVERY = 0.05
_WITHIN = 2.0


def no_strace() -> str | None:
    """Why strace can't inject faults into system calls; None if it can."""
    if shutil.which("strace") is None:
        return "there is no strace; on Debian: apt-get install strace"
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() != 0 and scope.exists() and scope.read_text().strip() != "0":
        return "this kernel lets only root trace processes (kernel.yama.ptrace_scope)"
    return None


class DiskTracer:
    """Attaches strace to the disk threads of a node, and injects faults into their system calls.

    It doesn't trace the event loop's thread, because tracing slows down every system call.
    """

    def __init__(self, nodes: Mapping[str, LocalNode], started: Callable[[int], None]) -> None:
        self._nodes = nodes
        self._started = started
        self._tracers: dict[str, asyncio.subprocess.Process] = {}

    async def attach(self, name: str, *inject: str) -> None:
        """Attach strace. Raises TargetError."""
        pid = self._nodes[name].pid
        # These are thread ids, not paths.
        threads = [thread for thread in os.listdir(f"/proc/{pid}/task") if thread != str(pid)]  # noqa: PTH208
        tracer = await asyncio.create_subprocess_exec(
            "strace",
            *(option for thread in threads for option in ("-p", thread)),
            *(option for one in inject for option in ("-e", f"inject={one}")),
            *("-o", os.devnull),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._started(tracer.pid)
        self._tracers[name] = tracer
        assert tracer.stderr is not None
        async with asyncio.timeout(_ATTACHED_WITHIN):
            for _ in threads:
                line = (await tracer.stderr.readline()).decode(errors="replace").strip()
                if not line.endswith("attached"):
                    raise TargetError(f"strace can't attach to {name}: {line}")

    async def detach(self, name: str) -> None:
        """Detach strace. A second call does nothing."""
        tracer = self._tracers.pop(name, None)
        if tracer is not None:
            with contextlib.suppress(ProcessLookupError):  # strace ended with the node
                tracer.send_signal(signal.SIGINT)
            await tracer.wait()


class SlowDisk:
    """Slows down each sync."""

    def __init__(self, nodes: Mapping[str, LocalNode], started: Callable[[int], None]) -> None:
        self._tracer = DiskTracer(nodes, started)

    def cannot(self, fault: Fault) -> str | None:
        return no_strace()

    def plan(self, fault: Fault) -> list[str]:
        delay = f"delay_enter={1e6 * fault.delay:.0f}"
        return [f"strace -p (disk threads of {name}) -e inject=fdatasync,fsync:{delay}" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._tracer.attach(name, f"fdatasync,fsync:delay_enter={1e6 * fault.delay:.0f}")

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            await self._tracer.detach(name)


def can_mount() -> bool:
    """Whether it is likely that file systems can be created and mounted."""
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None


class SmallDisk:
    """A small file system for one node, in an image file, so that it can be filled. Needs `can_mount`."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.ext4"
        self.path = folder / "disk"
        self._ballast = self.path / "ballast"

    async def make(self) -> None:
        """Raises TargetError."""
        with self._image.open("wb") as image:
            image.truncate(DISK_BYTES)
        # Without reserved blocks: a node that runs as root could use them.
        await run(["mkfs.ext4", "-q", "-m", "0", str(self._image)])
        self.path.mkdir()
        await run(["mount", "-o", "loop", str(self._image), str(self.path)])

    def fill(self) -> None:
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size, step = 0, DISK_BYTES
            while step >= 4096:
                try:
                    os.posix_fallocate(descriptor, size, step)
                    size += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size = os.fstat(descriptor).st_size
                    step //= 2
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


class DiskFull:
    """Fills the node's small disk with a file. Without such a disk, strace makes writes fail with ENOSPC."""

    def __init__(
        self,
        nodes: Mapping[str, LocalNode],
        disks: Mapping[str, SmallDisk],
        access: Callable[[], Access],
        started: Callable[[int], None],
    ) -> None:
        self._nodes = nodes
        self._disks = disks
        self._access = access
        self._tracer = DiskTracer(nodes, started)

    def cannot(self, fault: Fault) -> str | None:
        return None if can_mount() else no_strace()

    def plan(self, fault: Fault) -> list[str]:
        return [f"a file on the disk of {name} takes all free space; later: remove it" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            if name in self._disks:
                await asyncio.to_thread(self._disks[name].fill)
            else:
                await self._tracer.attach(name, "pwrite64:error=ENOSPC", "fdatasync,fsync:error=ENOSPC")
            await self._noticed(name)

    async def _noticed(self, name: str) -> None:
        """Wait until the node reports the fault: its reserved space lasts for a while. Raises TargetError."""
        end = time.monotonic() + _NOTICED_WITHIN
        exchange = Exchange(self._access())
        try:
            while True:
                answer = await exchange.ask("GET", self._nodes[name].node.url, "/v1/operator/node", within=_WITHIN)
                if answer.status == 200 and answer.json()["fault"]:
                    return
                if time.monotonic() > end:
                    raise TargetError(f"{name} did not notice within {_NOTICED_WITHIN:g} s that its disk is full")
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            await exchange.close()

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            if name in self._disks:
                self._disks[name].empty()
            else:
                await self._tracer.detach(name)
