"""Selects the nodes that a step breaks, draws the steps of a gauntlet, and guards the quorum.

Pure: chance is seeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from volstore.drill.scenario import CHOICES, Gauntlet, Scenario, Step
from volstore.drill.target import Fault, FaultKind
from volstore.quorum import majority, may_fail

LAG = 1000
"""Log entries that a voter may lack and still count; `operator health` calls it lagging beyond that."""


def fault_of(step: Step, nodes: Sequence[str]) -> Fault:
    """The fault of `step`, on `nodes`."""
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
    """The groups of nodes to break, one after the other. "each" gives several groups, with the leader last."""
    followers = [name for name in nodes if name != leader]
    if target == "leader":
        return [(leader,)]
    if target == "follower":
        return [(random.choice(followers or [leader]),)]
    if target == "minority":
        return [tuple(random.sample(followers, may_fail(len(nodes))))]
    if target == "all":
        return [tuple(nodes)]
    if target == "each":
        return [(name,) for name in (*followers, leader)]
    return [(target,)]


def why_impossible(scenario: Scenario) -> str:
    """Why a step is impossible with the scenario's number of nodes; "" if every step is possible."""
    names = [f"s{n + 1}" for n in range(scenario.nodes)]
    for step in scenario.steps:
        if step.kind is None or step.heals:
            continue
        if step.target == "minority" and not may_fail(scenario.nodes):
            return f"{step.kind} of a minority needs 3 nodes at least, not {scenario.nodes}"
        if step.target not in CHOICES and step.target not in names:
            return f"{step.kind} of {step.target}: there are {', '.join(names)} only"
    return ""


def draw(gauntlet: Gauntlet, kinds: Sequence[FaultKind], nodes: int, random: Random) -> Step:
    """Draw the next step of a gauntlet from `kinds`. It breaks one of `nodes`, or as many as may fail.

    Leader and followers are equally likely.
    """
    kind = random.choice(kinds)
    targets = ["leader", "follower"]
    if kind in (FaultKind.KILL, FaultKind.PAUSE, FaultKind.PARTITION) and may_fail(nodes):
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


def too_few(health: Mapping[str, Any], gone: Iterable[str]) -> str | None:
    """Why the voters without `gone` are no majority; None if they are. `health` is the answer of /v1/operator/health.

    A voter counts if it answers, has no fault, is connected to the leader, and lacks at most LAG entries.
    """
    said = {one["Name"]: one["Node"] for one in health["Nodes"] if one["Node"] is not None}
    leader = next((node for node in said.values() if node["role"] == "leader"), None)
    if leader is None:
        return "no node leads now: heal the cluster first"
    voters = [peer for peer in leader["peers"] if peer["server"]["voter"]]
    quorum = majority(len(voters))
    able = {
        peer["server"]["name"]
        for peer in voters
        if peer["server"]["name"] in said
        and not said[peer["server"]["name"]]["fault"]
        and peer["server"]["status"] == "alive"
        and (peer["lag"] or 0) <= LAG
    }
    left = sorted(able - set(gone))
    if len(left) >= quorum:
        return None
    there = f"{', '.join(left)} would be left" if left else "none would be left"
    return f"of {len(voters)} voters, {len(able)} are healthy and {quorum} must stay; {there}"
