"""Turns Nomad's volume specification (HCL or JSON, as `nomad volume register` takes it) into the API's volumes.

The decoder's rules are those of Nomad's command/volume_register_csi.go. It drops parts of some files without a word;
here nothing is dropped: repeated blocks are merged, and what can't be placed is refused (README, deviations).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from volstore.hcl import api_json, json_form, parser
from volstore.hcl.fields import (
    FieldError,
    Schema,
    blocks,
    map_of,
    merged,
    one,
    read_fields,
    show,
    size,
    text,
    text_map,
    texts,
    written_text,
)
from volstore.hcl.scalars import decoded, written
from volstore.hcl.tree import HclError, Item, Items, Value


class VolumeFileError(ValueError):
    """The file can't be a volume; the text names the file, line and column where known, and what would be right."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """The volumes of a file in the API's spelling (`{"ID": …, "PluginID": …}`), with the fields that it sets alone.

    `warnings` tell what a user should know of the file, one sentence each.
    """

    volumes: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)


def parse(source: str, name: str) -> VolumeFile:
    """What the file says. `name` is what errors call it. Raises VolumeFileError.

    A text that begins with `{` or `[` is JSON: a volume specification, the API's body or answer, or a list of either.
    Everything else is HCL. The server judges what the fields hold, except for an `id`: without one there is no address
    to send them to.
    """
    source = source.removeprefix("\ufeff")
    try:
        if json_form.is_json(source) or source.lstrip(" \t\r\n").startswith("["):
            return _from_json(json_form.parse_value(source))
        return VolumeFile([_volume(parser.parse(source))])
    except (FieldError, HclError) as error:
        place = "" if error.place is None else ":{}:{}".format(*error.place)
        raise VolumeFileError(f"{name}{place}: {error}") from None


def register_body(volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of `PUT /v1/volume/csi/:id` as Nomad's clients send it."""
    return {"Volumes": volumes}


def _from_json(value: Value) -> VolumeFile:
    objects = api_json.objects_of(value)
    volumes: list[dict[str, Any]] = []
    warnings: list[str] = []
    for items in objects:
        if api_json.is_api_volume(items):
            volume, told = api_json.read_volume(items)
            warnings += told
        else:
            volume = _volume(items)
        volumes.append(volume)
    seen: set[tuple[str, str]] = set()
    for volume in volumes:
        key = volume.get("Namespace", ""), volume["ID"]
        if key in seen:
            raise FieldError(f"volume {show(volume['ID'])} is there twice")
        seen.add(key)
    return VolumeFile(volumes, warnings)


def _volume(items: Items) -> dict[str, Any]:
    kind = next((item for item in items if item.name.lower() == "type"), None)
    if kind is None:
        raise FieldError('unknown volume type: there is no type; write type = "csi"')
    if not isinstance(kind.value, str) or kind.value.lower() != "csi":
        raise FieldError(f'unknown volume type {show(kind.value)}: it must be "csi"', kind.place)
    volume = read_fields(items, _VOLUME, "a volume", any_case=True)
    del volume["type"]
    if not volume.get("ID"):
        raise FieldError('missing volume id: write id = "…"')
    return volume


def _mount_options(group: list[Item]) -> dict[str, Any]:
    return read_fields(merged(group), _MOUNT_OPTIONS, "mount_options")


def _capabilities(group: list[Item]) -> list[dict[str, Any]]:
    return [read_fields(items, _CAPABILITY, "a capability") for items in blocks(group)]


def _topology_request(group: list[Item]) -> dict[str, Any]:
    return read_fields(merged(group), _TOPOLOGY_REQUEST, "topology_request")


def _requested(group: list[Item]) -> list[dict[str, Any]]:
    """What `required { topology { segments { … } } … }` holds: a topology for each `segments` that isn't empty."""
    return [
        topology
        for items in blocks(group)
        for topologies in read_fields(items, _REQUIRED, group[0].name).values()
        for topology in topologies
    ]


def _topologies(group: list[Item]) -> list[dict[str, Any]]:
    return [topology for items in blocks(group) for topology in read_fields(items, _TOPOLOGY, "a topology").get("", [])]


def _segments(group: list[Item]) -> list[dict[str, Any]]:
    return [{"Segments": map_of(group[0].name, items, written)} for items in blocks(group) if items]


def _old_topologies(group: list[Item]) -> list[dict[str, Any]]:
    return [read_fields(items, _OLD_TOPOLOGY, "a topology") for items in blocks(group)]


def _type(group: list[Item]) -> str | None:
    return decoded(one(group).value)


# Names in files → names in the API. `topologies` is 0.11's, `access_mode` and `attachment_mode` 1.0's.
_VOLUME: Schema = {
    "type": ("type", _type),
    "id": ("ID", text),
    "name": ("Name", text),
    "namespace": ("Namespace", text),
    "external_id": ("ExternalID", text),
    "plugin_id": ("PluginID", text),
    "access_mode": ("AccessMode", text),
    "attachment_mode": ("AttachmentMode", text),
    "capability": ("RequestedCapabilities", _capabilities),
    "capacity_min": ("RequestedCapacityMin", size),
    "capacity_max": ("RequestedCapacityMax", size),
    "clone_id": ("CloneID", text),
    "snapshot_id": ("SnapshotID", text),
    "mount_options": ("MountOptions", _mount_options),
    "secrets": ("Secrets", text_map),
    "parameters": ("Parameters", text_map),
    "context": ("Context", text_map),
    "topologies": ("Topologies", _old_topologies),
    "topology_request": ("RequestedTopologies", _topology_request),
}
_MOUNT_OPTIONS: Schema = {"fs_type": ("FSType", written_text), "mount_flags": ("MountFlags", texts)}
_CAPABILITY: Schema = {"access_mode": ("AccessMode", text), "attachment_mode": ("AttachmentMode", text)}
_OLD_TOPOLOGY: Schema = {"segments": ("Segments", text_map)}
_TOPOLOGY: Schema = {"segments": ("", _segments)}
_REQUIRED: Schema = {"topology": ("", _topologies)}
_TOPOLOGY_REQUEST: Schema = {"required": ("Required", _requested), "preferred": ("Preferred", _requested)}
