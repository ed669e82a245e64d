"""Claims: who may hold a volume with whom, how a claim ends, and what refusals say."""

from __future__ import annotations

import pytest

from tests.core.machine import Machine, allocation, fingerprint, machine_with_plugin, volume
from volstore.commands import ClaimVolume, DeleteAllocation, DeleteNode, DetachVolume, PutAllocations, SetNodeStatus
from volstore.model import ACCESS_MODES, READ, RELEASE, WRITE, Allocation, Claim, Namespace
from volstore.queries import VolumeQuery

RELEASED = 3


def claimable(mode: str = "multi-node-multi-writer", *more: Allocation) -> Machine:
    """Volume v; allocations web1 and web2 of job web on n1, web3 of web on n2, db1 of job db on n1."""
    machine = machine_with_plugin()
    machine.report("n2")
    machine.register(volume("v", access_mode=mode))
    machine.done(
        PutAllocations(
            (
                allocation("web1"),
                allocation("web2"),
                allocation("web3", node_id="n2"),
                allocation("db1", job_id="db"),
                *more,
            )
        )
    )
    return machine


def take(machine: Machine, allocation_id: str, mode: int = READ, **changes: object) -> tuple[int, str]:
    fields: dict[str, object] = {"namespace": "default", "id": "v", "allocation_id": allocation_id, "mode": mode}
    outcome = machine.do(ClaimVolume(**{**fields, **changes}))  # type: ignore[arg-type]  # fields by name
    return outcome.status, outcome.text


def release(machine: Machine, allocation_id: str, state: int = RELEASED) -> None:
    assert take(machine, allocation_id, RELEASE, state=state) == (200, "")


def held(machine: Machine) -> tuple[list[str], list[str], list[str]]:
    """Readers, writers, past, by allocation."""
    found = machine.volume("v")
    return sorted(found.read_claims), sorted(found.write_claims), sorted(found.past_claims)


def set_status(machine: Machine, status: str, *ids: str) -> None:
    rows = [machine.state.allocation(id) for id in ids]
    changed = tuple(
        allocation(row.id, node_id=row.node_id, job_id=row.job_id, client_status=status) for row in rows if row
    )
    machine.done(PutAllocations(changed))


# What is granted.


@pytest.mark.parametrize("mode", ACCESS_MODES)
def test_every_mode_takes_readers(mode: str) -> None:
    machine = claimable(mode)
    assert take(machine, "web1") == (200, "")
    assert take(machine, "db1") == (200, "")
    assert held(machine) == (["db1", "web1"], [], [])


def test_a_claim_knows_of_its_allocation_what_must_be_known_when_it_has_gone() -> None:
    machine = claimable()
    take(machine, "db1", WRITE)
    assert machine.volume("v").write_claims == {
        "db1": Claim(allocation_id="db1", node_id="n1", mode=WRITE, job_id="db", taken_at=machine.clock)
    }


@pytest.mark.parametrize("mode", ["single-node-writer", "multi-node-single-writer", "multi-node-multi-writer"])
def test_writers_of_one_job_share_a_volume_and_those_of_another_wait(mode: str) -> None:
    machine = claimable(mode)
    assert take(machine, "web1", WRITE)[0] == 200
    assert take(machine, "web2", WRITE)[0] == 200
    status, text = take(machine, "db1", WRITE)
    assert (status, text.split(":")[0]) == (409, "volume max claim reached")
    assert held(machine) == ([], ["web1", "web2"], [])
    release(machine, "web1")
    release(machine, "web2")
    assert take(machine, "db1", WRITE)[0] == 200


def test_the_same_job_of_another_namespace_is_another_job() -> None:
    machine = claimable("multi-node-single-writer", allocation("other", namespace="other"))
    assert take(machine, "web1", WRITE)[0] == 200
    assert take(machine, "other", WRITE)[0] == 409


