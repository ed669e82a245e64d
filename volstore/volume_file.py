"""Turns Nomad's volume specification (HCL or JSON, as `nomad volume register` takes it) into the API's body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from volstore import hcl
from volstore.hcl import Item, Number, Value
from volstore.spelling import did_you_mean
from volstore.units import parse_size


class VolumeFileError(ValueError):
    """The file can't be a volume; the text names the file, the line where it is known, and what would be right."""


class _Wrong(Exception):
    """What is wrong with a field, on a line; `parse` puts the file's name in front."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def parse(text: str, name: str) -> dict[str, Any]:
    """The volume in the API's spelling (`{"ID": …, "PluginID": …}`), with the fields that `text` sets and no others.

    `name` is what errors call the file. A text that begins with `{` is JSON, everything else HCL. What the fields
    hold is left to the server to judge, except for an `id`, without which there is no address to send them to.
    """
    try:
        items = _json_items(text) if text.lstrip("\ufeff \t\r\n").startswith("{") else hcl.parse(text)
        return _volume(items)
    except (_Wrong, hcl.HclError) as error:
        place = f"{name}:{error.line}" if error.line else name
        raise VolumeFileError(f"{place}: {error}") from None


def register_body(volume: dict[str, Any]) -> dict[str, Any]:
    """The body of `PUT /v1/volume/csi/:id` as Nomad's clients send it."""
    return {"Volumes": [volume]}


def _volume(items: tuple[Item, ...]) -> dict[str, Any]:
    kind = next((item for item in items if item.name == "type"), None)
    if kind is None:
        raise _Wrong('unknown volume type: there is no type; write type = "csi"')
    if kind.value != "csi":
        raise _Wrong(f'unknown volume type {_show(kind.value)}: it must be "csi"', kind.line)
    volume = _fields(items, _VOLUME, "a volume")
    volume.pop("type")
    if not volume.get("ID"):
        raise _Wrong('missing volume id: write id = "…"')
    return volume


def _show(value: Value) -> str:
    match value:
        case Number(number):
            return number
        case str() | bool() | None:
            return json.dumps(value, ensure_ascii=False)
        case list():
            return "a list"
        case _:
            return "a block"


def _fields(items: tuple[Item, ...], schema: _Schema, what: str) -> dict[str, Any]:
    """`items` by the API's names; a name that isn't in `schema`, or comes twice where it can't, is refused."""
    grouped: dict[str, list[Item]] = {}
    for item in items:
        if item.name not in schema:
            raise _unknown(item, schema, what)
        if item.labels:
            raise _Wrong(f"{item.name} takes no label: write {item.name} {{ … }}", item.line)
        grouped.setdefault(item.name, []).append(item)
    fields: dict[str, Any] = {}
    for name, group in grouped.items():
        api_name, convert = schema[name]
        if len(group) > 1 and convert not in _REPEATABLE:
            before = f" (first on line {group[0].line})" if group[0].line else ""
            raise _Wrong(f"{name} is there twice{before}", group[1].line)
        fields[api_name] = convert(group)
    return fields


def _unknown(item: Item, schema: _Schema, what: str) -> _Wrong:
    meant = did_you_mean(item.name, schema)
    hint = f"; did you mean {meant}?" if meant else f"; {what} has {', '.join(sorted(schema))}"
    return _Wrong(f"unexpected key {item.name}{hint}", item.line)


def _string(group: list[Item]) -> str:
    return _one_string(group[0].name, group[0].value, group[0].line)


def _one_string(name: str, value: Value, line: int | None) -> str:
    match value:
        case str():
            return value
        case Number(number):  # as HCL 1 does
            return number
        case bool():
            raise _Wrong(f'{name} must be a string: write "{str(value).lower()}", in quotes', line)
        case _:
            raise _Wrong(f"{name} must be a string, not {_show(value)}", line)


def _strings(group: list[Item]) -> list[str]:
    item = group[0]
    if not isinstance(item.value, list):
        raise _Wrong(f"{item.name} must be a list of strings, not {_show(item.value)}", item.line)
    return [_one_string(f"{item.name}[{n}]", value, item.line) for n, value in enumerate(item.value)]


def _size(group: list[Item]) -> int:
    item = group[0]
    match item.value:
        case str(text) | Number(text):
            try:
                return parse_size(text)
            except ValueError as error:
                raise _Wrong(f"{item.name}: {error}", item.line) from None
        case _:
            raise _Wrong(f'{item.name} must be a size like "10GiB", not {_show(item.value)}', item.line)


