"""Allocations: what a report must say, that it replaces the one before, and who waits for it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.claimable import claimable, take
from tests.core.machine import Machine, allocation, machine_with_plugin, volume
from volstore.core import departures
from volstore.core.claim_rules import MOST_REFUSED
from volstore.core.commands import ClaimVolume, DeleteAllocation, PutAllocations, ReportAllocations, TakeClaim
from volstore.core.model import WRITE, Allocation
from volstore.core.rules import refused_parts


def put(machine: Machine, *allocations: Allocation) -> tuple[int, str]:
    outcome = machine.do(PutAllocations(allocations))
    return outcome.status, outcome.text


def stored(machine: Machine, id: str = "a1") -> Allocation:
    found = machine.state.allocation(id)
    assert found is not None
    return found


def test_a_report_replaces_the_one_before_and_keeps_where_it_began() -> None:
    machine = Machine()
    put(machine, allocation(stub={"Name": "old"}))
    first = machine.state.index
    put(machine, allocation(stub={"Name": "new"}, client_status="complete"))
    row = stored(machine)
    assert (row.stub, row.client_status) == ({"Name": "new"}, "complete")
    assert (row.create_index, row.modify_index) == (first, first + 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"id": "", "node_id": "", "job_id": "", "client_status": "", "desired_status": ""},
            "validation: missing allocation id, missing node id, missing job id, missing client status, "
            "missing desired status",
        ),
        ({"job_id": ""}, "validation: missing job id"),
        ({"id": "a b"}, 'validation: allocation id "a b" has the character " "'),
        ({"node_id": "n/1"}, 'validation: node id "n/1" has the character "/"'),
        (
            {"client_status": "done"},
            'validation: unknown client status "done", one of: pending, running, complete, failed, lost, unknown',
        ),
        ({"desired_status": "go"}, 'validation: unknown desired status "go", one of: run, stop, evict'),
    ],
)
def test_a_malformed_report_is_refused_with_all_that_came_with_it(changes: dict[str, object], text: str) -> None:
    machine = Machine()
    status, found = put(machine, allocation("good"), replace(allocation(), **changes))
    assert (status, found[: len(text)]) == (400, text)
    assert list(machine.state.allocations()) == []


def test_no_report_and_the_same_id_twice_are_mistakes() -> None:
    machine = Machine()
    assert put(machine) == (400, "validation: missing allocation definition")
    assert put(machine, allocation(), allocation()) == (400, 'validation: allocation id "a1" is given twice')


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"node_id": "n2"}, 'node cannot be updated from "n1" to "n2"'),
        ({"job_id": "db"}, 'job cannot be updated from "web" to "db"'),
        ({"namespace": "other"}, 'namespace cannot be updated from "default" to "other"'),
    ],
)
def test_an_allocation_does_not_move_while_it_claims_a_volume(changes: dict[str, object], what: str) -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    put(machine, allocation())
    machine.done(ClaimVolume("default", "v", "a1", WRITE))
    for forget in (False, True):  # what a claim says stays true also of one that vanished
        if forget:
            machine.done(DeleteAllocation("a1"))
        status, text = put(machine, replace(allocation(), **changes))
        assert status == 409
        assert text.startswith(f"allocation exists: a1: its {what} while it claims volume v: claimed by allocation a1")
    put(machine, allocation(client_status="complete"))
    assert put(machine, replace(allocation(), **changes)) == (200, "")


def test_an_allocation_is_forgotten_once() -> None:
    machine = Machine()
    put(machine, allocation())
    machine.done(DeleteAllocation("a1"))
    outcome = machine.do(DeleteAllocation("a1"))
    assert (outcome.status, outcome.text) == (404, "alloc not found")


def test_lists_are_by_prefix_and_namespace_in_the_order_of_ids() -> None:
    machine = Machine()
    put(machine, allocation("b1"), allocation("a2", namespace="other"), allocation("a1"))
    for state in (machine.state, machine.restored().state):
        assert [row.id for row in state.allocations()] == ["a1", "a2", "b1"]
        assert [row.id for row in state.allocations("a")] == ["a1", "a2"]
        assert [row.id for row in state.allocations("", "default")] == ["a1", "b1"]
        assert [row.id for row in state.allocations("a", "other")] == ["a2"]


def test_an_allocation_that_changes_its_namespace_leaves_the_list_of_the_old_one() -> None:
    machine = Machine()
    put(machine, allocation())
    index = machine.state.index
    put(machine, allocation(namespace="other"))
    for state in (machine.state, machine.restored().state):
        assert state.allocations_moved_since("", "default", index)
        assert state.allocations_moved_since("a", "other", index)
        assert not state.allocations_moved_since("b", None, index)
        assert not state.allocations_moved_since("", "third", index)


def test_below_the_departures_that_are_remembered_any_allocation_may_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "KEPT", 1)
    machine = Machine()
    put(machine, allocation("a1"), allocation("a2"))
    for id in ("a1", "a2"):
        machine.done(DeleteAllocation(id))
    floor = machine.state.departures.floor
    assert machine.state.allocation_moved_since("a1", floor - 1)
    assert not machine.state.allocation_moved_since("a1", floor)
    assert machine.state.allocations_moved_since("x", None, floor - 1)


def test_one_that_contradicts_its_claim_refuses_no_others_of_its_report() -> None:
    machine = claimable()
    take(machine, "web1")
    good = allocation("new"), allocation("web2", client_status="complete")
    moved = allocation("web1", node_id="n2")
    outcome = machine.do(ReportAllocations((good[0], moved, good[1])))
    assert outcome.status == 200
    assert list(refused_parts(outcome)) == ["web1"]
    assert 'its node cannot be updated from "n1" to "n2"' in refused_parts(outcome)["web1"]
    rows = [stored(machine, id) for id in ("new", "web1", "web2")]
    assert [(row.node_id, row.client_status) for row in rows] == [
        ("n1", "running"),
        ("n1", "running"),
        ("n1", "complete"),
    ]
    alone = machine.do(ReportAllocations((moved,)))
    assert (alone.status, alone.text[:23]) == (409, "allocation exists: web1")
    assert refused_parts(machine.done(ReportAllocations(good))) == {}


def test_a_report_with_too_many_that_are_refused_stores_none() -> None:
    many = [f"m{number:03}" for number in range(MOST_REFUSED + 1)]
    machine = claimable("multi-node-multi-writer", *(allocation(id) for id in many))
    for id in many:
        machine.done(TakeClaim("default", "v", id, 0))
    moved = tuple(allocation(id, node_id="n2") for id in many)
    outcome = machine.do(ReportAllocations((*moved, allocation("new"))))
    assert (outcome.status, outcome.text.endswith("; 50 more are refused, and none was stored")) == (409, True)
    assert machine.state.allocation("new") is None
    assert machine.do(ReportAllocations((*moved[1:], allocation("new")))).status == 200
