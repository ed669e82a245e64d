"""A register's body: `{"Volumes": [{…}]}` or one flat volume, with what a volume may bring as a table."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import structs

from volstore.core.errors import ApiError
from volstore.core.model import Capability, MountOptions, Topology, TopologyRequest, Volume
from volstore.http.endpoints.views import VolumeItem, VolumeView
from volstore.http.json.names import REQUESTS, Names
from volstore.http.json.reader import InvalidBody, in_one_turn, read_json
from volstore.http.json.shape import (
    Integer,
    Kind,
    ListOf,
    MapOf,
    Misshapen,
    Nullable,
    Object,
    Text,
    expected,
)
from volstore.http.json.typed import Typed

LONGEST_ID = 256
LONGEST_NAME = 1024

NAME = Text(longest=LONGEST_NAME, one_line=True)
IDENTIFIER = Text(longest=LONGEST_ID, one_line=True)
TEXT_MAP = MapOf(Text())


class TopologyKind:
    """`{"Segments": {…}}`, or the document's flat `{"foo": "bar"}`; read back in the form in which it came."""

    typed = dict[str, str | dict[str, str] | None]
    _segments: Nullable[dict[str, str]] = Nullable(TEXT_MAP)

    def read(self, value: object) -> Topology:
        if value is None:
            return Topology()
        if not isinstance(value, dict):
            raise expected("an object", value)
        # A flat topology may have a segment of the name "Segments": then its value is a string.
        if not value or ("Segments" in value and not isinstance(value["Segments"], str)):
            try:
                return Topology(segments=self._segments.read(value.get("Segments")))
            except Misshapen as error:
                raise error.inside("Segments") from None
        return Topology(segments=TEXT_MAP.read(value), flat=True)

    def schema(self) -> dict[str, Any]:
        segments = TEXT_MAP.schema()
        return {
            "type": ["object", "null"],
            "anyOf": [
                {"properties": {"Segments": segments}, "required": ["Segments"]},
                {"additionalProperties": {"type": ["string", "null"]}},
            ],
        }


TOPOLOGY = TopologyKind()

MOUNT_OPTIONS: Object[MountOptions] = Object(
    MountOptions, {"FSType": ("fs_type", NAME), "MountFlags": ("mount_flags", ListOf(Text(longest=4096)))}
)
CAPABILITY: Object[Capability] = Object(
    Capability, {"AccessMode": ("access_mode", NAME), "AttachmentMode": ("attachment_mode", NAME)}
)
TOPOLOGY_REQUEST: Object[TopologyRequest] = Object(
    TopologyRequest, {"Required": ("required", ListOf(TOPOLOGY)), "Preferred": ("preferred", ListOf(TOPOLOGY))}
)


class _VolumeKind(Object[Volume]):
    """A volume as an element of the list; null is not one."""

    __slots__ = ()

    def read(self, value: object) -> Volume:
        if value is None:
            raise Misshapen("missing volume definition: expected an object, got null")
        return Object.read(self, value)


_BESIDE = ("PolicyOverride", *REQUESTS)

VOLUME = _VolumeKind(
    partial(Volume, id="", namespace=""),  # the request's, where it names none
    {
        # An ID too long is left to the rules, whose words the clients know.
        "ID": ("id", Text(longest=LONGEST_NAME)),
        "Namespace": ("namespace", NAME),
        "Name": ("name", NAME),
        "ExternalID": ("external_id", NAME),
        "PluginID": ("plugin_id", IDENTIFIER),
        "AccessMode": ("access_mode", NAME),
        "AttachmentMode": ("attachment_mode", NAME),
        "Topologies": ("topologies", ListOf(TOPOLOGY)),
        "MountOptions": ("mount_options", Nullable(MOUNT_OPTIONS)),
        "Secrets": ("secrets", TEXT_MAP),
        "Parameters": ("parameters", TEXT_MAP),
        "Context": ("context", TEXT_MAP),
        "RequestedCapabilities": ("requested_capabilities", ListOf(CAPABILITY)),
        "RequestedCapacityMin": ("requested_capacity_min", Integer()),
        "RequestedCapacityMax": ("requested_capacity_max", Integer()),
        "Capacity": ("capacity", Integer()),
        "CloneID": ("clone_id", NAME),
        "SnapshotID": ("snapshot_id", NAME),
        "RequestedTopologies": ("requested_topologies", Nullable(TOPOLOGY_REQUEST)),
    },
    passed=(
        *(field.encode_name for view in (VolumeItem, VolumeView) for field in structs.fields(view)),
        *_BESIDE,
    ),
)
_VOLUMES = ListOf(VOLUME)
_COMPUTED = (
    "ReadAllocs",
    "WriteAllocs",
    "Allocations",
    "Schedulable",
    "Provider",
    "ProviderVersion",
    "ControllerRequired",
    "ControllersHealthy",
    "ControllersExpected",
    "NodesHealthy",
    "NodesExpected",
    "ResourceExhausted",
    "CreateIndex",
    "ModifyIndex",
    "CreateTime",
    "ModifyTime",
)
"""What Nomad's Go client sends in each volume for nothing, as the registry works it out itself."""
_typed = Typed("Volumes", VOLUME, _VOLUMES.most, _COMPUTED, _BESIDE, ("Namespace",))

_MISSING = "missing volume definition"


class RegisterKind:
    """The whole body, as the volumes that it defines; at least one."""

    list_name, most = "Volumes", _VOLUMES.most
    member: Kind[Volume] = VOLUME
    names = Names(("Volumes",), _BESIDE)

    def read(self, value: object) -> tuple[Volume, ...]:
        if value is None:
            raise Misshapen(f'{_MISSING}: expected {{"Volumes": [...]}}')
        if not isinstance(value, dict):
            raise expected("an object", value)
        if not self.names.any_of(value):
            if VOLUME.names.any_of(value):
                return (VOLUME.read(value),)
            raise Misshapen(f'{_MISSING}: expected {{"Volumes": [...]}} or the fields of a volume')
        value = self.names.exact(value)
        try:
            volumes = _VOLUMES.read(value["Volumes"])
        except Misshapen as error:
            raise error.inside("Volumes") from None
        if not volumes:
            raise Misshapen(f"{_MISSING}: Volumes is empty")
        return volumes

    def schema(self) -> dict[str, Any]:
        volume = {**VOLUME.schema(), "type": "object"}
        return {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"Volumes": {"type": "array", "minItems": 1, "items": volume}},
                    "required": ["Volumes"],
                },
                {**volume, "required": ["PluginID"], "not": {"required": ["Volumes"]}},
            ]
        }


REGISTER = RegisterKind()


def read_volumes(body: bytes) -> tuple[Volume, ...]:
    """The volumes of a register's body, unchecked but for their shape. Raises InvalidBody.

    A missing definition begins with the reference's words, that its clients look for.
    """
    typed = _typed.read(body) if in_one_turn(body) else None
    if typed is not None:
        return typed
    try:
        return read_json(body, REGISTER)
    except InvalidBody as error:
        text = error.text.removeprefix("validation: ")
        if not text.startswith(_MISSING):
            raise
        raise ApiError(400, text) from None
