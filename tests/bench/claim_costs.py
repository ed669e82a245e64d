"""What a command costs where a volume, a node or a report has thousands of claims: python -m tests.bench.claim_costs.

Milliseconds of CPU in `apply` and in waking who waits, the least of a few rounds, in this process, without a log.
Whoever runs it reads the last column: what is claimed elsewhere must not show in what one claim costs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable

from tests.core.machine import Machine, allocation, fingerprint, node, volume
from volstore.agent import sweep
from volstore.core.commands import (
    Command,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    ReportAllocations,
    Stamped,
    TakeClaim,
    encode,
)
from volstore.core.model import READ, WRITE
from volstore.http.server.watch import Watch

ROUNDS = 3
MODE = "multi-node-multi-writer"

Build = Callable[[int], tuple[Machine, Iterable[Command]]]
"""A machine that has so many claims, and the commands to be measured, whose mean is taken."""


def _machine(volumes: Iterable[str] = ("v",), nodes: int = 1) -> Machine:
    machine = Machine()
    machine.done(PutNode(node("keeper", node_plugins={"p": fingerprint()})))
    for number in range(nodes):
        machine.done(PutNode(node(f"n{number}", node_plugins={})))
    rows = [volume(id, access_mode=MODE) for id in volumes]
    for start in range(0, len(rows), 500):
        machine.done(RegisterVolumes("default", tuple(rows[start : start + 500])))
    return machine


def _claimed(count: int, *, volumes: int = 1, nodes: int = 1, mode: int = READ, gone: bool = False) -> Machine:
    """So many claims by as many allocations, over volumes v0, v1, … and nodes n0, n1, … in turn."""
    machine = _machine((f"v{number}" for number in range(volumes)), nodes)
    _report(machine, count, nodes, "running")
    for number in range(count):
        machine.done(TakeClaim("default", f"v{number % volumes}", f"a{number}", mode))
    if gone:
        _report(machine, count, nodes, "lost")
    machine.state.take_events()
    return machine


def _report(machine: Machine, count: int, nodes: int, status: str) -> None:
    if count:
        machine.done(ReportAllocations(_allocations(count, nodes, status)))


def _allocations(count: int, nodes: int, status: str) -> tuple:  # type: ignore[type-arg]  # of Allocation
    return tuple(allocation(f"a{n}", node_id=f"n{n % nodes}", client_status=status) for n in range(count))


def report(status: str, *, spread: bool = False, nodes: int = 1, kind: type = ReportAllocations) -> Build:
    def build(count: int) -> tuple[Machine, list[Command]]:
        machine = _claimed(count, volumes=count if spread else 1, nodes=nodes)
        return machine, [kind(_allocations(count, nodes, status))]

    return build


def one_claim(mode: int = READ, *, nodes: int = 1) -> Build:
    """A hundred claims, one after the other, on a volume with so many already."""

    def build(count: int) -> tuple[Machine, list[Command]]:
        machine = _claimed(count, mode=mode, nodes=nodes)
        machine.done(ReportAllocations(tuple(allocation(f"x{n}", node_id="n0") for n in range(100))))
        return machine, [TakeClaim("default", "v0", f"x{n}", mode) for n in range(100)]

    return build


def one_release(state: int = 3, *, past: bool = False) -> Build:
    def build(count: int) -> tuple[Machine, list[Command]]:
        machine = _claimed(count + 100)
        if past:
            for number in range(count + 100):
                machine.done(ReleaseClaim("default", "v0", f"a{number}", 1))
        return machine, [ReleaseClaim("default", "v0", f"a{n}", state) for n in range(100)]

    return build


def after(command: Command, *, gone: bool = False, volumes: bool = False, nodes: int = 1) -> Build:
    return lambda count: (_claimed(count, volumes=count if volumes else 1, nodes=nodes, gone=gone), [command])


def one_end_of_many_nodes(count: int) -> tuple[Machine, list[Command]]:
    """Deleted one by one, a hundred of the nodes that share a volume."""
    machine = _claimed(count, nodes=count)
    return machine, [DeleteNode(f"n{number}") for number in range(100)]


def swept(count: int) -> tuple[Machine, list[Command]]:
    machine = _claimed(count, nodes=count)
    # The nodes go past the rules, so that what they claimed hangs.
    for number in range(count):
        machine.state.remove_node(f"n{number}")
    _report(machine, count, count, "lost")
    started = time.process_time()
    found = sweep.abandoned(machine.state, 1e9, 1000)
    print(f"# to find what hangs took {1000 * (time.process_time() - started):.1f} ms", file=sys.stderr)
    return machine, found


ROWS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "a report that all of one volume's ended": (report("complete"), (500, 1000, 2000, 4000)),
    "the same, as level 1 says it": (report("complete", kind=PutAllocations), (2000,)),
    "the same, each on a node of its own": (report("complete", nodes=200), (2000,)),
    "a report that all of one volume's run on": (report("running"), (500, 1000, 2000, 4000)),
    "a report, each of a volume of its own": (report("complete", spread=True), (500, 1000, 2000, 4000)),
    "one claim to read": (one_claim(), (0, 100, 3000, 10_000)),
    "one claim to write": (one_claim(WRITE), (0, 3000)),
    "one claim, the others on as many nodes": (one_claim(nodes=1000), (0, 3000)),
    "one release": (one_release(), (0, 3000)),
    "one note of a release": (one_release(1), (0, 3000)),
    "one release, all others past": (one_release(past=True), (0, 3000)),
    "a vanished allocation": (after(DeleteAllocation("a0")), (1, 3000)),
    "detach of a node from a volume": (after(DetachVolume("default", "v0", "n0"), gone=True), (1, 3000)),
    "deletion of a node, all on one volume": (after(DeleteNode("n0")), (1, 3000)),
    "deletion of a node, on as many volumes": (after(DeleteNode("n0"), volumes=True), (1, 1000, 3000)),
    "deletion of one of many nodes": (one_end_of_many_nodes, (100, 3000)),
    "one sweep of 64 claims": (swept, (64, 3000)),
    "deregister with force": (after(DeregisterVolume("default", "v0", force=True), gone=True), (1, 3000)),
}


def measured(build: Build, count: int) -> float:
    """Milliseconds of CPU that one of the commands takes."""
    best = float("inf")
    for _ in range(ROUNDS):
        machine, commands = build(count)
        encoded = [encode(Stamped(machine.clock, command)) for command in commands]
        watch = Watch()
        gc.collect()
        started = time.process_time()
        for command in encoded:
            machine.fsm.apply(command)
            watch.notify(machine.fsm.take_events())
        best = min(best, (time.process_time() - started) / len(encoded))
    return best * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    asked = parser.parse_args()
    if not asked.json:
        print(f"{'':44} {'claims':>6} {'ms':>9} {'x the first':>12}")
    for name, (build, counts) in ROWS.items():
        if asked.only not in name:
            continue
        first = 0.0
        for count in counts:
            took = measured(build, count)
            first = first or took
            if asked.json:
                print(json.dumps({"row": name, "claims": count, "ms": round(took, 4)}), flush=True)
            else:
                print(f"{name:44} {count:>6} {took:>9.3f} {took / first:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
