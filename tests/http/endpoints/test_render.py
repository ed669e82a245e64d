"""What a row says stands under its own name in the view that answers are made of."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from volstore.core.model import Capability, Claim, DatedVolume, MountOptions, Plugin, Topology, TopologyRequest
from volstore.core.state import State
from volstore.http.endpoints.render import claimed_volume_view, nobody, volume_view
from volstore.http.endpoints.views import ClaimView

PLUGIN = Plugin(
    id="plugin",
    provider="its provider",
    version="its version",
    controller_required=True,
    controllers_healthy=1,
    controllers_expected=2,
    nodes_healthy=3,
    nodes_expected=4,
)
READER = Claim(allocation_id="reader", node_id="n1", mode=0)
WRITER = Claim(allocation_id="writer", node_id="n2", mode=1)
PAST = Claim(allocation_id="past", node_id="n3", mode=0, state=1)
VOLUME = DatedVolume(
    id="id",
    namespace="namespace",
    name="name",
    external_id="external",
    plugin_id="plugin",
    access_mode="access",
    attachment_mode="attachment",
    topologies=(Topology({"rack": "r1"}),),
    mount_options=MountOptions("ext4", ("noatime",)),
    secrets={"password": "secret"},
    parameters={"parameter": "p"},
    context={"context": "c"},
    requested_capabilities=(Capability("a1", "b1"), Capability("a2", "b2")),
    requested_capacity_min=5,
    requested_capacity_max=6,
    capacity=7,
    clone_id="clone",
    snapshot_id="snapshot",
    requested_topologies=TopologyRequest((Topology({"rack": "r2"}),), (Topology({"rack": "r3"}, flat=True),)),
    provider="provider at its registration",
    provider_version="version at its registration",
    read_claims={"reader": READER},
    write_claims={"writer": WRITER},
    past_claims={"past": PAST},
    create_index=8,
    modify_index=9,
    touch_index=10,
    create_time=11,
    modify_time=12,
)


def test_every_field_stands_under_its_name() -> None:
    shown = asdict(volume_view(State(), VOLUME, PLUGIN, nobody))
    wanted = [asdict(view) for view in shown.pop("requested_capabilities")]
    topologies = asdict(shown.pop("requested_topologies"))
    assert wanted == [
        {"access_mode": "a1", "attachment_mode": "b1"},
        {"access_mode": "a2", "attachment_mode": "b2"},
    ]
    assert topologies == {"preferred": [{"rack": "r3"}], "required": [{"Segments": {"rack": "r2"}}]}
    assert asdict(shown.pop("mount_options")) == {"fs_type": "ext4", "mount_flags": ["[REDACTED]"]}
    assert shown == {
        "access_mode": "access",
        "allocations": [],
        "attachment_mode": "attachment",
        "capacity": 7,
        "clone_id": "clone",
        "context": {"context": "c"},
        "controller_required": True,
        "controllers_expected": 2,
        "controllers_healthy": 1,
        "create_index": 8,
        "create_time": 11,
        "external_id": "external",
        "id": "id",
        "modify_index": 9,
        "modify_time": 12,
        "name": "name",
        "namespace": "namespace",
        "nodes_expected": 4,
        "nodes_healthy": 3,
        "parameters": {"parameter": "p"},
        "past_claims": {"past": ClaimView(allocation_id="past", mode=0, node_id="n3", state=1)},
        "plugin_id": "plugin",
        "provider": "its provider",
        "provider_version": "its version",
        "read_allocs": {"reader": None},
        "read_claims": {"reader": ClaimView(allocation_id="reader", mode=0, node_id="n1", state=0)},
        "requested_capacity_max": 6,
        "requested_capacity_min": 5,
        "resource_exhausted": "0001-01-01T00:00:00Z",
        "schedulable": True,
        "secrets": None,
        "snapshot_id": "snapshot",
        "topologies": [{"Segments": {"rack": "r1"}}],
        "version": "its version",
        "write_allocs": {"writer": None},
        "write_claims": {"writer": ClaimView(allocation_id="writer", mode=1, node_id="n2", state=0)},
    }


def test_only_the_answer_to_a_claim_that_is_held_shows_what_is_needed_to_mount() -> None:
    read = asdict(volume_view(State(), VOLUME, PLUGIN, nobody))
    shown = asdict(claimed_volume_view(State(), VOLUME, PLUGIN, "writer", nobody, held=True))
    assert asdict(shown.pop("mount_options")) == {"fs_type": "ext4", "mount_flags": ["noatime"]}
    assert shown.pop("secrets") == {"password": "secret"}
    released = asdict(claimed_volume_view(State(), VOLUME, PLUGIN, "writer", nobody, held=False))
    for answer in (read, released):
        assert asdict(answer.pop("mount_options")) == {"fs_type": "ext4", "mount_flags": ["[REDACTED]"]}
        assert answer.pop("secrets") is None
    others: dict[str, Any] = {key: {} for key in ("read_allocs", "read_claims", "past_claims")}
    assert shown == released == {**read, **others}
