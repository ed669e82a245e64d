"""What the rows of each list look like to a filter."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any

import msgspec

from volstore.bexpr.shapes import DYNAMIC, INT64, STRING, UINT64, Getter, Nullable, Record, Sequence, Shape, Table
from volstore.core.model import Plugin, Volume, dates
from volstore.core.state import State
from volstore.http.endpoints.acl_views import AclPolicyItem, AclTokenView
from volstore.http.endpoints.filters import shape_of
from volstore.http.endpoints.render import nobody, volume_item, volume_view
from volstore.http.endpoints.views import NamespaceView, NodeView, PluginItem, VolumeItem, VolumeView

NODE = shape_of(NodeView, "structs.Node")
PLUGIN = shape_of(PluginItem, "structs.CSIPlugin")
NAMESPACE = shape_of(NamespaceView, "structs.Namespace")
ACL_POLICY = shape_of(AclPolicyItem, "structs.ACLPolicy")
ACL_TOKEN = shape_of(AclTokenView, "structs.ACLToken")

VolumeRow = tuple[Volume, Plugin | None, State]
"""What a filter of volumes is asked of; the state has the allocations that a volume shows."""

_OWN = frozenset(
    {
        "capacity",
        "clone_id",
        "context",
        "create_index",
        "external_id",
        "id",
        "modify_index",
        "name",
        "namespace",
        "parameters",
        "plugin_id",
        "requested_capabilities",
        "requested_capacity_max",
        "requested_capacity_min",
        "snapshot_id",
    }
)
_PLUGINS = frozenset(
    {
        "controllers_expected",
        "controllers_healthy",
        "nodes_expected",
        "nodes_healthy",
        "provider",
        "schedulable",
    }
)
"""Fields that a view takes as they are from the volume, and from its plugin where that is known: they are had without
making the view of each volume, which takes ten times as long.
"""
_OPTIONS = Record({"FSType": (STRING, attrgetter("fs_type"))}, "structs.CSIMountOptions")


def _volume_shape() -> Record:
    fields: dict[str, tuple[Shape, Getter]] = {}
    views = shape_of(VolumeView, "structs.CSIVolume").fields
    items = shape_of(VolumeItem).fields
    names = {field.encode_name: field.name for field in msgspec.structs.fields(VolumeItem)}
    names |= {field.encode_name: field.name for field in msgspec.structs.fields(VolumeView)}
    for name in {**items, **views}:
        python = names[name]
        shape, of_view = views.get(name) or items[name]
        if python in _OWN:
            fields[name] = shape, _of_volume(python)
        else:
            slow = _viewed(of_view) if name in views else _listed(of_view)
            fields[name] = shape, _of_plugin(python, slow) if python in _PLUGINS else slow
    fields["CreateTime"] = INT64, lambda row: dates(row[0])[0]
    fields["ModifyTime"] = INT64, lambda row: dates(row[0])[1]
    fields["MountOptions"] = Nullable(_OPTIONS), _of_volume("mount_options")
    return Record(fields, "structs.CSIVolume")


def _of_volume(name: str) -> Getter:
    get = attrgetter(name)
    return lambda row: get(row[0])


def _of_plugin(name: str, slow: Getter) -> Getter:
    get = attrgetter(name)
    return lambda row: slow(row) if row[1] is None else get(row[1])


def _viewed(of_view: Getter) -> Getter:
    def get(row: VolumeRow) -> Any:
        volume, plugin, state = row
        return of_view(volume_view(state, volume, plugin, nobody))

    return get


def _listed(of_item: Getter) -> Getter:
    return lambda row: of_item(volume_item(row[0], row[1]))


VOLUME = _volume_shape()
LISTED_VOLUME = Record(
    {
        field.encode_name: VOLUME.fields[field.encode_name]
        for field in msgspec.structs.fields(VolumeItem)
        if field.encode_name in VOLUME.fields
    },
    "structs.CSIVolume",
)
"""For those who may list a namespace's volumes but not read them."""


def _allocation_shape() -> Record:
    texts = (
        "ID",
        "EvalID",
        "Name",
        "Namespace",
        "NodeID",
        "NodeName",
        "JobID",
        "JobType",
        "TaskGroup",
        "DesiredStatus",
        "DesiredDescription",
        "ClientStatus",
        "ClientDescription",
        "FollowupEvalID",
        "NextAllocation",
    )
    fields: dict[str, tuple[Shape, Getter]] = {name: (STRING, _member(name, "")) for name in texts}
    for name in ("JobVersion", "CreateIndex", "ModifyIndex"):
        fields[name] = UINT64, _member(name, 0)
    for name in ("CreateTime", "ModifyTime"):
        fields[name] = INT64, _member(name, 0)
    fields["TaskStates"] = Table(DYNAMIC), _member("TaskStates", {})
    fields["PreemptedAllocations"] = Sequence(STRING), _member("PreemptedAllocations", [])
    fields["PreemptedByAllocation"] = STRING, _member("PreemptedByAllocation", "")
    for name in ("AllocatedResources", "DeploymentStatus", "RescheduleTracker"):
        fields[name] = DYNAMIC, methodcaller("get", name)
    return Record(fields, "structs.Allocation")


def _member(name: str, absent: str | int | dict[str, Any] | list[str]) -> Callable[[dict[str, Any]], Any]:
    """A stub is kept as it was reported: what is of another type than `absent` is to a filter as if it were absent."""
    kind = type(absent)

    def get(stub: dict[str, Any]) -> Any:
        found = stub.get(name)
        return found if isinstance(found, kind) else absent

    return get


ALLOCATION = _allocation_shape()
