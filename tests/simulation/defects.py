"""Faults of a process's own making: what becomes of a node whose code or memory errs once, in a drawn place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.node.sessions import Answer
    from cluster.storage.snapshots import Incoming, SnapshotMeta
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World


class Defect(Exception):
    """What a defect raises. It may end its node, and nothing else."""


def _ready(world: World, fault: Fault) -> Server | None:
    server = world.find(fault.who)
    return server if server is not None and server.ready and server.up else None


async def poison(world: World, fault: Fault) -> None:
    """The state machine of one node raises when it has applied its next command, before anybody knows (hole 9)."""
    server = _ready(world, fault)
    if server is None:
        return
    machine = server.machine
    apply = machine.apply

    def applied(command: bytes) -> bytes:
        machine.apply = apply
        apply(command)
        raise Defect(f"{server.name} fails while it applies a command")

    machine.apply = applied


async def stumble(world: World, fault: Fault) -> None:
    """One node raises at every tick, for as long as its process lives (hole 16)."""
    server = _ready(world, fault)
    if server is None or server.node is None:
        return

    def tick() -> None:
        raise Defect(f"{server.name} fails in a tick")

    setattr(server.node, "_on_tick", tick)  # noqa: B010 (a method is replaced)


async def reenter(world: World, fault: Fault) -> None:
    """Who is told of an outcome has the node go on applying at once, for as long as its process lives (hole 20)."""
    server = _ready(world, fault)
    if server is None or server.node is None:
        return
    node = server.node
    applier, answered = node.applier, node.applier._answered
    inside = False

    def told(answer: Answer) -> None:
        nonlocal inside
        answered(answer)
        if not inside:
            inside = True
            applier.advance(node.journal, min(node.engine.commit_index, node.journal.durable_index))
            inside = False

    applier._answered = told


async def spoil(world: World, fault: Fault) -> None:
    """A bit changes in the next snapshot that a node receives, on its way to the disk (hole 5)."""
    server = _ready(world, fault)
    if server is None or server.node is None:
        return
    store = server.node.store
    begin = store.begin

    async def begun(meta: SnapshotMeta) -> Incoming:
        setattr(store, "begin", begin)  # noqa: B010 (a method is replaced)
        incoming = await begin(meta)
        write = incoming._write

        def spoiled(held: int, data: bytes) -> None:
            setattr(incoming, "_write", write)  # noqa: B010 (as above)
            at = int(fault.amount * len(data))
            write(held, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

        setattr(incoming, "_write", spoiled)  # noqa: B010 (as above)
        return incoming

    setattr(store, "begin", begun)  # noqa: B010 (as above)
