"""An existing cluster: its operator's own commands break and heal it, and the drill cleans up after itself."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from volstore.drill.cluster_file import ClusterFile, Command, read
from volstore.drill.commands import run
from volstore.drill.exchange import Answer, Exchange
from volstore.drill.selection import too_few
from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode
from volstore.drill.volumes import remove_volumes
from volstore.drill.watchdog import Watchdog, heal
from volstore.quorum import may_fail

_WITHIN = 5.0
_CLEAR_WITHIN = 20.0


class ExistingTarget:
    """A `volstore.drill.target.Target`. It refuses every fault that would break the majority, whatever a scenario says.

    The token must be a management token: the load uses its own namespace and client node, "volstore-drill", and `stop`
    removes both with their content. `tell` is called with lines for the operator.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Read the cluster file at `path`. Raises TargetError."""
        self._path = path
        self._file: ClusterFile = read(path)
        self._tell = tell
        self._exchange: Exchange | None = None
        self._watchdog: Watchdog | None = None
        self._broken: list[tuple[Fault, int]] = []
        self._flaps: dict[Fault, asyncio.Task[None]] = {}

    @property
    def nodes(self) -> Sequence[TargetNode]:
        return self._file.nodes

    @property
    def access(self) -> Access:
        return self._file.access

    def describe(self) -> str:
        return f"the cluster of {', '.join(node.name for node in self.nodes)} in {self._path}"

    async def start(self) -> None:
        """Check that the nodes are the members of one cluster. Nothing is started."""
        self._exchange = Exchange(self.access)
        answers = await asyncio.gather(*(self._ask(node, "/v1/operator/node") for node in self.nodes))
        clusters = set()
        for node, answer in zip(self.nodes, answers, strict=True):
            if answer.status != 200:
                raise TargetError(
                    f"{node.name} at {node.url} does not answer as it should: {answer.status or ''} {answer.text}"
                )
            said = answer.json()
            if said["name"] != node.name:
                raise TargetError(f"the node at {node.url} is {said['name']}, but {self._path} calls it {node.name}")
            clusters.add(said["cluster_id"])
        if len(clusters) > 1:
            raise TargetError(f"the nodes in {self._path} belong to {len(clusters)} clusters")
        members = {peer["server"]["name"] for peer in answers[0].json()["peers"]}
        missing = members - {node.name for node in self.nodes}
        if missing:
            raise TargetError(f"{self._path} lacks {', '.join(sorted(missing))}, which belongs to the cluster too")
        self._watchdog = Watchdog(self._file.timeout)

    async def stop(self) -> None:
        for failure in await self.heal_all():
            self._tell(failure)
        if self._exchange is not None:
            # Without a watchdog the drill hasn't begun: this may be the wrong cluster.
            if self._watchdog is not None:
                # In a thread: it retries failed heals, which may take long.
                await asyncio.to_thread(self._watchdog.close)
                self._watchdog = None
                left = await remove_volumes(self._exchange, self.nodes, _CLEAR_WITHIN)
                if left:
                    self._tell(f"the drill could not remove what it wrote: {left}; the next drill tries again")
            await self._exchange.close()
            self._exchange = None

    async def keep(self) -> str:
        return "keep the data directories of the nodes: they hold the state at the end of the drill"

    # Faults.

    def cannot(self, fault: Fault) -> str | None:
        if fault.kind.costs_a_vote and len(fault.nodes) > may_fail(len(self.nodes)):
            return f"{len(fault.nodes)} of {len(self.nodes)} nodes would break the majority of an existing cluster"
        return self._file.has(fault)

    def plan(self, fault: Fault) -> list[str]:
        """The commands as one would type them, followed by those that heal."""
        do = [shlex.join(command) for node in fault.nodes for command in self._file.do(fault, node)]
        undo = [shlex.join(command) for command in self._heals(fault)]
        return [*do, *(["then, to heal:", *undo] if undo else [])]

    async def do(self, fault: Fault) -> None:
        if why := self.cannot(fault):
            raise TargetError(f"{fault} is impossible: {why}")
        if fault.kind.costs_a_vote:
            await self._must_survive(fault)
        if not fault.kind.momentary:
            # The watchdog knows before the fault is injected: a half-done fault must be healed too.
            self._broken.append((fault, self._started_watchdog().breaks(self._heals(fault))))
        if fault.kind is FaultKind.FLAP:
            self._flaps[fault] = asyncio.create_task(self._flap(fault), name=str(fault))
        elif fault.kind is FaultKind.RESTART:
            for node in fault.nodes:
                await self._run(self._file.do(fault, node))
        else:
            await self._each(fault, self._file.do)

    async def heal(self, fault: Fault) -> None:
        await self._end_flapping(fault)
        await self._each(fault, self._file.heal)
        for one in [one for one in self._broken if one[0] == fault]:
            self._started_watchdog().healed(one[1])
            self._broken.remove(one)

    async def heal_all(self) -> list[str]:
        failed = []
        for fault, number in list(reversed(self._broken)):
            try:
                await self._end_flapping(fault)
            except TargetError as error:
                failed.append(f"{fault}: {error}")
            wrong = await heal(self._heals(fault), self._file.timeout)
            if wrong:
                failed.append(f"{fault} could not be healed, do it by hand: {'; '.join(wrong)}")
                continue
            self._broken.remove((fault, number))
            if self._watchdog is not None:
                # A dead watchdog needn't know.
                with contextlib.suppress(TargetError):
                    self._watchdog.healed(number)
        return failed

    # Commands.

    def _heals(self, fault: Fault) -> list[Command]:
        return [command for node in fault.nodes for command in self._file.heal(fault, node)]

    async def _each(self, fault: Fault, commands: Callable[[Fault, str], list[Command]]) -> None:
        """Run the commands of all nodes concurrently. Raises TargetError with all errors, once all have ended."""
        results = await asyncio.gather(
            *(self._run(commands(fault, node)) for node in fault.nodes), return_exceptions=True
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed and all(isinstance(error, TargetError) for error in failed):
            raise TargetError("; ".join(str(error) for error in failed))
        for error in failed:
            raise error

    async def _run(self, commands: Sequence[Command]) -> None:
        for command in commands:
            await run(command, self._file.timeout)

    async def _flap(self, fault: Fault) -> None:
        """Break and heal in turn until cancelled. The time of the commands comes on top."""
        while True:
            await self._each(fault, self._file.do)
            await asyncio.sleep(fault.down)
            await self._each(fault, self._file.heal)
            await asyncio.sleep(fault.up)

    async def _end_flapping(self, fault: Fault) -> None:
        """Stop flapping. Raises TargetError if a command had failed and ended it."""
        task = self._flaps.pop(fault, None)
        if task is not None:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, Exception):
                raise result

    async def _must_survive(self, fault: Fault) -> None:
        """Raises TargetError unless the cluster keeps a majority without the fault's nodes and those already broken."""
        gone = set(fault.nodes) | set(chain.from_iterable(broken.nodes for broken, _ in self._broken))
        asked = [node for node in self.nodes if node.name not in gone]
        answer = Answer(None, error="no node is left")
        for node in asked:
            answer = await self._ask(node, "/v1/operator/health")
            if answer.status == 200:
                if why := too_few(answer.json(), gone):
                    raise TargetError(f"{fault} is refused, because writes would stop: {why}")
                return
        raise TargetError(
            f"{fault} is refused, because no node reports its health: {answer.status or ''} {answer.text}"
        )

    async def _ask(self, node: TargetNode, path: str) -> Answer:
        if self._exchange is None:
            raise TargetError("the target has not been started")
        return await self._exchange.ask("GET", node.url, path, within=_WITHIN)

    def _started_watchdog(self) -> Watchdog:
        if self._watchdog is None:
            raise TargetError("the target has not been started")
        return self._watchdog
