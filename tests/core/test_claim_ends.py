"""How claims end: released, with their allocation or node, or detached; and what of it is kept."""

from __future__ import annotations

import pytest

from tests.core.claimable import RELEASED, claimable, held, release, set_status, take
from tests.core.machine import Machine, volume
from volstore.core.commands import DeleteAllocation, DeleteNode, DetachVolume, SetNodeStatus
from volstore.core.model import READ, RELEASE, WRITE


def test_a_release_forgets_the_claim_and_may_be_repeated() -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    for _ in range(2):
        index = machine.state.index
        release(machine, "web1")
        assert held(machine) == ([], [], [])
        assert machine.volume("v").modify_index == index + 1


@pytest.mark.parametrize("state", [0, 1, 2])
def test_a_release_on_its_way_is_noted_and_the_volume_stays_in_use(state: int) -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    release(machine, "web1", state)
    assert held(machine) == ([], ["web1"], ["web1"])
    noted = machine.volume("v").past_claims["web1"]
    assert (noted.mode, noted.state, noted.node_id, noted.job_id) == (RELEASE, state, "n1", "web")
    assert machine.volume("v").in_use
    release(machine, "web1")
    assert held(machine) == ([], [], [])


def test_a_release_of_nothing_notes_nothing() -> None:
    machine = claimable()
    release(machine, "web1", 1)
    take(machine, "nobody", RELEASE, state=1)
    assert held(machine) == ([], [], [])


def test_an_allocation_that_vanished_can_be_released() -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    machine.done(DeleteAllocation("web1"))
    assert take(machine, "web1", RELEASE, state=RELEASED, node_id="n2")[0] == 400
    assert take(machine, "web1", RELEASE, state=RELEASED, node_id="n1")[0] == 200
    assert held(machine) == ([], [], [])


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_an_allocation_that_ends_frees_all_that_it_claims(status: str) -> None:
    machine = claimable()
    machine.register(volume("w", access_mode="multi-node-multi-writer"))
    take(machine, "web1", WRITE)
    take(machine, "web2", READ)
    take(machine, "web1", READ, id="w")
    release(machine, "web1", 1)
    set_status(machine, status, "web1")
    assert held(machine) == (["web2"], [], [])
    assert not machine.volume("w").in_use
    assert machine.volume("w").modify_index == machine.state.index


def test_an_allocation_that_is_lost_keeps_its_claims() -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    set_status(machine, "lost", "web1")
    assert held(machine) == ([], ["web1"], [])
    assert take(machine, "db1", WRITE)[0] == 409


def test_a_writer_that_vanished_blocks_other_jobs_and_not_its_own() -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    machine.done(DeleteAllocation("web1"))
    assert take(machine, "db1", WRITE)[0] == 409
    assert take(machine, "web2", WRITE)[0] == 200


def test_claims_leave_with_their_node() -> None:
    machine = claimable()
    for id in ("web1", "web3"):
        take(machine, id, WRITE)
    set_status(machine, "lost", "web1")
    machine.done(DeleteNode("n1"))
    assert held(machine) == ([], ["web3"], [])


# Detaching.


def detach(machine: Machine, node_id: str = "n1", id: str = "v") -> tuple[int, str]:
    outcome = machine.do(DetachVolume("default", id, node_id))
    return outcome.status, outcome.text


@pytest.mark.parametrize("end", ["lost", "vanished"])
def test_detaching_frees_what_has_ended_on_a_node_and_nothing_elsewhere(end: str) -> None:
    machine = claimable()
    for id in ("web1", "web3"):
        take(machine, id, WRITE)
    release(machine, "web1", 1)
    if end == "lost":
        set_status(machine, "lost", "web1", "web3")
    else:
        machine.done(DeleteAllocation("web1"))
    assert detach(machine) == (200, "")
    assert held(machine) == ([], ["web3"], [])


def test_detaching_from_a_node_where_something_runs_is_refused_as_a_whole() -> None:
    machine = claimable()
    for id in ("web1", "web2"):
        take(machine, id)
    set_status(machine, "lost", "web1")
    before = machine.volume("v")
    status, text = detach(machine)
    assert status == 409
    assert text.startswith(
        "volume in use: v: node n1 is ready, and what runs there can't be detached: claimed by allocation web2 "
    )
    assert "web1" not in text
    assert machine.volume("v") is before


@pytest.mark.parametrize("gone", [SetNodeStatus("n1", "down"), DeleteNode("n1")])
def test_detaching_from_a_node_that_is_down_or_gone_frees_what_is_thought_to_run_there(
    gone: SetNodeStatus | DeleteNode,
) -> None:
    machine = claimable()
    take(machine, "web1", WRITE)
    machine.do(gone)
    assert detach(machine) == (200, "")
    assert held(machine) == ([], [], [])


def test_detaching_what_is_not_attached_changes_nothing() -> None:
    machine = claimable()
    before = machine.volume("v")
    assert detach(machine, "n2") == (200, "")
    assert detach(machine, "never-seen") == (200, "")
    assert machine.volume("v") is before


@pytest.mark.parametrize(
    ("node_id", "id", "status", "text"),
    [
        ("", "v", 400, "detach requires node ID"),
        ("n1", "", 400, "missing volume ID"),
        ("n1", "none", 404, "volume not found: none"),
    ],
)
def test_detaching_needs_a_volume_and_a_node(node_id: str, id: str, status: int, text: str) -> None:
    assert detach(claimable(), node_id, id) == (status, text)


# Who is woken.
