"""Slow links: delay and drop a node's packets, with `tc netem` if the kernel has it, otherwise with an emulator."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

from volstore.drill.faults_network import Links
from volstore.drill.namespaces import Network, run
from volstore.drill.target import Fault, TargetError

_READY_WITHIN = 10.0
_RULES = 200
"""Preference of the rules that route into emulators: after those that cut, before the main table."""


class SlowLink(Links):
    """Slows down links. `started` is called with the process id of each emulator."""

    def __init__(self, network: Network | None, names: Sequence[str], why: str, started: Callable[[int], None]) -> None:
        super().__init__(network, names, why)
        self._started = started
        self._emulators: dict[str, asyncio.subprocess.Process] = {}
        self._slowed: set[str] = set()

    def plan(self, fault: Fault) -> list[str]:
        late = f"{1000 * fault.delay:g} ms ± {1000 * fault.jitter:g} ms late"
        return [f"every packet from and to {name} comes {late}; {fault.loss:.1%} get lost" for name in fault.nodes]

    async def do(self, fault: Fault) -> None:
        for name in fault.nodes:
            self._slowed.add(name)
            if not await self._by_kernel(name, fault):
                await self._by_emulator(name, fault)

    async def heal(self, fault: Fault) -> None:
        for name in fault.nodes:
            if name not in self._slowed:
                continue
            emulator = self._emulators.pop(name, None)
            if emulator is None:
                await run([*self.network.inside(name), "tc", "qdisc", "delete", "dev", "eth0", "root"])
                await run([*self.network.router(), "tc", "qdisc", "delete", "dev", name, "root"])
            else:
                await self.network.route(*(f"rule delete {rule}" for rule in self._rules(name)))
                with contextlib.suppress(ProcessLookupError):  # it ended already, and removed its interface
                    emulator.kill()
                await emulator.wait()
            self._slowed.remove(name)

    async def _by_kernel(self, name: str, fault: Fault) -> bool:
        """Slow down a link with netem. False if the kernel has none."""
        netem = ["netem", "delay", f"{1e6 * fault.delay:.0f}us"]
        netem += [f"{1e6 * fault.jitter:.0f}us"] if fault.jitter else []
        netem += ["loss", f"{100 * fault.loss:.4f}%"] if fault.loss else []
        try:
            await run([*self.network.router(), "tc", "qdisc", "add", "dev", name, "root", *netem])
        except TargetError as error:
            if "qdisc kind is unknown" in str(error) or "No such file" in str(error):
                return False
            raise
        await run([*self.network.inside(name), "tc", "qdisc", "add", "dev", "eth0", "root", *netem])
        return True

    async def _by_emulator(self, name: str, fault: Fault) -> None:
        interface = self._interface(name)
        numbers = [f"{number:.6f}" for number in (fault.delay, fault.jitter, fault.loss)]
        emulator = await asyncio.create_subprocess_exec(
            *(*self.network.router(), sys.executable, "-m", "volstore.drill.link_emulator", interface, *numbers),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._started(emulator.pid)
        self._emulators[name] = emulator
        assert emulator.stdout is not None
        assert emulator.stderr is not None
        async with asyncio.timeout(_READY_WITHIN):
            if await emulator.stdout.readline() != b"ready\n":
                why = (await emulator.stderr.read()).decode(errors="replace").strip().splitlines()
                raise TargetError(f"the slow link of {name} could not be made: {why[-1] if why else 'no reason given'}")
        table = self._table(name)
        await self.network.route(
            f"link set {interface} up",
            f"route add default dev {interface} table {table}",
            *(f"rule add {rule}" for rule in self._rules(name)),
        )

    def _rules(self, name: str) -> list[str]:
        """Packets from the emulator take the main table; all others from or to the node go into the emulator."""
        address, table = self.network.address(name), self._table(name)
        return [
            f"pref {_RULES} iif {self._interface(name)} lookup main",
            f"pref {_RULES + 1} from {address} lookup {table}",
            f"pref {_RULES + 1} to {address} lookup {table}",
        ]

    def _interface(self, name: str) -> str:
        return f"wire-{name}"

    def _table(self, name: str) -> int:
        return 1000 + self._names.index(name)