@pytest.mark.parametrize("mode", ["single-node-reader-only", "multi-node-reader-only"])
def test_a_reader_only_mode_takes_no_writers(mode: str) -> None:
    machine = claimable(mode)
    status, text = take(machine, "web1", WRITE)
    assert (status, text) == (409, f"unschedulable: access mode {mode} takes no writers")


@pytest.mark.parametrize("mode", ["single-node-reader-only", "single-node-writer"])
def test_a_single_node_mode_is_for_one_node_at_a_time(mode: str) -> None:
    machine = claimable(mode)
    assert take(machine, "web1")[0] == 200
    status, text = take(machine, "web3")
    assert (status, text.split(":")[0]) == (409, "volume max claim reached")
    assert "claimed by allocation web1 (job web, node n1, since " in text
    release(machine, "web1")
    assert take(machine, "web3")[0] == 200


@pytest.mark.parametrize("state", [0, 1, 2])
def test_what_is_not_unmounted_yet_keeps_a_single_node_volume_on_its_node(state: int) -> None:
    machine = claimable("single-node-writer")
    take(machine, "web1", WRITE)
    release(machine, "web1", state)
    assert take(machine, "web3")[0] == 409


def test_a_reader_becomes_a_writer_and_a_writer_a_reader() -> None:
    machine = claimable()
    take(machine, "web1", READ)
    take(machine, "web1", WRITE)
    assert held(machine) == ([], ["web1"], [])
    take(machine, "web1", READ)
    assert held(machine) == (["web1"], [], [])


@pytest.mark.parametrize("mode", [READ, WRITE])
def test_claiming_again_otherwise_ends_what_was_being_released(mode: int) -> None:
    machine = claimable()
    take(machine, "web1", 1 - mode)
    release(machine, "web1", 1)
    take(machine, "web1", mode)
    assert held(machine) == ((["web1"], [], []) if mode == READ else ([], ["web1"], []))


@pytest.mark.parametrize("mode", [READ, WRITE])
def test_what_is_claimed_already_is_granted_again_though_the_plugin_is_ill(mode: int) -> None:
    machine = claimable()
    take(machine, "web1", mode)
    before = machine.volume("v")
    for node in ("n1", "n2"):
        machine.report(node, node_plugins={"p": fingerprint(healthy=False)})
    assert take(machine, "web1", mode) == (200, "")
    after = machine.volume("v")
    assert (after.read_claims, after.write_claims) == (before.read_claims, before.write_claims)
    assert after.modify_index == machine.state.index > before.modify_index
    status, text = take(machine, "web2", mode)
    assert (status, text) == (
        409,
        "unschedulable: the volume's plugin p is not healthy: 0 of 2 nodes and 0 of 0 controllers are",
    )


def test_a_volume_whose_plugin_has_gone_is_unschedulable() -> None:
    machine = claimable()
    for node in ("n1", "n2"):
        machine.report(node, node_plugins={})
    assert take(machine, "web1") == (409, "unschedulable: the volume's plugin p is gone")


# What is refused before anything else.


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"id": ""}, 400, "missing volume ID"),
        ({"id": "none"}, 404, "volume not found: none"),
        ({"namespace": "other"}, 404, "volume not found: v"),
        ({"allocation_id": ""}, 400, "validation: missing allocation id"),
        ({"allocation_id": "none"}, 404, "Unknown allocation: none"),
        ({"allocation_id": "x" * 999}, 404, f"Unknown allocation: {'x' * 256}…"),
        ({"node_id": "n2"}, 400, 'validation: allocation web1 is on node "n1", not on "n2"'),
        ({"mode": 3}, 400, "validation: unknown claim mode 3"),
        ({"mode": -1}, 400, "validation: unknown claim mode -1"),
        ({"state": 3}, 400, "validation: claim state 3 is for releases"),
        ({"mode": RELEASE, "state": 4}, 400, "validation: unknown claim state 4"),
        ({"mode": RELEASE, "state": -1}, 400, "validation: unknown claim state -1"),
        ({"mode": RELEASE, "id": "none"}, 404, "volume not found: none"),
        ({"mode": RELEASE, "node_id": "n2"}, 400, 'validation: allocation web1 is on node "n1", not on "n2"'),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused_and_changes_nothing(
    changes: dict[str, object], status: int, text: str
) -> None:
    machine = claimable()
    before = machine.volume("v")
    found = take(machine, **{"allocation_id": "web1", **changes})  # type: ignore[arg-type]  # fields by name
    assert (found[0], found[1][: len(text)]) == (status, text)
    assert machine.volume("v") is before


