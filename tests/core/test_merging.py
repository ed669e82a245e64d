"""Registering again: the table of contract-today.md §1, row by row, unused and in use."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.machine import Machine, allocation, fingerprint, machine_with_plugin, node, volume
from volstore.core.commands import (
    MergeVolumes,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    TakeClaim,
    for_level_one,
)
from volstore.core.merging import check_merge, size
from volstore.core.model import (
    WRITE,
    Capability,
    DatedVolume,
    MountOptions,
    Topology,
    TopologyRequest,
    Volume,
    dates,
)

WRITER = Capability("single-node-writer", "file-system")
READER = Capability("multi-node-reader-only", "file-system")
SHARED = Capability("multi-node-multi-writer", "file-system")
ZONE_A = TopologyRequest(required=(Topology({"zone": "a"}),))
FULL = Volume(
    id="v",
    name="name",
    external_id="ext",
    plugin_id="p",
    mount_options=MountOptions("ext4", ("user=xyzzy",)),
    secrets={"password": "old"},
    parameters={"type": "io1"},
    context={"share": "a"},
    requested_capabilities=(WRITER, READER),
    requested_capacity_min=5 * 10**9,
    requested_capacity_max=10 * 10**9,
    capacity=6 * 10**9,
    clone_id="clone",
    requested_topologies=ZONE_A,
)
BARE = Volume(
    id="v",
    plugin_id="p",
    mount_options=FULL.mount_options,
    requested_capabilities=FULL.requested_capabilities,
    requested_topologies=ZONE_A,
)
"""What keeps all that can be kept."""
BEGIN = "volume exists: v: cannot be updated so: unable to update volume: "


def but(given: Volume, **changes: object) -> Volume:
    return msgspec.structs.replace(given, **changes)


def merge(machine: Machine, *given: Volume) -> tuple[int, str]:
    outcome = machine.do(MergeVolumes(given))
    return outcome.status, outcome.text


def registered(*, used: bool = False) -> Machine:
    """FULL, where `used` by a writer as single-node-writer."""
    machine = machine_with_plugin()
    assert merge(machine, FULL) == (200, "")
    if used:
        machine.done(PutAllocations((allocation(),)))
        machine.done(TakeClaim("default", "v", "a1", WRITE))
    return machine


def test_a_new_volume_is_as_it_was_given_and_dated() -> None:
    row = registered().volume("v")
    assert isinstance(row, DatedVolume)
    assert row.create_time == row.modify_time == 1_700_000_002 * 10**9
    assert row.topologies == ZONE_A.required
    assert (row.access_mode, row.attachment_mode, row.in_use) == ("single-node-writer", "file-system", False)
    assert (row.provider, row.provider_version) == ("ebs", "1.0")


def test_given_topologies_stand_before_those_that_were_asked_for() -> None:
    machine = machine_with_plugin()
    there = (Topology({"zone": "b"}, flat=True),)
    assert merge(machine, but(FULL, topologies=there)) == (200, "")
    assert machine.volume("v").topologies == there


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("given", [FULL, BARE])
def test_the_same_again_is_good_and_absent_is_as_it_was(given: Volume, used: bool) -> None:
    machine = registered(used=used)
    before = machine.volume("v")
    assert merge(machine, given) == (200, "")
    after = machine.volume("v")
    moved = {"modify_index", "touch_index", "modify_time"}
    changed = {name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    # Secrets alone are what was given, also nothing.
    assert changed == (moved if given is FULL else {*moved, "secrets"})
    assert dates(after)[1] == machine.clock
    assert after.in_use is used


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "other"}, 'volume name cannot be updated from "name" to "other"'),
        ({"external_id": "other"}, 'volume external ID cannot be updated from "ext" to "other"'),
        ({"clone_id": "other"}, 'volume clone ID cannot be updated from "clone" to "other"'),
        ({"clone_id": "", "snapshot_id": "s"}, 'volume snapshot ID cannot be updated from "" to "s"'),
        ({"plugin_id": "q"}, 'volume plugin ID cannot be updated from "p" to "q"'),
        ({"parameters": {"type": "io2"}}, "volume parameters cannot be updated"),
        (
            {"requested_topologies": TopologyRequest(required=(Topology({"zone": "b"}),))},
            "volume topology request update was not compatible with existing topology",
        ),
        (
            {"requested_topologies": None},
            "volume topology request update was not compatible with existing topology",
        ),
        (
            {"requested_capacity_min": 0, "requested_capacity_max": 4 * 10**9},
            "max requested capacity (4 GB) less than or equal to current (6 GB)",
        ),
        (
            {"name": "other", "parameters": {"a": "b"}},
            'volume name cannot be updated from "name" to "other", volume parameters cannot be updated',
        ),
    ],
)
def test_what_names_or_makes_the_storage_stays(changes: dict[str, object], text: str, used: bool) -> None:
    machine = registered(used=used)
    machine.report("n2", node_plugins={"q": fingerprint()})
    before = machine.volume("v")
    status, told = merge(machine, but(FULL, **changes))
    assert (status, told.partition(": claimed by ")[0]) == (409, BEGIN + text)
    assert ("claimed by allocation a1" in told) is used
    assert machine.volume("v") is before


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": {"password": "new"}},
        {"secrets": {}},
        {"context": {"share": "b"}},
        {"requested_capabilities": (WRITER, SHARED)},
        {"requested_capacity_min": 7 * 10**9},
        {"requested_capacity_max": 7 * 10**9},
    ],
)
def test_what_is_rotated_is_replaced(changes: dict[str, object], used: bool) -> None:
    machine = registered(used=used)
    assert merge(machine, but(FULL, **changes)) == (200, "")
    row = machine.volume("v")
    assert {name: getattr(row, name) for name in changes} == changes
    assert (row.access_mode, row.in_use) == ("single-node-writer", used)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"requested_capabilities": (SHARED, READER)},
            "volume requested capabilities update was not compatible with existing capability in use "
            "(single-node-writer file-system)",
        ),
        (
            {"requested_capabilities": (Capability("single-node-writer", "block-device"),)},
            "volume requested capabilities update was not compatible with existing capability in use "
            "(single-node-writer file-system)",
        ),
        ({"mount_options": None}, "can not update mount options while volume is in use"),
        (
            {"mount_options": MountOptions("xfs", ("user=xyzzy",))},
            "can not update mount options while volume is in use",
        ),
    ],
)
def test_what_a_mount_relies_on_changes_only_while_nobody_holds_the_volume(
    changes: dict[str, object], text: str
) -> None:
    machine = registered(used=True)
    status, told = merge(machine, but(FULL, **changes))
    assert (status, told.partition(": claimed by ")[0]) == (409, BEGIN + text)
    machine.done(ReleaseClaim("default", "v", "a1", 3))
    assert merge(machine, but(FULL, **changes)) == (200, "")
    row = machine.volume("v")
    assert {name: getattr(row, name) for name in changes} == changes
    assert row.access_mode == row.requested_capabilities[0].access_mode


@pytest.mark.parametrize("used", [False, True])
def test_flags_that_came_as_a_read_shows_them_stay_as_they_are(used: bool) -> None:
    machine = registered(used=used)
    shown = MountOptions("ext4", ("[REDACTED]",))
    assert merge(machine, but(FULL, mount_options=shown)) == (200, "")
    assert machine.volume("v").mount_options == FULL.mount_options
    status, text = merge(machine, but(FULL, id="w", external_id="w", mount_options=shown))
    assert status == 400
    assert 'MountOptions.MountFlags ["[REDACTED]"] is what a read shows' in text


def test_a_topology_request_of_a_volume_without_topologies_is_dropped() -> None:
    machine = machine_with_plugin()
    assert merge(machine, but(FULL, requested_topologies=None)) == (200, "")
    assert merge(machine, FULL) == (200, "")
    row = machine.volume("v")
    assert (row.requested_topologies, row.topologies) == (None, ())


def test_a_volume_from_before_is_given_the_topologies_that_it_asked_for_and_dates() -> None:
    machine = machine_with_plugin()
    machine.done(RegisterVolumes("default", (FULL,)))
    assert (machine.volume("v").topologies, dates(machine.volume("v"))) == ((), (0, 0))
    assert merge(machine, FULL) == (200, "")
    assert machine.volume("v").topologies == ZONE_A.required
    assert dates(machine.volume("v")) == (0, machine.clock)
    assert machine.restored().volume("v") == machine.volume("v")


def test_a_row_of_the_first_level_keeps_its_bytes_beside_those_of_the_second() -> None:
    machine = machine_with_plugin()
    machine.done(RegisterVolumes("default", (FULL,)))
    first = machine.state._volumes.table.frames["default", "v"]
    assert merge(machine, but(FULL, id="w")) == (200, "")
    assert machine.state._volumes.table.frames["default", "v"] == first
    restored = machine.restored()
    assert type(restored.volume("v")) is Volume
    assert restored.volume("w") == machine.volume("w")
    assert restored.fsm.digest() == machine.fsm.digest()


def test_each_volume_is_in_its_own_namespace_and_all_or_none_are_registered() -> None:
    machine = registered()
    assert merge(machine, but(FULL, id="x"), but(FULL, id="x", namespace="nope")) == (
        400,
        "volume x is in nonexistent namespace nope: validation: a volume is registered in a namespace that exists",
    )
    assert machine.state.volume("default", "x") is None
    assert merge(machine, but(FULL, id="x"), but(FULL, id="x"))[1] == 'validation: volume id "x" is given twice'
    assert merge(machine)[1] == "missing volume definition"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "."}, 'volume id "." can\'t be read back: in a path it is a step, and no name'),
        ({"id": ".."}, 'volume id ".." can\'t be read back: in a path it is a step, and no name'),
        ({"snapshot_id": "s"}, "only one of snapshot_id and clone_id is allowed"),
        (
            {"requested_topologies": TopologyRequest(required=(Topology(),))},
            "required topology is missing segments field",
        ),
        (
            {"requested_topologies": TopologyRequest(preferred=(Topology({}),))},
            "preferred topology is missing segments field",
        ),
        (
            {"requested_capacity_min": 10**10, "requested_capacity_max": 5 * 10**9},
            "max requested capacity (5 GB) less than or equal to min (10 GB)",
        ),
        ({"capacity": -1}, "Capacity is -1: it is a number of bytes, at least 0"),
        (
            {"requested_capabilities": (Capability("x", "file-system"),)},
            'RequestedCapabilities[0]: unknown access mode "x", one of: single-node-reader-only, single-node-writer, '
            "multi-node-reader-only, multi-node-single-writer, multi-node-multi-writer, single-node-single-writer, "
            "single-node-multi-writer, single-node-reader",
        ),
    ],
)
def test_what_is_malformed_is_refused(changes: dict[str, object], text: str) -> None:
    machine = machine_with_plugin()
    assert merge(machine, but(FULL, **changes)) == (400, f"validation: {text}")


def test_the_mode_that_init_writes_is_read_as_reader_only() -> None:
    machine = machine_with_plugin()
    odd = Capability("single-node-reader", "file-system")
    plain = Capability("single-node-reader-only", "file-system")
    given = but(FULL, requested_capabilities=(odd, plain, WRITER))
    assert merge(machine, given) == (200, "")
    assert machine.volume("v").requested_capabilities == (plain, WRITER)
    assert merge(machine, given) == (200, "")


@pytest.mark.parametrize("mode", ["single-node-single-writer", "single-node-multi-writer"])
def test_modes_of_csi_1_5_are_taken(mode: str) -> None:
    machine = machine_with_plugin()
    assert machine.do(MergeVolumes((volume(access_mode=mode),))).status == 200
    assert machine.volume("v").requested_capabilities == (Capability(mode, "file-system"),)


def test_another_provider_is_another_volume() -> None:
    machine = registered()
    machine.done(PutNode(node(node_plugins={"p": fingerprint(provider="nfs")})))
    status, text = merge(machine, FULL)
    assert (status, "volume identity cannot be updated: v" in text) == (409, True)


def test_every_refusal_but_a_missing_plugin_tells_terraform_to_give_up() -> None:
    machine = registered(used=True)
    for given in (
        (),
        (but(FULL, id=""),),
        (but(FULL, namespace="nope"),),
        (but(FULL, mount_options=None),),
        (but(FULL, requested_capabilities=(SHARED,)),),
        (but(FULL, requested_topologies=None),),
        (but(FULL, requested_capacity_max=10**9, requested_capacity_min=0),),
    ):
        refusal = check_merge(machine.state, MergeVolumes(given))
        assert refusal is not None
        words = ("validation:", "already exist", "cannot be updated", "missing volume definition")
        assert any(word in refusal.text for word in words), refusal


def test_while_a_member_is_at_level_one_volumes_of_one_namespace_are_registered_as_before() -> None:
    assert for_level_one(MergeVolumes((FULL,))) == RegisterVolumes("default", (FULL,))
    assert for_level_one(MergeVolumes((FULL, but(FULL, namespace="other")))) is None


def test_volumes_of_one_disk_find_each_other() -> None:
    machine = registered()
    machine.report("n2", node_plugins={"q": fingerprint()})
    merge(machine, but(FULL, id="w"), but(FULL, id="x", plugin_id="q"), but(FULL, id="y", external_id=""))
    state = machine.state
    for state in (machine.state, machine.restored().state):
        by_id = {id: [row.id for row in state.sharing_disk(state.volume("default", id) or FULL)] for id in "vwxy"}
        assert by_id == {"v": ["w"], "w": ["v"], "x": [], "y": []}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5 * 10**9, "5 GB"), (15 * 10**9, "15 GB"), (2**63 - 1, "9.2 EB")],
)
def test_sizes_are_told_as_people_read_them(number: int, text: str) -> None:
    assert size(number) == text
