"""Claims: who may hold a volume with whom, what refusals say, and whom a claim wakes."""

from __future__ import annotations

import pytest

from tests.core.claimable import claimable, held, release, set_status, take
from tests.core.machine import allocation, fingerprint, volume
from volstore.core.commands import ClaimVolume, DeleteAllocation, PutAllocations, ReleaseClaim, TakeClaim
from volstore.core.model import ACCESS_MODES, READ, RELEASE, WRITE, Claim, Namespace
from volstore.core.queries import VolumeQuery


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


# Level 2.


def test_an_allocation_claims_what_is_in_its_own_namespace() -> None:
    machine = claimable("multi-node-multi-writer", allocation("other", namespace="other"))
    before = machine.volume("v")
    told = ': none of this ID is in namespace "default", where the volume is'
    for id in ("other", "never-seen"):
        for mode in (READ, WRITE):
            outcome = machine.do(TakeClaim("default", "v", id, mode))
            assert (outcome.status, outcome.text) == (404, f"Unknown allocation: {id}{told}")
    assert machine.volume("v") is before
    assert machine.do(TakeClaim("default", "v", "web1", WRITE)).status == 200
    assert held(machine) == ([], ["web1"], [])


@pytest.mark.parametrize("state", [0, 1, 2, 3])
@pytest.mark.parametrize("id", ["web1", "never-seen"])
def test_a_release_of_nothing_is_refused_and_moves_nothing(id: str, state: int) -> None:
    machine = claimable()
    before = machine.volume("v")
    outcome = machine.do(ReleaseClaim("default", "v", id, state))
    assert (outcome.status, outcome.text) == (404, f"nothing to release: allocation {id} has no claim on volume v")
    assert machine.volume("v") is before
    take(machine, "web1")
    assert machine.do(ReleaseClaim("default", "v", "web1", state)).status == 200


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        (TakeClaim("default", "", "web1", READ), 400, "missing volume ID"),
        (TakeClaim("default", "none", "web1", READ), 404, "volume not found: none"),
        (TakeClaim("default", "v", "", READ), 400, "validation: missing allocation id"),
        (TakeClaim("default", "v", "web1", RELEASE), 400, "validation: a claim is taken to read (0) or to write (1)"),
        (TakeClaim("default", "v", "web1", 7), 400, "validation: unknown claim mode 7"),
        (TakeClaim("default", "v", "web1", READ, "n2"), 400, 'validation: allocation web1 is on node "n1"'),
        (ReleaseClaim("default", "none", "web1", 3), 404, "volume not found: none"),
        (ReleaseClaim("default", "v", "web1", 4), 400, "validation: unknown claim state 4"),
        (ReleaseClaim("default", "v", "web1", 3, "n2"), 400, 'validation: allocation web1 is on node "n1"'),
    ],
)
def test_what_level_two_says_without_sense_is_refused(
    command: TakeClaim | ReleaseClaim, status: int, text: str
) -> None:
    machine = claimable()
    outcome = machine.do(command)
    assert (outcome.status, outcome.text[: len(text)]) == (status, text)


@pytest.mark.parametrize("mode", ["single-node-writer", "multi-node-single-writer"])
def test_a_volume_that_thousands_claim_refuses_as_any_other(mode: str) -> None:
    many = tuple(allocation(f"r{number:04}", node_id="n1") for number in range(300))
    machine = claimable(mode, *many)
    for one in many:
        machine.done(TakeClaim("default", "v", one.id, READ))
    machine.done(TakeClaim("default", "v", "web1", WRITE))
    elsewhere = machine.do(TakeClaim("default", "v", "web3", READ))
    other_job = machine.do(TakeClaim("default", "v", "db1", WRITE))
    words = "takes writers of one job at a time" if mode == "single-node-writer" else "takes one writer"
    assert other_job.text.startswith(f"volume max claim reached: {mode} {words}: claimed by ")
    if mode == "single-node-writer":
        assert elsewhere.text.startswith("volume max claim reached: single-node-writer is for one node at a time")
        assert "claimed by allocation r0000 (job web, node n1" in elsewhere.text
        assert elsewhere.text.endswith(" and 298 more")
    else:
        assert elsewhere.status == 200
    assert machine.restored().fsm.digest() == machine.fsm.digest()
