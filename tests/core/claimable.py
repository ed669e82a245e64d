"""A volume that may be claimed, and what is done with it, for all tests of claims."""

from __future__ import annotations

from tests.core.machine import Machine, allocation, machine_with_plugin, volume
from volstore.core.commands import ClaimVolume, PutAllocations
from volstore.core.model import READ, RELEASE, Allocation

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