def _blocks(group: list[Item]) -> Iterable[tuple[tuple[Item, ...], int | None]]:
    """The blocks of one name: written one by one, or (JSON) as a list of objects."""
    for item in group:
        for value in item.value if isinstance(item.value, list) else [item.value]:
            if not isinstance(value, tuple):
                raise _Wrong(f"{item.name} must be a block ({item.name} {{ … }}), not {_show(value)}", item.line)
            yield value, item.line


def _single(group: list[Item]) -> tuple[Item, ...]:
    blocks = list(_blocks(group))
    if len(blocks) != 1:
        raise _Wrong(f"{group[0].name} must be one block, not {len(blocks)}", group[0].line)
    return blocks[0][0]


def _map(group: list[Item]) -> dict[str, str]:
    """A block of any names, each with a string."""
    name, items = group[0].name, _single(group)
    mapping: dict[str, str] = {}
    for item in items:
        if item.name in mapping:
            raise _Wrong(f"{name}.{item.name} is there twice", item.line)
        mapping[item.name] = _one_string(f"{name}.{item.name}", item.value, item.line)
    return mapping


def _mount_options(group: list[Item]) -> dict[str, Any]:
    return _fields(_single(group), _MOUNT_OPTIONS, "mount_options")


def _capabilities(group: list[Item]) -> list[dict[str, Any]]:
    return [_fields(items, _CAPABILITY, "a capability") for items, _ in _blocks(group)]


def _topologies(group: list[Item]) -> list[dict[str, Any]]:
    return [_fields(items, _TOPOLOGY, "a topology") for items, _ in _blocks(group)]


def _topology_list(group: list[Item]) -> list[dict[str, Any]]:
    """What `required { topology { segments { … } } … }` holds."""
    return [
        topology for items, _ in _blocks(group) for topology in _fields(items, _REQUIRED, group[0].name).get("", [])
    ]


def _topology_request(group: list[Item]) -> dict[str, Any]:
    return _fields(_single(group), _TOPOLOGY_REQUEST, "topology_request")


_Schema = dict[str, tuple[str, Callable[[list[Item]], Any]]]
_REPEATABLE = (_capabilities, _topologies, _topology_list)

# Names in files → names in the API. The files' ones are Nomad's (0.11 to 1.x); `topologies` is 0.11's.
_VOLUME: _Schema = {
    "type": ("type", _string),
    "id": ("ID", _string),
    "name": ("Name", _string),
    "namespace": ("Namespace", _string),
    "external_id": ("ExternalID", _string),
    "plugin_id": ("PluginID", _string),
    "access_mode": ("AccessMode", _string),
    "attachment_mode": ("AttachmentMode", _string),
    "capability": ("RequestedCapabilities", _capabilities),
    "capacity_min": ("RequestedCapacityMin", _size),
    "capacity_max": ("RequestedCapacityMax", _size),
    "clone_id": ("CloneID", _string),
    "snapshot_id": ("SnapshotID", _string),
    "mount_options": ("MountOptions", _mount_options),
    "secrets": ("Secrets", _map),
    "parameters": ("Parameters", _map),
    "context": ("Context", _map),
    "topologies": ("Topologies", _topologies),
    "topology_request": ("RequestedTopologies", _topology_request),
}
_MOUNT_OPTIONS: _Schema = {"fs_type": ("FSType", _string), "mount_flags": ("MountFlags", _strings)}
_CAPABILITY: _Schema = {"access_mode": ("AccessMode", _string), "attachment_mode": ("AttachmentMode", _string)}
_TOPOLOGY: _Schema = {"segments": ("Segments", _map)}
_REQUIRED: _Schema = {"topology": ("", _topologies)}
_TOPOLOGY_REQUEST: _Schema = {"required": ("Required", _topology_list), "preferred": ("Preferred", _topology_list)}


def _json_items(text: str) -> tuple[Item, ...]:
    """The same items from JSON, where blocks are objects; lines are known for broken syntax only."""

    def refuse(constant: str) -> Value:
        raise _Wrong(f"{constant} is not a JSON value")

    try:
        parsed = json.loads(
            text.lstrip("\ufeff"),
            object_pairs_hook=lambda pairs: tuple(Item(name, value) for name, value in pairs),
            parse_int=Number,
            parse_float=Number,
            parse_constant=refuse,
        )
    except json.JSONDecodeError as error:
        raise _Wrong(f"not valid JSON: {error.msg} (column {error.colno})", error.lineno) from None
    except RecursionError:
        raise _Wrong("not valid JSON: it is nested too deeply") from None
    assert isinstance(parsed, tuple)  # the text begins with `{`
    return parsed
