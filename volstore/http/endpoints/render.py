"""Rows as the views that answers are made of: nothing is decided here but what shows where."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from volstore.core.merging import REDACTED
from volstore.core.model import (
    Allocation,
    Capability,
    Claim,
    Fingerprint,
    Namespace,
    Node,
    Plugin,
    Topology,
    Volume,
    dates,
)
from volstore.core.state import State
from volstore.http.endpoints.allocation_body import stub_of
from volstore.http.endpoints.node_body import ZERO_TIME
from volstore.http.endpoints.views import (
    CapabilityView,
    ClaimedVolumeView,
    ClaimView,
    ControllerInfoView,
    FingerprintView,
    MountOptionsView,
    NamespaceView,
    NodeInfoView,
    NodeItem,
    NodeView,
    PluginItem,
    PluginView,
    TopologyRequestView,
    TopologyView,
    VolumeItem,
    VolumeView,
)


def volume_item(volume: Volume, plugin: Plugin | None) -> VolumeItem:
    shown = plugin or Plugin(id=volume.plugin_id, provider=volume.provider)
    created, modified = dates(volume)
    used = volume.in_use
    return VolumeItem(
        access_mode=volume.access_mode if used else "",
        attachment_mode=volume.attachment_mode if used else "",
        controller_required=shown.controller_required and shown.present,
        controllers_expected=shown.controllers_expected,
        controllers_healthy=shown.controllers_healthy,
        create_index=volume.create_index,
        create_time=created,
        current_readers=len(volume.read_claims),
        current_writers=len(volume.write_claims),
        external_id=volume.external_id,
        id=volume.id,
        modify_index=volume.modify_index,
        modify_time=modified,
        name=volume.name,
        namespace=volume.namespace,
        nodes_expected=shown.nodes_expected,
        nodes_healthy=shown.nodes_healthy,
        plugin_id=volume.plugin_id,
        provider=shown.provider,
        resource_exhausted=ZERO_TIME,
        schedulable=shown.schedulable,
        topologies=_topologies(volume.topologies),
    )


Sees = Callable[[Allocation], bool]
"""Whether an allocation's stub may be shown to whoever asked."""


def nobody(allocation: Allocation) -> bool:
    """For answers that show no allocations."""
    return False


def volume_view(state: State, volume: Volume, plugin: Plugin | None, sees: Sees) -> VolumeView:
    shown = plugin or Plugin(id=volume.plugin_id, provider=volume.provider, version=volume.provider_version)
    request = volume.requested_topologies
    # Most volumes are held by nobody, and have nothing where nothing is looked for here: a register answers with this.
    readers, writers, past = volume.read_claims, volume.write_claims, volume.past_claims
    used, options, (created, modified) = bool(readers or writers or past), volume.mount_options, dates(volume)
    # By position, in the order of the names: to pair 37 of them takes as long as all the rest of an answer's view.
    return VolumeView(
        volume.access_mode if used else "",
        _claimants(state, volume, sees) if readers or writers else [],
        volume.attachment_mode if used else "",
        volume.capacity,
        volume.clone_id,
        volume.context,
        shown.controller_required and shown.present,
        shown.controllers_expected,
        shown.controllers_healthy,
        volume.create_index,
        created,
        volume.external_id,
        volume.id,
        volume.modify_index,
        modified,
        None if options is None else MountOptionsView(options.fs_type, [REDACTED] if options.mount_flags else None),
        volume.name,
        volume.namespace,
        shown.nodes_expected,
        shown.nodes_healthy,
        volume.parameters,
        _claims(past) if past else {},
        volume.plugin_id,
        shown.provider,
        shown.version,
        dict.fromkeys(readers) if readers else {},
        _claims(readers) if readers else {},
        _capabilities(volume.requested_capabilities),
        volume.requested_capacity_max,
        volume.requested_capacity_min,
        None
        if request is None
        else TopologyRequestView(_topologies(request.preferred) or None, _topologies(request.required) or None),
        ZERO_TIME,  # resource_exhausted
        shown.schedulable,
        None,  # secrets
        volume.snapshot_id,
        _topologies(volume.topologies) if volume.topologies else [],
        shown.version,
        dict.fromkeys(writers) if writers else {},
        _claims(writers) if writers else {},
    )


def _claimants(state: State, volume: Volume, sees: Sees) -> list[dict[str, Any]]:
    """The allocations that hold the volume, those that read it first."""
    ids = [*sorted(volume.read_claims), *sorted(volume.write_claims.keys() - volume.read_claims.keys())]
    return [stub_of(found) for id in ids if (found := state.allocation(id)) is not None and sees(found)]


@lru_cache(maxsize=64)
def _capabilities(capabilities: tuple[Capability, ...]) -> list[CapabilityView]:
    """One list for all volumes that want the same: there are few."""
    return [
        CapabilityView(access_mode=wanted.access_mode, attachment_mode=wanted.attachment_mode)
        for wanted in capabilities
    ]


