"""A cluster that is there already, broken and healed by its operator's own commands, and left as it was found."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from volstore.drill.cluster_file import MOMENTARY, ClusterFile, Command, read
from volstore.drill.commands import run
from volstore.drill.exchange import Answer, Exchange
from volstore.drill.ground import clear
from volstore.drill.guardian import Guardian, heal
from volstore.drill.quorum import too_few
from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode

_WITHIN = 5.0
_CLEAR_WITHIN = 20.0


class ExistingTarget:
    """A `volstore.drill.target.Target`. Nothing is broken but what would leave a majority, whatever a scenario says.

    The token must be a management token: the load has a namespace and a client node of its own, "volstore-drill",
    which `stop` removes with all that is in them. `tell` is told what an operator must know, as a line.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Raises TargetError for a file that can't be used."""
        self._path = path
        self._file: ClusterFile = read(path)
        self._tell = tell
        self._exchange: Exchange | None = None
        self._guardian: Guardian | None = None
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
        """Look whether these are the nodes of one cluster that is well. Nothing is started."""
        self._exchange = Exchange(self.access)
        answers = await asyncio.gather(*(self._ask(node, "/v1/operator/node") for node in self.nodes))
        clusters = set()
        for node, answer in zip(self.nodes, answers, strict=True):
            if answer.status != 200:
                raise TargetError(f"{node.name} at {node.url} can't be asked: {answer.status or ''} {answer.text}")
            said = answer.json()
            if said["name"] != node.name:
                raise TargetError(f"{node.url} is {said['name']}, and {self._path} calls it {node.name}")
            clusters.add(said["cluster_id"])
        if len(clusters) > 1:
            raise TargetError(f"the nodes in {self._path} belong to {len(clusters)} clusters")
        members = {peer["server"]["name"] for peer in answers[0].json()["peers"]}
        missing = members - {node.name for node in self.nodes}
        if missing:
            raise TargetError(f"{self._path} lacks {', '.join(sorted(missing))}, which belongs to the cluster too")
        self._guardian = Guardian(self._file.timeout)

    async def stop(self) -> None:
        for failure in await self.heal_all():
            self._tell(failure)
        if self._exchange is not None:
            # Without a guardian it was not begun: this may be a cluster that was not meant at all.
            if self._guardian is not None:
                # In a thread: where a healing failed it tries once more, and that may take its time.
                await asyncio.to_thread(self._guardian.close)
                self._guardian = None
                left = await clear(self._exchange, self.nodes, _CLEAR_WITHIN)
                if left:
                    self._tell(f"what the drill wrote could not be removed: {left}; the next drill removes it too")
            await self._exchange.close()
            self._exchange = None

    async def keep(self) -> str:
        return "what the nodes hold is where they are; keep their data directories"

    # Faults.

    def cannot(self, fault: Fault) -> str | None:
        if fault.kind.costs_a_vote and len(fault.nodes) > (len(self.nodes) - 1) // 2:
            return f"{len(fault.nodes)} of {len(self.nodes)} nodes are more than an existing cluster can do without"
        return self._file.has(fault)

    def plan(self, fault: Fault) -> list[str]:
        """Commands as one could type them, those of healing below."""
        do = [shlex.join(command) for node in fault.nodes for command in self._file.do(fault, node)]
        undo = [shlex.join(command) for command in self._heals(fault)]
        return [*do, *(["then, to heal:", *undo] if undo else [])]

    async def do(self, fault: Fault) -> None:
        if why := self.cannot(fault):
            raise TargetError(f"{fault} can't be had: {why}")
        if fault.kind.costs_a_vote:
            await self._must_survive(fault)
        if fault.kind not in MOMENTARY:
            # Noted before it is done: what is done by half must be healed too.
            self._broken.append((fault, self._guarded().breaks(self._heals(fault))))
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
            self._guarded().healed(one[1])
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
            if self._guardian is not None:
                # One that is gone needn't know.
                with contextlib.suppress(TargetError):
                    self._guardian.healed(number)
        return failed

    # How it is done.

    def _heals(self, fault: Fault) -> list[Command]:
        return [command for node in fault.nodes for command in self._file.heal(fault, node)]

    async def _each(self, fault: Fault, commands: Callable[[Fault, str], list[Command]]) -> None:
        """On all its nodes at the same time. Raises TargetError with what went wrong, once all have ended."""
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
        """Until it is healed; the commands' own time is on top."""
        while True:
            await self._each(fault, self._file.do)
            await asyncio.sleep(fault.down)
            await self._each(fault, self._file.heal)
            await asyncio.sleep(fault.up)

    async def _end_flapping(self, fault: Fault) -> None:
        """Raises TargetError if it had ended by itself: a command of it had failed."""
        task = self._flaps.pop(fault, None)
        if task is not None:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, Exception):
                raise result

    async def _must_survive(self, fault: Fault) -> None:
        """Raises TargetError unless the cluster can spare the fault's nodes now, beside those that are broken."""
        gone = set(fault.nodes) | set(chain.from_iterable(broken.nodes for broken, _ in self._broken))
        asked = [node for node in self.nodes if node.name not in gone]
        answer = Answer(None, error="no node is left to be asked")
        for node in asked:
            answer = await self._ask(node, "/v1/operator/health")
            if answer.status == 200:
                if why := too_few(answer.json(), gone):
                    raise TargetError(f"{fault} is not done, as writes would stop: {why}")
                return
        raise TargetError(f"{fault} is not done: nobody says how the cluster is: {answer.status or ''} {answer.text}")

    async def _ask(self, node: TargetNode, path: str) -> Answer:
        if self._exchange is None:
            raise TargetError("the target has not been started")
        return await self._exchange.ask("GET", node.url, path, within=_WITHIN)

    def _guarded(self) -> Guardian:
        if self._guardian is None:
            raise TargetError("the target has not been started")
        return self._guardian
