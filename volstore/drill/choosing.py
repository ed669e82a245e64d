"""Which nodes a step of a scenario breaks, and what a gauntlet is made of; pure, all chance comes from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from volstore.drill.scenario import CHOICES, Gauntlet, Scenario, Step
from volstore.drill.target import Fault, FaultKind


def fault_of(step: Step, nodes: Sequence[str]) -> Fault:
    """The fault that `step` means, on `nodes`."""
    assert step.kind is not None
    return Fault(
        step.kind,
        tuple(nodes),
        lasts=step.lasts or 0.0,
        delay=step.delay,
        jitter=step.jitter,
        loss=step.loss,
        up=step.up,
        down=step.down,
        direction=step.direction,
        jump=step.jump,
    )


def chosen(target: str, nodes: Sequence[str], leader: str, random: Random) -> list[tuple[str, ...]]:
    """The nodes to break, one group after the other: several for "each", where the leader comes last."""
    followers = [name for name in nodes if name != leader]
    if target == "leader":
        return [(leader,)]
    if target == "follower":
        return [(random.choice(followers or [leader]),)]
    if target == "minority":
        return [tuple(random.sample(followers, may_be_lost(len(nodes))))]
    if target == "all":
        return [tuple(nodes)]
    if target == "each":
        return [(name,) for name in (*followers, leader)]
    return [(target,)]


def unfit(scenario: Scenario) -> str:
    """Why a step can't be done with as many nodes as the scenario has, "" if all can."""
    names = [f"s{n + 1}" for n in range(scenario.nodes)]
    for step in scenario.steps:
        if step.kind is None or step.heals:
            continue
        if step.target == "minority" and not may_be_lost(scenario.nodes):
            return f"{step.kind} of a minority needs 3 nodes at least, not {scenario.nodes}"
        if step.target not in CHOICES and step.target not in names:
            return f"{step.kind} of {step.target}: there are {', '.join(names)} only"
    return ""


def may_be_lost(nodes: int) -> int:
    """How many of `nodes` may fail while a majority is left."""
    return (nodes - 1) // 2


def draw(gauntlet: Gauntlet, kinds: Sequence[FaultKind], nodes: int, random: Random) -> Step:
    """The next step of a gauntlet, out of those of its `kinds` that can be had. One of `nodes` is hit, or as many as
    may be lost; who leads is hit as often as who doesn't."""
    kind = random.choice(kinds)
    targets = ["leader", "follower"]
    if kind in (FaultKind.KILL, FaultKind.PAUSE, FaultKind.PARTITION) and may_be_lost(nodes):
        targets.append("minority")
    return Step(
        kind,
        random.choice(targets),
        lasts=random.uniform(gauntlet.shortest, gauntlet.longest),
        delay=random.uniform(0.005, 0.1),
        jitter=random.uniform(0.0, 0.02),
        loss=random.uniform(0.0, 0.05),
        up=random.uniform(0.1, 1.0),
        down=random.uniform(0.1, 1.0),
        direction=random.choice(("in", "out")),
        jump=random.choice((-1, 1)) * random.uniform(1.0, 86_400.0),
    )
