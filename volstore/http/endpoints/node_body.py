"""A node's report: `{"Node": {…}}` or flat, with its plugins' fingerprints (Nomad's CSIInfo)."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

from msgspec import structs

from volstore.core.model import NODE_STATUSES, ControllerInfo, Fingerprint, Node, NodeInfo
from volstore.http.endpoints.views import NodeView
from volstore.http.endpoints.volume_body import IDENTIFIER, LONGEST_NAME, NAME, TOPOLOGY
from volstore.http.json.names import REQUESTS
from volstore.http.json.reader import read_json
from volstore.http.json.shape import (
    Boolean,
    FlatOrWrapped,
    Integer,
    MapOf,
    Misshapen,
    Nullable,
    Object,
    Text,
    expected,
    printable,
)

ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time: what its clients send and expect for "never"."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class TimeKind:
    """A time in RFC 3339, kept as it came: Go's clients refuse a whole answer for one that they can't read."""

    def read(self, value: object) -> str:
        if value is None or value == "":
            return ""
        if not isinstance(value, str):
            raise expected("a time", value)
        try:
            if not _RFC3339.fullmatch(value):
                raise ValueError
            datetime.fromisoformat(re.sub(r"\.\d+", "", value))
        except ValueError:
            raise Misshapen(f'expected a time like "2006-01-02T15:04:05Z", got "{printable(value, 64)}"') from None
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "null"], "format": "date-time"}


CONTROLLER_INFO: Object[ControllerInfo] = Object(
    ControllerInfo,
    {
        "SupportsReadOnlyAttach": ("supports_read_only_attach", Boolean()),
        "SupportsAttachDetach": ("supports_attach_detach", Boolean()),
        "SupportsListVolumes": ("supports_list_volumes", Boolean()),
        "SupportsListVolumesAttachedNodes": ("supports_list_volumes_attached_nodes", Boolean()),
    },
    passed=(
        "SupportsCreateDelete",
        "SupportsGetCapacity",
        "SupportsCreateDeleteSnapshot",
        "SupportsListSnapshots",
        "SupportsClone",
        "SupportsExpand",
        "SupportsCondition",
        "SupportsGet",
    ),
)
NODE_INFO: Object[NodeInfo] = Object(
    NodeInfo,
    {
        "ID": ("id", NAME),
        "MaxVolumes": ("max_volumes", Integer()),
        "AccessibleTopology": ("accessible_topology", Nullable(TOPOLOGY)),
        "RequiresNodeStageVolume": ("requires_node_stage_volume", Boolean()),
    },
    passed=("SupportsStats", "SupportsExpand", "SupportsCondition"),
)
FINGERPRINT: Object[Fingerprint] = Object(
    Fingerprint,
    {
        "PluginID": ("plugin_id", IDENTIFIER),
        "AllocID": ("alloc_id", IDENTIFIER),
        "Healthy": ("healthy", Boolean()),
        "HealthDescription": ("health_description", Text(longest=4096)),
        "UpdateTime": ("update_time", TimeKind()),
        "Provider": ("provider", NAME),
        "ProviderVersion": ("provider_version", NAME),
        "RequiresControllerPlugin": ("requires_controller_plugin", Boolean()),
        "RequiresTopologies": ("requires_topologies", Boolean()),
        "ControllerInfo": ("controller_info", Nullable(CONTROLLER_INFO)),
        "NodeInfo": ("node_info", Nullable(NODE_INFO)),
    },
)


_FINGERPRINTS = MapOf(FINGERPRINT, key=IDENTIFIER)


_STATUS = Text(longest=LONGEST_NAME, one_line=True, one_of=NODE_STATUSES)


class SecretKind:
    """A node's SecretID, as its SHA-256 (empty for none): the secret itself goes no further than here."""

    _text = Text(longest=4096)

    def read(self, value: object) -> bytes:
        secret = self._text.read(value)
        return hashlib.sha256(secret.encode()).digest() if secret else b""

    def schema(self) -> dict[str, Any]:
        return {**self._text.schema(), "writeOnly": True}


def _node(**members: Any) -> Node:
    # An absent status is "initializing", as in the reference.
    return Node(**{"id": "", **members, "status": members.get("status") or "initializing"})


_NOT_KEPT = (
    *(field.encode_name for field in structs.fields(NodeView)),
    "Address",
    "Version",
    "NodePool",
    "Resources",
    "Reserved",
    "NodeResources",
    "ReservedResources",
    "HostNetworks",
    "CgroupParent",
    "NodeMaxAllocs",
    "LastAllocUpdateIndex",
    "LastMissedHeartbeatIndex",
    "ComputedClass",
    "GCVolumesOnNodeGC",
)
"""What Nomad's clients say of a node besides: a registry of volumes has no use for it."""


class _NodeKind(Object[Node]):
    """A node; null is not one."""

    __slots__ = ()

    def read(self, value: object) -> Node:
        if value is None:
            raise expected("an object", value)
        return Object.read(self, value)


NODE = _NodeKind(
    _node,
    {
        "ID": ("id", IDENTIFIER),
        "Name": ("name", NAME),
        "Datacenter": ("datacenter", NAME),
        "NodeClass": ("node_class", NAME),
        "SecretID": ("secret_hash", SecretKind()),
        "Status": ("status", _STATUS),
        "CSIControllerPlugins": ("controller_plugins", _FINGERPRINTS),
        "CSINodePlugins": ("node_plugins", _FINGERPRINTS),
    },
    passed=_NOT_KEPT,
)


REPORT = FlatOrWrapped("Node", NODE)
STATUS: Object[str] = Object(
    lambda status="": status, {"Status": ("status", _STATUS)}, passed=("NodeID", "UpdatedAt", *REQUESTS)
)


def read_node(body: bytes) -> Node:
    """A node's report. Raises InvalidBody."""
    return read_json(body, REPORT)


def read_status(body: bytes) -> str:
    """The status of `{"Status": "down"}`; which ones there are is the rules' business. Raises InvalidBody."""
    return read_json(body, STATUS)
