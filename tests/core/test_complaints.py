"""What people complain about in Nomad's trackers about volumes that nobody can free, each as it goes here."""

from __future__ import annotations

from tests.core.machine import Machine, allocation, machine_with_plugin, volume
from volstore.agent import sweep
from volstore.core.commands import (
    ClaimVolume,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    PutAllocations,
    SetNodeStatus,
)
from volstore.core.model import RELEASE, WRITE


def written() -> Machine:
    """Volume v, for one node and one writer, written by allocation a1 on n1."""
    machine = machine_with_plugin()
    machine.report("n2")
    machine.register(volume("v", access_mode="single-node-writer"))
    machine.done(PutAllocations((allocation("a1"), allocation("b1", node_id="n2", job_id="next"))))
    machine.done(ClaimVolume("default", "v", "a1", WRITE))
    return machine


def can_go_on(machine: Machine) -> bool:
    """Whether the next job, on another node, gets the volume."""
    return machine.do(ClaimVolume("default", "v", "b1", WRITE)).status == 200


def test_a_volume_is_not_in_use_long_after_its_job_stopped() -> None:
    machine = written()
    assert not can_go_on(machine)
    machine.done(PutAllocations((allocation("a1", client_status="complete", desired_status="stop"),)))
    assert can_go_on(machine)


def test_a_client_that_died_halfway_through_unmounting_does_not_hold_the_volume_for_ever() -> None:
    machine = written()
    machine.done(ClaimVolume("default", "v", "a1", RELEASE, 1))
    assert not can_go_on(machine)
    machine.done(PutAllocations((allocation("a1", client_status="failed"),)))
    assert can_go_on(machine)


def test_claims_of_a_garbage_collected_node_are_freed() -> None:
    machine = written()
    machine.done(SetNodeStatus("n1", "down"))
    machine.done(PutAllocations((allocation("a1", client_status="lost"),)))
    machine.measured().pass_(86_460)
    for command in sweep.abandoned(machine.state, 86_400, 10):
        machine.done(command)
    assert machine.state.node("n1") is None
    assert can_go_on(machine)


def test_an_allocation_lost_after_its_node_was_removed_does_not_hold_the_volume() -> None:
    machine = written()
    machine.done(ClaimVolume("default", "v", "a1", RELEASE, 3))
    machine.done(DeleteNode("n1"))
    machine.done(ClaimVolume("default", "v", "a1", WRITE))  # its agent came back for a moment
    machine.done(PutAllocations((allocation("a1", client_status="lost"),)))
    for command in sweep.abandoned(machine.state, 86_400, 10):
        machine.done(command)
    assert can_go_on(machine)


def test_force_deregisters_a_volume_whose_claimants_were_garbage_collected() -> None:
    machine = written()
    assert machine.do(DeregisterVolume("default", "v", force=True)).status == 409
    machine.done(DeleteAllocation("a1"))
    machine.done(DeregisterVolume("default", "v", force=True))
    assert machine.state.volume("default", "v") is None


def test_force_does_not_pull_a_volume_from_under_a_workload() -> None:
    machine = written()
    machine.done(PutAllocations((allocation("a2"),)))
    machine.done(ClaimVolume("default", "v", "a2", WRITE))
    machine.done(DeleteAllocation("a1"))
    before = machine.volume("v")
    outcome = machine.do(DeregisterVolume("default", "v", force=True))
    assert (outcome.status, outcome.text.startswith("volume in use: v: claimed by ")) == (409, True)
    assert machine.volume("v") is before


def test_a_volume_can_be_detached_from_a_node_that_is_gone() -> None:
    machine = written()
    machine.done(DeleteAllocation("a1"))
    machine.done(DeleteNode("n1"))
    machine.done(DetachVolume("default", "v", "n1"))
    assert can_go_on(machine)


def test_a_lost_client_that_may_still_have_the_disk_mounted_does_not_lose_it_to_another() -> None:
    machine = written()
    machine.done(SetNodeStatus("n1", "down"))
    machine.done(PutAllocations((allocation("a1", client_status="lost"),)))
    assert not can_go_on(machine)
    machine.done(DetachVolume("default", "v", "n1"))  # an operator who has looked
    assert can_go_on(machine)


def test_a_release_that_is_repeated_after_the_volume_went_on_takes_it_from_nobody() -> None:
    machine = written()
    machine.done(ClaimVolume("default", "v", "a1", RELEASE, 3))
    assert can_go_on(machine)
    for state in (1, 2, 3):
        machine.done(ClaimVolume("default", "v", "a1", RELEASE, state))
    assert sorted(machine.volume("v").write_claims) == ["b1"]
    assert machine.volume("v").past_claims == {}
