"""The mode in which a volume is used: open until the first claim, fixed until the last is gone."""

from __future__ import annotations

import pytest

from tests.core.machine import Machine, allocation, machine_with_plugin, node, volume
from volstore.core.commands import (
    ClaimKey,
    DeleteAllocation,
    FreeClaims,
    MergeVolumes,
    PutAllocations,
    PutNode,
    ReleaseClaim,
    SweepClaims,
    TakeClaim,
)
from volstore.core.model import READ, WRITE, Capability

READERS = Capability("single-node-reader-only", "file-system")
WRITER = Capability("single-node-writer", "file-system")
SHARED = Capability("multi-node-multi-writer", "file-system")
BLOCK = Capability("multi-node-multi-writer", "block-device")


def open_to(*capabilities: Capability) -> Machine:
    """A volume with these, two allocations of job web on n1 and n2, one of job db on each."""
    machine = machine_with_plugin()
    machine.done(PutNode(node("n2")))
    machine.done(MergeVolumes((volume(access_mode="", attachment_mode="", requested_capabilities=capabilities),)))
    machine.done(
        PutAllocations(
            (
                allocation("w1"),
                allocation("w2", node_id="n2"),
                allocation("d1", job_id="db"),
                allocation("d2", job_id="db", node_id="n2"),
            )
        )
    )
    return machine


def take(machine: Machine, id: str, mode: int = WRITE, access: str = "", attachment: str = "") -> str:
    """The refusal's words, "" for a claim that was taken."""
    return machine.do(TakeClaim("default", "v", id, mode, "", access, attachment)).text.partition(": claimed by ")[0]


def used(machine: Machine) -> Capability | None:
    row = machine.volume("v")
    return Capability(row.access_mode, row.attachment_mode) if row.in_use else None


def test_the_first_claim_takes_a_capability_in_which_it_can_do_what_it_asks() -> None:
    machine = open_to(READERS, WRITER, SHARED)
    assert used(machine) is None
    assert take(machine, "w1") == ""
    assert used(machine) == WRITER
    machine.done(ReleaseClaim("default", "v", "w1", 3))
    assert used(machine) is None
    assert take(machine, "w1", READ) == ""
    assert used(machine) == READERS
    assert take(machine, "d1") == "unschedulable: access mode single-node-reader-only takes no writers"


def test_a_claim_names_its_modes_and_they_hold_until_the_last_is_gone() -> None:
    machine = open_to(READERS, WRITER, SHARED, BLOCK)
    assert take(machine, "w1", access=SHARED.access_mode) == ""
    assert used(machine) == SHARED
    assert take(machine, "w2", attachment="block-device") == (
        "cannot change attachment mode of claimed volume: it is used as multi-node-multi-writer file-system, not as "
        "block-device, until its last claim is released"
    )
    assert take(machine, "w2", access="single-node-writer").startswith("volume max claim reached: it is used as")
    assert take(machine, "w2", access=SHARED.access_mode) == ""
    machine.done(ReleaseClaim("default", "v", "w1", 3))
    assert used(machine) == SHARED
    machine.done(ReleaseClaim("default", "v", "w2", 1))  # not unmounted yet
    assert used(machine) == SHARED
    machine.done(ReleaseClaim("default", "v", "w2", 3))
    assert used(machine) is None
    assert take(machine, "d2", attachment="block-device") == ""
    assert used(machine) == BLOCK


@pytest.mark.parametrize(
    ("access", "attachment", "text"),
    [
        (
            "multi-node-reader-only",
            "",
            "unschedulable: the volume can't be used as multi-node-reader-only, only as one of: "
            "single-node-reader-only file-system, single-node-writer file-system",
        ),
        ("single-node-reader-only", "", "unschedulable: access mode single-node-reader-only takes no writers"),
        ("", "usb", 'validation: unknown attachment mode "usb", one of: file-system, block-device'),
        ("single-node-reader", "", 'validation: unknown access mode "single-node-reader", one of: '),
    ],
)
def test_modes_that_the_volume_has_not_are_refused(access: str, attachment: str, text: str) -> None:
    machine = open_to(READERS, WRITER)
    before = machine.volume("v")
    assert take(machine, "w1", WRITE, access, attachment).startswith(text)
    assert machine.volume("v") is before


def test_who_alone_holds_a_volume_may_use_it_otherwise_from_now_on() -> None:
    machine = open_to(READERS, WRITER)
    assert take(machine, "w1", READ) == ""
    assert take(machine, "w1", WRITE) == ""
    assert used(machine) == WRITER
    assert take(machine, "w1", WRITE, access="single-node-reader-only").startswith("volume max claim reached")


@pytest.mark.parametrize(
    ("access", "second", "others"),
    [
        ("single-node-writer", {"w2": "is for one node", "d1": "takes writers of one job"}, ()),
        ("single-node-single-writer", {"w2": "is for one node", "d1": "takes one writer"}, ()),
        ("single-node-multi-writer", {"w2": "is for one node"}, ("d1",)),
        ("multi-node-single-writer", {"w2": "takes one writer", "d1": "takes one writer"}, ()),
        ("multi-node-multi-writer", {}, ("w2", "d1", "d2")),
    ],
)
def test_who_may_write_beside_a_writer(access: str, second: dict[str, str], others: tuple[str, ...]) -> None:
    machine = open_to(Capability(access, "file-system"))
    assert take(machine, "w1") == ""
    for id, words in second.items():
        assert words in take(machine, id)
    for id in others:
        assert take(machine, id) == ""
    assert take(machine, "d1", READ) == ""


def test_claims_of_what_was_deleted_on_a_node_that_is_there_are_freed_and_no_others() -> None:
    machine = open_to(SHARED)
    for id in ("w1", "w2"):
        assert take(machine, id) == ""
    keys = tuple(ClaimKey("default", "v", id, node) for id, node in (("w1", "n1"), ("w2", "n2"), ("d1", "n1")))
    machine.done(DeleteAllocation("w1"))
    machine.done(SweepClaims(keys))
    assert list(machine.volume("v").write_claims) == ["w1", "w2"]  # level 1 keeps them
    machine.done(FreeClaims((*keys, ClaimKey("default", "none", "w1", "n1"))))
    assert list(machine.volume("v").write_claims) == ["w2"]
    machine.done(FreeClaims((ClaimKey("default", "v", "w2", "n1"),)))  # found where it isn't any more
    assert list(machine.volume("v").write_claims) == ["w2"]
