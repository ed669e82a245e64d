"""Applies the same two thousand commands in any process and writes what came of them, as hexadecimal digits."""

from __future__ import annotations

import hashlib
import random
import sys

from tests.core.machine import SECOND, allocation, controller, fingerprint, node, volume
from tests.core.steps import NODE_IDS, PLUGIN_IDS, Step, new_fsm, perform
from volstore.core.commands import (
    ClaimVolume,
    Command,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    Idempotency,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
    Stamped,
)

STEPS = 2000


def command(draw: random.Random) -> Command:
    ids = [f"vol-{number}" for number in range(40)]
    allocations = [f"alloc-{number}" for number in range(8)]
    plugins = draw.sample(PLUGIN_IDS, k=3)
    kinds: tuple[Command, ...] = (
        RegisterVolumes("default", tuple(volume(id, plugin_id=plugins[0]) for id in draw.sample(ids, k=3))),
        DeregisterVolume(draw.choice(("default", "other")), draw.choice(ids), draw.random() < 0.5),
        PutNode(
            node(
                draw.choice(NODE_IDS),
                controller_plugins={id: controller(healthy=draw.random() < 0.5) for id in plugins[1:]},
                node_plugins={id: fingerprint(provider_version=str(draw.random())) for id in plugins},
            )
        ),
        SetNodeStatus(draw.choice(NODE_IDS), draw.choice(("ready", "down"))),
        DeleteNode(draw.choice(NODE_IDS)),
        PutAllocations(
            tuple(
                allocation(
                    id, node_id=draw.choice(NODE_IDS), client_status=draw.choice(("running", "lost", "complete"))
                )
                for id in draw.sample(allocations, k=3)
            )
        ),
        *(ClaimVolume("default", draw.choice(ids), draw.choice(allocations), draw.randrange(3), 0) for _ in range(4)),
        DetachVolume("default", draw.choice(ids), draw.choice(NODE_IDS)),
        DeleteAllocation(draw.choice(allocations)),
    )
    return draw.choice(kinds)


def step(draw: random.Random, number: int) -> Step:
    key = Idempotency("me", str(draw.randrange(100)), b"") if draw.random() < 0.3 else None
    return Stamped(number * SECOND, command(draw), key)


def main() -> None:
    draw = random.Random(7)
    fsm = new_fsm()
    outcomes, content = hashlib.sha256(), hashlib.sha256()
    for number in range(STEPS):
        outcomes.update(perform(fsm, step(draw, number)) + fsm.digest())
    for piece in fsm.capture().chunks():
        content.update(piece)
    sys.stdout.write(outcomes.hexdigest() + content.hexdigest())


if __name__ == "__main__":
    main()
