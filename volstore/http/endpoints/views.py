"""What the API answers, as structs: Go's spelling of every key, in the order in which they are written (sorted).

The structs are also where the OpenAPI document has its schemas from. `None` in a field that is typed `None` alone is
what the contract wants there always: secrets are shown to nobody who merely reads.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

_UPPER_CASE = ("id", "csi", "ttl", "http", "dc", "fs", "tls", "json")
_ACRONYMS = {word: word.upper() for word in _UPPER_CASE}


def go_name(field: str) -> str:
    """`external_id` as `ExternalID`."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in field.split("_"))


class View(Struct, rename=go_name):
    """Base of all: written in the order of its fields, which is that of the names."""


TopologyView = dict[str, Any]
"""`{"Segments": {…}}` or flat, as it came."""


class CapabilityView(View):
    access_mode: str
    attachment_mode: str


class TopologyRequestView(View):
    preferred: list[TopologyView] | None
    required: list[TopologyView] | None


class ClaimView(View):
    allocation_id: str
    mode: int
    node_id: str
    state: int


class MountOptionsView(View):
    """To whoever merely reads, the flags show as `[REDACTED]`: they may hold credentials."""

    fs_type: str
    mount_flags: list[str] | None


class VolumeItem(View):
    """A volume in a list."""

    access_mode: str
    attachment_mode: str
    controller_required: bool
    controllers_expected: int
    controllers_healthy: int
    create_index: int
    create_time: int
    current_readers: int
    current_writers: int
    external_id: str
    id: str
    modify_index: int
    modify_time: int
    name: str
    namespace: str
    nodes_expected: int
    nodes_healthy: int
    plugin_id: str
    provider: str
    resource_exhausted: str
    schedulable: bool
    topologies: list[TopologyView]


class VolumeView(View):
    """A volume as it is read alone."""

    access_mode: str
    allocations: list[dict[str, Any]]
    attachment_mode: str
    capacity: int
    clone_id: str
    context: dict[str, str]
    controller_required: bool
    controllers_expected: int
    controllers_healthy: int
    create_index: int
    create_time: int
    external_id: str
    id: str
    modify_index: int
    modify_time: int
    mount_options: MountOptionsView | None
    name: str
    namespace: str
    nodes_expected: int
    nodes_healthy: int
    parameters: dict[str, str]
    past_claims: dict[str, ClaimView]
    plugin_id: str
    provider: str
    provider_version: str
    read_allocs: dict[str, None]
    read_claims: dict[str, ClaimView]
    requested_capabilities: list[CapabilityView] | None
    requested_capacity_max: int
    requested_capacity_min: int
    requested_topologies: TopologyRequestView | None
    resource_exhausted: str
    schedulable: bool
    secrets: None
    snapshot_id: str
    topologies: list[TopologyView]
    version: str
    write_allocs: dict[str, None]
    write_claims: dict[str, ClaimView]


class ClaimedVolumeView(VolumeView):
    """A volume as a claim's answer has it: with what whoever mounts it must know, and nobody else may."""

    secrets: dict[str, str] | None  # type: ignore[assignment]  # a reader has none


class RegisteredView(View):
    """What a register answers: the volumes as read."""

    volumes: list[VolumeView]
    warnings: str


class ControllerInfoView(View):
    supports_attach_detach: bool
    supports_list_volumes: bool
    supports_list_volumes_attached_nodes: bool
    supports_read_only_attach: bool


class NodeInfoView(View):
    accessible_topology: TopologyView | None
    id: str
    max_volumes: int
    requires_node_stage_volume: bool


class FingerprintView(View, kw_only=True):
    alloc_id: str
    controller_info: ControllerInfoView | UnsetType = UNSET
    health_description: str
    healthy: bool
    node_info: NodeInfoView | UnsetType = UNSET
    plugin_id: str
    provider: str
    provider_version: str
    requires_controller_plugin: bool
    requires_topologies: bool
    update_time: str


class PluginItem(View):
    """A plugin in a list."""

    controller_required: bool
    controllers_expected: int
    controllers_healthy: int
    create_index: int
    id: str
    modify_index: int
    nodes_expected: int
    nodes_healthy: int
    provider: str


class PluginView(View):
    """A plugin as it is read alone; instances by node ID."""

    allocations: list[dict[str, Any]] | None
    controller_required: bool
    controllers: dict[str, FingerprintView]
    controllers_expected: int
    controllers_healthy: int
    create_index: int
    id: str
    modify_index: int
    nodes: dict[str, FingerprintView]
    nodes_expected: int
    nodes_healthy: int
    provider: str
    version: str


class NodeItem(View):
    """A node in a list. What volstore is not told has the value that Go's clients take for "not there"."""

    address: str
    create_index: int
    datacenter: str
    drain: bool
    drivers: None
    host_volumes: None
    id: str
    last_drain: None
    modify_index: int
    name: str
    node_class: str
    scheduling_eligibility: str
    status: str
    status_description: str
    version: str


class NodeView(View):
    """A node as it is read alone; its secret stays empty."""

    attributes: dict[str, str]
    csi_controller_plugins: dict[str, FingerprintView]
    csi_node_plugins: dict[str, FingerprintView]
    create_index: int
    datacenter: str
    drain: bool
    drain_strategy: None
    drivers: None
    events: None
    http_addr: str
    host_volumes: None
    id: str
    last_drain: None
    links: None
    meta: dict[str, str]
    modify_index: int
    name: str
    node_class: str
    scheduling_eligibility: str
    secret_id: str
    status: str
    status_description: str
    status_updated_at: int
    tls_enabled: bool


class NodeReportedView(View):
    """What a node's report answers. `HeartbeatTTL` is in nanoseconds; 0: heartbeats are not expected (it is down)."""

    heartbeat_ttl: int
    index: int
    node_modify_index: int
    num_nodes: int


class RefusedView(View):
    error: str
    id: str


class ReportedView(View):
    """What a report of many allocations answers: the IDs of those that were stored, and the others."""

    refused: list[RefusedView]
    stored: list[str]


class NamespaceView(View):
    create_index: int
    description: str
    hash: str
    modify_index: int
    name: str
    quota: str


class MemberView(View):
    """A server as Nomad's gossip shows it; the protocol numbers are those of the Nomad whose API this is."""

    addr: str
    delegate_cur: int
    delegate_max: int
    delegate_min: int
    name: str
    port: int
    protocol_cur: int
    protocol_max: int
    protocol_min: int
    status: str
    tags: dict[str, str]


class MembersView(View):
    members: list[MemberView]
    server_dc: str
    server_name: str
    server_region: str


class SearchView(View):
    """IDs that begin with the prefix, by kind of thing (null: none); `Truncations` says where there are more."""

    index: int
    known_leader: bool
    last_contact: int
    matches: dict[str, list[str] | None]
    truncations: dict[str, bool]


class HealthOfServer(Struct, frozen=True):
    message: str
    ok: bool


class HealthView(Struct, frozen=True):
    """`{"server": {…}}`: these keys are in lower case in the reference too."""

    server: HealthOfServer


_encoder = msgspec.json.Encoder(order="deterministic")
encode = _encoder.encode
encode_into = _encoder.encode_into
