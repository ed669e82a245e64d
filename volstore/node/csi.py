"""CSI's messages and calls, as far as volstore uses them (package csi.v1, specification 1.13), as tables.

A value keeps the specification's names; integers are int, enumerations are their names.
"""

from __future__ import annotations

from typing import NamedTuple

from volstore.node.protobuf import BOOL, INT, MAP, STRING, Enum, Many, Message

SECRET_FIELDS = frozenset({"secrets", "mount_flags", "publish_context"})
"""What never enters a log: mount flags and a publish context may hold passwords too."""

EMPTY = Message()
BOOL_VALUE = Message(value=(1, BOOL))
INT_VALUE = Message(value=(1, INT))
TIMESTAMP = Message(seconds=(1, INT), nanos=(2, INT))

ACCESS_MODE = Enum(
    "UNKNOWN",
    "SINGLE_NODE_WRITER",
    "SINGLE_NODE_READER_ONLY",
    "MULTI_NODE_READER_ONLY",
    "MULTI_NODE_SINGLE_WRITER",
    "MULTI_NODE_MULTI_WRITER",
    "SINGLE_NODE_SINGLE_WRITER",
    "SINGLE_NODE_MULTI_WRITER",
)
PLUGIN_SERVICE = Enum(
    "UNKNOWN",
    "CONTROLLER_SERVICE",
    "VOLUME_ACCESSIBILITY_CONSTRAINTS",
    "GROUP_CONTROLLER_SERVICE",
    "SNAPSHOT_METADATA_SERVICE",
)
EXPANSION = Enum("UNKNOWN", "ONLINE", "OFFLINE")
CONTROLLER_RPC = Enum(
    "UNKNOWN",
    "CREATE_DELETE_VOLUME",
    "PUBLISH_UNPUBLISH_VOLUME",
    "LIST_VOLUMES",
    "GET_CAPACITY",
    "CREATE_DELETE_SNAPSHOT",
    "LIST_SNAPSHOTS",
    "CLONE_VOLUME",
    "PUBLISH_READONLY",
    "EXPAND_VOLUME",
    "LIST_VOLUMES_PUBLISHED_NODES",
    "VOLUME_CONDITION",
    "GET_VOLUME",
    "SINGLE_NODE_MULTI_WRITER",
    "MODIFY_VOLUME",
    "GET_SNAPSHOT",
)
NODE_RPC = Enum(
    "UNKNOWN",
    "STAGE_UNSTAGE_VOLUME",
    "GET_VOLUME_STATS",
    "EXPAND_VOLUME",
    "VOLUME_CONDITION",
    "SINGLE_NODE_MULTI_WRITER",
    "VOLUME_MOUNT_GROUP",
)
USAGE_UNIT = Enum("UNKNOWN", "BYTES", "INODES")

CAPABILITY = Message(
    block=(1, EMPTY),
    mount=(2, Message(fs_type=(1, STRING), mount_flags=(2, Many(STRING)), volume_mount_group=(3, STRING))),
    access_mode=(3, Message(mode=(1, ACCESS_MODE))),
)
CAPACITY_RANGE = Message(required_bytes=(1, INT), limit_bytes=(2, INT))
TOPOLOGY = Message(segments=(1, MAP))
TOPOLOGY_REQUIREMENT = Message(requisite=(1, Many(TOPOLOGY)), preferred=(2, Many(TOPOLOGY)))
CONTENT_SOURCE = Message(
    snapshot=(1, Message(snapshot_id=(1, STRING))),
    volume=(2, Message(volume_id=(1, STRING))),
)
VOLUME = Message(
    capacity_bytes=(1, INT),
    volume_id=(2, STRING),
    volume_context=(3, MAP),
    content_source=(4, CONTENT_SOURCE),
    accessible_topology=(5, Many(TOPOLOGY)),
)
CONDITION = Message(abnormal=(1, BOOL), message=(2, STRING))
VOLUME_STATUS = Message(published_node_ids=(1, Many(STRING)), volume_condition=(2, CONDITION))
SNAPSHOT = Message(
    size_bytes=(1, INT),
    snapshot_id=(2, STRING),
    source_volume_id=(3, STRING),
    creation_time=(4, TIMESTAMP),
    ready_to_use=(5, BOOL),
    group_snapshot_id=(6, STRING),
)


def _capabilities(rpc: Enum) -> Message:
    return Message(capabilities=(1, Many(Message(rpc=(1, Message(type=(1, rpc)))))))


class Call(NamedTuple):
    """One RPC: its service's name without `csi.v1.`, and its two messages."""

    service: str
    request: Message
    response: Message


