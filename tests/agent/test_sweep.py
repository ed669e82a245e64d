"""The sweep: what hangs is found and freed, at most so much at once, and nothing that may still run."""

from __future__ import annotations

import pytest

from tests.core.machine import SECOND, Machine, allocation, node, volume
from volstore.agent import sweep
from volstore.core.commands import (
    ClaimKey,
    ClaimVolume,
    Command,
    DeleteAllocation,
    FreeClaims,
    PutAllocations,
    PutNode,
    SetNodeStatus,
    SweepClaims,
    SweepNode,
)
from volstore.core.logtime import MAX_STEP
from volstore.core.model import READ

DAY = 86_400.0


def claimed(*volumes: str, on: str = "n1") -> Machine:
    """Volumes, all read by allocation a1 on `on`; plugin p is on n2, which stays."""
    machine = Machine().measured()
    machine.report("n2")
    machine.register(*(volume(id, access_mode="multi-node-reader-only") for id in volumes))
    machine.done(PutAllocations((allocation("a1", node_id=on),)))
    for id in volumes:
        machine.done(ClaimVolume("default", id, "a1", READ))
    return machine


def found(machine: Machine, *, later: float = 0.0, most: int = 100) -> list[Command]:
    """What is swept `later` seconds of log time from now."""
    machine.pass_(later)
    return sweep.abandoned(machine.state, DAY, most)


def end(machine: Machine, how: str) -> None:
    command = DeleteAllocation("a1") if how == "vanished" else PutAllocations((allocation("a1", client_status=how),))
    machine.done(command)


@pytest.mark.parametrize("how", ["lost", "vanished"])
def test_claims_of_ended_allocations_on_unknown_nodes_are_freed(how: str) -> None:
    machine = claimed("v", "w")
    end(machine, how)
    (command,) = found(machine)
    assert command == SweepClaims((ClaimKey("default", "v", "a1", "n1"), ClaimKey("default", "w", "a1", "n1")))
    machine.done(command)
    assert not any(machine.volume(id).in_use for id in ("v", "w"))
    assert found(machine) == []


def test_claims_of_deleted_allocations_are_freed_though_their_node_is_there() -> None:
    machine = claimed("v", "w")
    machine.report("n1")
    assert found(machine) == []
    end(machine, "vanished")
    (command,) = found(machine)
    assert command == FreeClaims((ClaimKey("default", "v", "a1", "n1"), ClaimKey("default", "w", "a1", "n1")))
    machine.done(command)
    assert not any(machine.volume(id).in_use for id in ("v", "w"))
    assert found(machine) == []


def test_what_runs_as_far_as_is_known_keeps_its_claims_though_its_node_has_not_reported() -> None:
    assert found(claimed("v")) == []


def test_what_is_lost_on_a_node_that_is_known_keeps_its_claims() -> None:
    machine = claimed("v", on="n2")
    machine.done(PutAllocations((allocation("a1", node_id="n2", client_status="lost"),)))
    machine.done(SetNodeStatus("n2", "down"))
    assert found(machine) == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        PutAllocations((allocation("a1"),)),
        PutNode(node("n1")),
    ],
)
def test_what_came_back_before_the_command_is_applied_keeps_its_claims(meanwhile: Command) -> None:
    machine = claimed("v")
    end(machine, "lost")
    (command,) = found(machine)
    machine.done(meanwhile)
    before = machine.volume("v")
    machine.done(command)
    assert machine.volume("v") is before


def test_a_sweep_frees_no_other_claims() -> None:
    machine = claimed("v")
    end(machine, "lost")
    before = machine.volume("v")
    for key in (
        ClaimKey("default", "v", "a1", "n2"),
        ClaimKey("default", "v", "a1", "n9"),
        ClaimKey("default", "v", "a2", "n1"),
        ClaimKey("default", "none", "a1", "n1"),
        ClaimKey("other", "v", "a1", "n1"),
    ):
        machine.done(SweepClaims((key,)))
    assert machine.volume("v") is before


def test_a_node_that_is_down_for_longer_than_the_threshold_leaves_with_its_claims_and_instances() -> None:
    machine = claimed("v")
    machine.report("n1")
    machine.done(SetNodeStatus("n1", "down"))
    end(machine, "lost")
    assert found(machine, later=DAY) == []
    (command,) = found(machine, later=MAX_STEP / SECOND)
    assert command == SweepNode("n1", machine.node("n1").modify_index, round(DAY * SECOND))
    machine.done(command)
    assert machine.state.node("n1") is None
    assert machine.plugin("p").nodes_expected == 1
    assert not machine.volume("v").in_use


def test_a_node_that_was_heard_meanwhile_stays() -> None:
    machine = claimed("v")
    machine.report("n1", status="down")
    end(machine, "lost")
    (command,) = found(machine, later=DAY + 60)
    machine.done(SetNodeStatus("n1", "ready"))
    outcome = machine.do(command)
    assert (outcome.status, outcome.text.split(":")[0]) == (409, "node n1 has changed meanwhile")
    assert machine.volume("v").in_use
    assert found(machine, later=DAY) == []


def test_commands_are_bounded_and_what_is_left_comes_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "CLAIMS_AT_ONCE", 2)
    machine = claimed(*(f"v{number}" for number in range(7)))
    end(machine, "lost")
    sizes = []
    while commands := found(machine, most=2):
        for command in commands:
            assert isinstance(command, SweepClaims)
            sizes.append(len(command.claims))
            machine.done(command)
    assert sizes == [2, 2, 2, 1]


def test_a_node_whose_allocation_has_not_ended_stays_with_its_claims_however_long_it_is_down() -> None:
    machine = claimed("v")
    machine.report("n1", status="down")
    assert found(machine, later=10 * DAY) == []
    forged = SweepNode("n1", machine.node("n1").modify_index, round(DAY * SECOND))
    outcome = machine.do(forged)
    assert (outcome.status, outcome.text) == (409, "node n1 holds a volume for allocation a1, which has not ended")
    assert machine.volume("v").in_use
    end(machine, "complete")
    machine.done(forged)
    assert not machine.volume("v").in_use


def test_an_allocation_that_starts_while_its_node_is_swept_keeps_the_node() -> None:
    machine = claimed("v")
    machine.report("n1", status="down")
    end(machine, "lost")
    (command,) = found(machine, later=DAY + 60)
    machine.done(PutAllocations((allocation("a1"),)))
    assert machine.do(command).status == 409
    assert machine.volume("v").in_use


def test_an_operator_may_have_nodes_swept_with_what_runs_on_them() -> None:
    machine = claimed("v")
    machine.report("n1", status="down")
    machine.pass_(DAY + 60)
    (command,) = sweep.abandoned(machine.state, DAY, 100, running=True)
    machine.done(command)
    assert not machine.volume("v").in_use


@pytest.mark.parametrize("years", [10, -10])
def test_no_proposers_clock_makes_a_node_be_swept(years: int) -> None:
    machine = claimed("v")
    machine.report("n1", status="down")
    end(machine, "lost")
    machine.do(PutNode(node("n3")), time=machine.clock + round(years * 365 * DAY * SECOND))
    assert found(machine, later=DAY - 1) == []


def test_nothing_is_swept_by_the_clock_before_time_is_measured() -> None:
    machine = Machine()
    machine.report("n1", status="down")
    machine.do(PutNode(node("n2")), time=machine.clock + round(100 * DAY * SECOND))
    assert sweep.abandoned(machine.state, DAY, 100) == []