@pytest.mark.parametrize("status", ["complete", "failed", "lost"])
def test_an_allocation_that_has_ended_claims_nothing(status: str) -> None:
    machine = claimable("multi-node-multi-writer", allocation("gone", client_status=status))
    code, text = take(machine, "gone")
    assert (code, text) == (409, f"allocation gone is {status}: only one that runs, or will, claims a volume")


def test_a_refusal_names_who_holds_the_volume_since_when_and_what_frees_it() -> None:
    machine = claimable("single-node-writer", allocation("away", node_id="n2", job_id="x"))
    take(machine, "db1", WRITE)
    _, text = take(machine, "away", WRITE)
    assert text == (
        "volume max claim reached: single-node-writer is for one node at a time: claimed by allocation db1 (job db, "
        "node n1, since 2023-11-14T22:13:25Z; free it with: volstore volume release v db1)"
    )
    machine.done(DeleteAllocation("db1"))
    assert take(machine, "away", WRITE)[1].endswith("free it with: volstore volume detach v n1)")


def test_the_command_that_frees_a_volume_can_be_pasted_whatever_the_ids_are() -> None:
    machine = claimable()
    machine.state.put_namespace(Namespace(name="team a"))
    machine.register(volume("v'1"), namespace="team a")
    machine.done(ClaimVolume("team a", "v'1", "web1", WRITE))
    outcome = machine.do(ClaimVolume("team a", "v'1", "db1", WRITE))
    assert """volstore volume release '-namespace=team a' 'v'"'"'1' web1""" in outcome.text


def test_the_time_of_a_claim_is_told_whatever_the_log_time_was() -> None:
    machine = claimable()
    machine.do(ClaimVolume("default", "v", "web1", WRITE), time=2**64 - 1)
    assert "since 2554-07-21T23:34:33Z" in take(machine, "db1", WRITE)[1]


# How a claim ends.


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


def test_a_claim_wakes_the_volume_and_the_lists_that_show_it() -> None:
    machine = claimable()
    index = machine.state.index
    take(machine, "web1")
    state = machine.restored().state
    assert state.volume_moved_since("default", "v", index)
    assert state.volumes_moved_since(VolumeQuery("default", node_id="n1"), index)
    assert not state.volumes_moved_since(VolumeQuery("default", node_id="n2"), index)
    index = machine.state.index
    release(machine, "web1")
    state = machine.restored().state
    assert state.volumes_moved_since(VolumeQuery("default", node_id="n1"), index)
    assert not list(state.volumes(VolumeQuery("default", node_id="n1")))


@pytest.mark.parametrize("mode", [READ, WRITE])
def test_an_allocation_wakes_the_volumes_that_show_it_but_not_their_rows(mode: int) -> None:
    machine = claimable()
    take(machine, "web1", mode)
    modified = machine.volume("v").modify_index
    for change in (PutAllocations((allocation("web1", client_status="lost"),)), DeleteAllocation("web1")):
        index = machine.state.index
        machine.done(change)
        assert machine.state.volume_moved_since("default", "v", index)
        assert machine.volume("v").modify_index == modified
    index = machine.state.index
    set_status(machine, "running", "web2")
    assert not machine.state.volume_moved_since("default", "v", index)