CALLS: dict[str, Call] = {
    "GetPluginInfo": Call("Identity", EMPTY, Message(name=(1, STRING), vendor_version=(2, STRING), manifest=(3, MAP))),
    "GetPluginCapabilities": Call(
        "Identity",
        EMPTY,
        Message(
            capabilities=(
                1,
                Many(
                    Message(
                        service=(1, Message(type=(1, PLUGIN_SERVICE))),
                        volume_expansion=(2, Message(type=(1, EXPANSION))),
                    )
                ),
            )
        ),
    ),
    "Probe": Call("Identity", EMPTY, Message(ready=(1, BOOL_VALUE))),
    "ControllerGetCapabilities": Call("Controller", EMPTY, _capabilities(CONTROLLER_RPC)),
    "CreateVolume": Call(
        "Controller",
        Message(
            name=(1, STRING),
            capacity_range=(2, CAPACITY_RANGE),
            volume_capabilities=(3, Many(CAPABILITY)),
            parameters=(4, MAP),
            secrets=(5, MAP),
            volume_content_source=(6, CONTENT_SOURCE),
            accessibility_requirements=(7, TOPOLOGY_REQUIREMENT),
            mutable_parameters=(8, MAP),
        ),
        Message(volume=(1, VOLUME)),
    ),
    "DeleteVolume": Call("Controller", Message(volume_id=(1, STRING), secrets=(2, MAP)), EMPTY),
    "ControllerPublishVolume": Call(
        "Controller",
        Message(
            volume_id=(1, STRING),
            node_id=(2, STRING),
            volume_capability=(3, CAPABILITY),
            readonly=(4, BOOL),
            secrets=(5, MAP),
            volume_context=(6, MAP),
        ),
        Message(publish_context=(1, MAP)),
    ),
    "ControllerUnpublishVolume": Call(
        "Controller", Message(volume_id=(1, STRING), node_id=(2, STRING), secrets=(3, MAP)), EMPTY
    ),
    "ValidateVolumeCapabilities": Call(
        "Controller",
        Message(
            volume_id=(1, STRING),
            volume_context=(2, MAP),
            volume_capabilities=(3, Many(CAPABILITY)),
            parameters=(4, MAP),
            secrets=(5, MAP),
            mutable_parameters=(6, MAP),
        ),
        Message(
            confirmed=(
                1,
                Message(
                    volume_context=(1, MAP),
                    volume_capabilities=(2, Many(CAPABILITY)),
                    parameters=(3, MAP),
                    mutable_parameters=(4, MAP),
                ),
            ),
            message=(2, STRING),
        ),
    ),
    "ListVolumes": Call(
        "Controller",
        Message(max_entries=(1, INT), starting_token=(2, STRING)),
        Message(entries=(1, Many(Message(volume=(1, VOLUME), status=(2, VOLUME_STATUS)))), next_token=(2, STRING)),
    ),
    "GetCapacity": Call(
        "Controller",
        Message(volume_capabilities=(1, Many(CAPABILITY)), parameters=(2, MAP), accessible_topology=(3, TOPOLOGY)),
        Message(available_capacity=(1, INT), maximum_volume_size=(2, INT_VALUE), minimum_volume_size=(3, INT_VALUE)),
    ),
    "CreateSnapshot": Call(
        "Controller",
        Message(source_volume_id=(1, STRING), name=(2, STRING), secrets=(3, MAP), parameters=(4, MAP)),
        Message(snapshot=(1, SNAPSHOT)),
    ),
    "DeleteSnapshot": Call("Controller", Message(snapshot_id=(1, STRING), secrets=(2, MAP)), EMPTY),
    "ListSnapshots": Call(
        "Controller",
        Message(
            max_entries=(1, INT),
            starting_token=(2, STRING),
            source_volume_id=(3, STRING),
            snapshot_id=(4, STRING),
            secrets=(5, MAP),
        ),
        Message(entries=(1, Many(Message(snapshot=(1, SNAPSHOT)))), next_token=(2, STRING)),
    ),
    "ControllerExpandVolume": Call(
        "Controller",
        Message(
            volume_id=(1, STRING),
            capacity_range=(2, CAPACITY_RANGE),
            secrets=(3, MAP),
            volume_capability=(4, CAPABILITY),
        ),
        Message(capacity_bytes=(1, INT), node_expansion_required=(2, BOOL)),
    ),
    "NodeGetCapabilities": Call("Node", EMPTY, _capabilities(NODE_RPC)),
    "NodeGetInfo": Call(
        "Node",
        EMPTY,
        Message(node_id=(1, STRING), max_volumes_per_node=(2, INT), accessible_topology=(3, TOPOLOGY)),
    ),
    "NodeStageVolume": Call(
        "Node",
        Message(
            volume_id=(1, STRING),
            publish_context=(2, MAP),
            staging_target_path=(3, STRING),
            volume_capability=(4, CAPABILITY),
            secrets=(5, MAP),
            volume_context=(6, MAP),
        ),
        EMPTY,
    ),
    "NodeUnstageVolume": Call("Node", Message(volume_id=(1, STRING), staging_target_path=(2, STRING)), EMPTY),
    "NodePublishVolume": Call(
        "Node",
        Message(
            volume_id=(1, STRING),
            publish_context=(2, MAP),
            staging_target_path=(3, STRING),
            target_path=(4, STRING),
            volume_capability=(5, CAPABILITY),
            readonly=(6, BOOL),
            secrets=(7, MAP),
            volume_context=(8, MAP),
        ),
        EMPTY,
    ),
    "NodeUnpublishVolume": Call("Node", Message(volume_id=(1, STRING), target_path=(2, STRING)), EMPTY),
    "NodeGetVolumeStats": Call(
        "Node",
        Message(volume_id=(1, STRING), volume_path=(2, STRING), staging_target_path=(3, STRING)),
        Message(
            usage=(1, Many(Message(available=(1, INT), total=(2, INT), used=(3, INT), unit=(4, USAGE_UNIT)))),
            volume_condition=(2, CONDITION),
        ),
    ),
    "NodeExpandVolume": Call(
        "Node",
        Message(
            volume_id=(1, STRING),
            volume_path=(2, STRING),
            capacity_range=(3, CAPACITY_RANGE),
            staging_target_path=(4, STRING),
            volume_capability=(5, CAPABILITY),
            secrets=(6, MAP),
        ),
        Message(capacity_bytes=(1, INT)),
    ),
}


def path(call: str) -> str:
    """The call's name on the wire."""
    return f"/csi.v1.{CALLS[call].service}/{call}"