def claimed_volume_view(
    state: State, volume: Volume, plugin: Plugin | None, allocation_id: str, sees: Sees, *, held: bool
) -> ClaimedVolumeView:
    """For the answer to an allocation's claim (`held`: it holds the volume now, and gets what mounting it takes) or
    release: it must not be kept, nor shown to anybody else.

    Of claims and allocations it shows those of this allocation alone, so that it costs the same on a volume that
    thousands share.
    """

    def own(claims: dict[str, Claim]) -> dict[str, Claim]:
        return {allocation_id: claims[allocation_id]} if allocation_id in claims else {}

    alone = replace(
        volume,
        read_claims=own(volume.read_claims),
        write_claims=own(volume.write_claims),
        past_claims=own(volume.past_claims),
    )
    shown: dict[str, Any] = msgspec.structs.asdict(volume_view(state, alone, plugin, sees))
    if volume.in_use:  # by others too
        shown["access_mode"], shown["attachment_mode"] = volume.access_mode, volume.attachment_mode
    if held:
        options = volume.mount_options
        shown["mount_options"] = options and MountOptionsView(
            fs_type=options.fs_type, mount_flags=list(options.mount_flags) or None
        )
        shown["secrets"] = volume.secrets
    return ClaimedVolumeView(**shown)


def plugin_item(plugin: Plugin) -> PluginItem:
    return PluginItem(
        controller_required=plugin.controller_required,
        controllers_expected=plugin.controllers_expected,
        controllers_healthy=plugin.controllers_healthy,
        create_index=plugin.create_index,
        id=plugin.id,
        modify_index=plugin.modify_index,
        nodes_expected=plugin.nodes_expected,
        nodes_healthy=plugin.nodes_healthy,
        provider=plugin.provider,
    )


def plugin_view(state: State, plugin: Plugin, allocations: list[Allocation]) -> PluginView:
    """`allocations`: those of its instances that the reader may see; none are null, as in the reference."""
    return PluginView(
        allocations=[stub_of(allocation) for allocation in allocations] or None,
        controller_required=plugin.controller_required,
        controllers={node: fingerprint_view(seen) for node, seen in state.controller_instances(plugin.id)},
        controllers_expected=plugin.controllers_expected,
        controllers_healthy=plugin.controllers_healthy,
        create_index=plugin.create_index,
        id=plugin.id,
        modify_index=plugin.modify_index,
        nodes={node: fingerprint_view(seen) for node, seen in state.node_instances(plugin.id)},
        nodes_expected=plugin.nodes_expected,
        nodes_healthy=plugin.nodes_healthy,
        provider=plugin.provider,
        version=plugin.version,
    )


def fingerprint_view(seen: Fingerprint) -> FingerprintView:
    controller, node = seen.controller_info, seen.node_info
    return FingerprintView(
        alloc_id=seen.alloc_id,
        controller_info=UNSET
        if controller is None
        else ControllerInfoView(
            supports_attach_detach=controller.supports_attach_detach,
            supports_list_volumes=controller.supports_list_volumes,
            supports_list_volumes_attached_nodes=controller.supports_list_volumes_attached_nodes,
            supports_read_only_attach=controller.supports_read_only_attach,
        ),
        health_description=seen.health_description,
        healthy=seen.healthy,
        node_info=UNSET
        if node is None
        else NodeInfoView(
            accessible_topology=None if node.accessible_topology is None else _topology(node.accessible_topology),
            id=node.id,
            max_volumes=node.max_volumes,
            requires_node_stage_volume=node.requires_node_stage_volume,
        ),
        plugin_id=seen.plugin_id,
        provider=seen.provider,
        provider_version=seen.provider_version,
        requires_controller_plugin=seen.requires_controller_plugin,
        requires_topologies=seen.requires_topologies,
        update_time=seen.update_time or ZERO_TIME,
    )


def node_item(node: Node) -> NodeItem:
    return NodeItem(
        address="",
        create_index=node.create_index,
        datacenter=node.datacenter,
        drain=False,
        drivers=None,
        host_volumes=None,
        id=node.id,
        last_drain=None,
        modify_index=node.modify_index,
        name=node.name,
        node_class=node.node_class,
        scheduling_eligibility="eligible",
        status=node.status,
        status_description="",
        version="",
    )


def node_view(node: Node) -> NodeView:
    return NodeView(
        attributes={},
        csi_controller_plugins={key: fingerprint_view(seen) for key, seen in node.controller_plugins.items()},
        csi_node_plugins={key: fingerprint_view(seen) for key, seen in node.node_plugins.items()},
        create_index=node.create_index,
        datacenter=node.datacenter,
        drain=False,
        drain_strategy=None,
        drivers=None,
        events=None,
        http_addr="",
        host_volumes=None,
        id=node.id,
        last_drain=None,
        links=None,
        meta={},
        modify_index=node.modify_index,
        name=node.name,
        node_class=node.node_class,
        scheduling_eligibility="eligible",
        secret_id="",
        status=node.status,
        status_description="",
        status_updated_at=node.status_updated_at,
        tls_enabled=False,
    )


def namespace_view(namespace: Namespace) -> NamespaceView:
    return NamespaceView(
        create_index=namespace.create_index,
        description=namespace.description,
        hash="",
        modify_index=namespace.modify_index,
        name=namespace.name,
        quota="",
    )


def _topology(topology: Topology) -> TopologyView:
    return dict(topology.segments or {}) if topology.flat else {"Segments": topology.segments}


def _topologies(topologies: tuple[Topology, ...]) -> list[TopologyView]:
    return [_topology(topology) for topology in topologies]


def _claims(claims: dict[str, Claim]) -> dict[str, ClaimView]:
    return {
        allocation_id: ClaimView(
            allocation_id=claim.allocation_id, mode=claim.mode, node_id=claim.node_id, state=claim.state
        )
        for allocation_id, claim in claims.items()
    }
