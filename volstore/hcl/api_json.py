"""Volumes as the API has them in JSON: a register's body, an answer, what `volume status -json` prints, lists of these.

What the server computes is left out; what it hides is never registered as if it were the value.
"""

from __future__ import annotations

import math
from typing import Any

from volstore.hcl.fields import FieldError, cut, show, unknown
from volstore.hcl.tree import Item, Items, Number, Place, Value

_SETTABLE = (
    "ID", "Name", "Namespace", "ExternalID", "PluginID", "AccessMode", "AttachmentMode", "Topologies", "MountOptions",
    "Secrets", "Parameters", "Context", "RequestedCapabilities", "RequestedCapacityMin", "RequestedCapacityMax",
    "Capacity", "CloneID", "SnapshotID", "RequestedTopologies",
)  # fmt: skip
_COMPUTED = (
    "Allocations", "ReadAllocs", "WriteAllocs", "ReadClaims", "WriteClaims", "PastClaims", "Schedulable", "Provider",
    "ProviderVersion", "ControllerRequired", "ControllersHealthy", "ControllersExpected", "NodesHealthy",
    "NodesExpected", "ResourceExhausted", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "CurrentReaders",
    "CurrentWriters", "Version",
)  # fmt: skip
_NAMES = {name.lower(): name for name in (*_SETTABLE, *_COMPUTED)}
_IN_FILES_TOO = frozenset(("id", "name", "namespace", "secrets", "parameters", "context", "topologies"))
_OF_THE_ANSWER = frozenset(("warnings", "index", "nexttoken", "lastcontact", "knownleader"))
_HIDDEN = "[REDACTED]"
_LONGEST_NUMBER = 400
"""Characters of a number; a float's longest plain spelling has 340."""


def objects_of(value: Value) -> list[Items]:
    """The volumes of a JSON text: one object, a list of them, or the list in a body's `Volumes`. Raises FieldError."""
    if isinstance(value, tuple):
        wrapped = [item for item in value if item.name.lower() == "volumes"]
        if not wrapped:
            return [value]
        for item in value:
            if item is not wrapped[0] and item.name.lower() not in _OF_THE_ANSWER:
                raise FieldError(f"unexpected key {cut(item.name)} beside {wrapped[0].name}", item.place)
        value, place = wrapped[0].value, wrapped[0].place
    else:
        place = 1, 1
    if not isinstance(value, list) or not value:
        raise FieldError(f"a list of volumes with at least one is needed, not {_describe(value)}", place)
    objects: list[Items] = []
    for number, element in enumerate(value):
        if not isinstance(element, tuple):
            raise FieldError(f"volume {number + 1} of the list must be an object, not {show(element)}", place)
        objects.append(element)
    return objects


def _describe(value: Value) -> str:
    return "an empty one" if value == [] else show(value)


def is_api_volume(items: Items) -> bool:
    """Whether an object has the API's names rather than a volume file's (`type`, `plugin_id`, …)."""
    names = {item.name for item in items}
    if any(name.lower() in _NAMES and name.lower() not in _IN_FILES_TOO for name in names):
        return True
    return "ID" in names and not any(name.lower() == "type" for name in names)


def read_volume(items: Items) -> tuple[dict[str, Any], list[str]]:
    """The volume's settable fields, and what to warn of. Raises FieldError."""
    volume: dict[str, Any] = {}
    computed: set[str] = set()
    seen: set[str] = set()
    for item in items:
        name = _NAMES.get(item.name.lower())
        if item.name.lower() in seen:
            raise FieldError(f"{cut(item.name)} is there twice", item.place)
        seen.add(item.name.lower())
        if name is None:
            _check_type(item)
        elif name in _COMPUTED:
            computed.add(name)
        elif item.value is not None:
            volume[name] = plain(item.value, item.place)
            _check_shown(name, volume[name], item.place)
    if not isinstance(volume.get("ID"), str) or not volume["ID"]:
        raise FieldError('missing volume id: write "ID": "…"')
    if not computed:
        return volume, []
    return _of_an_answer(volume, computed)


def _check_type(item: Item) -> None:
    if item.name.lower() != "type":
        raise unknown(item, _SETTABLE, "a volume")
    if not isinstance(item.value, str) or item.value.lower() != "csi":
        raise FieldError(f'unknown volume type {show(item.value)}: it must be "csi"', item.place)


def _check_shown(name: str, value: Any, place: Place) -> None:
    """Refuses what a status shows in a hidden value's place."""
    within = value if isinstance(value, dict) else {}
    flags = within.get("MountFlags") if name == "MountOptions" else None
    shown = [*within.values(), *(flags if isinstance(flags, list) else [])]
    if name in ("MountOptions", "Secrets") and _HIDDEN in shown:
        raise FieldError(
            f"{name} holds {_HIDDEN}, which an answer shows for a hidden value: write the value, or remove {name}",
            place,
        )


def _of_an_answer(volume: dict[str, Any], computed: set[str]) -> tuple[dict[str, Any], list[str]]:
    """An answer's volume without the modes in use, which are no wish of a user's; `Namespace` stays."""
    identifier = show(volume["ID"])
    if {"CurrentReaders", "CurrentWriters"} & computed:
        raise FieldError(
            f"volume {identifier} is a row of a list, which lacks capabilities, parameters and context: "
            f"take what `volume status -json ID` prints"
        )
    if volume.get("RequestedCapabilities"):
        volume.pop("AccessMode", None)
        volume.pop("AttachmentMode", None)
    hidden = [words for name, words in _UNSEEN.items() if not volume.get(name)]
    if not hidden:
        return volume, []
    return volume, [
        f"volume {identifier} comes from an answer of the API, which hides {' and '.join(hidden)}: "
        "it is registered with none, unless you add them"
    ]


_UNSEEN = {"Secrets": "secrets", "MountOptions": "mount options"}


def plain(value: Value, place: Place) -> Any:
    """A value as Python's own JSON module has it. Raises FieldError for a key that is there twice."""
    if isinstance(value, list):
        return [plain(element, place) for element in value]
    if isinstance(value, Number):
        number = None if len(value.text) > _LONGEST_NUMBER else float(value.text)
        if number is None or not math.isfinite(number):
            raise FieldError("a number is too large", place)
        return number if value.is_float else int(value.text)
    if not isinstance(value, tuple):
        return value
    mapping: dict[str, Any] = {}
    for item in value:
        if item.name in mapping:
            raise FieldError(f"{cut(item.name)} is there twice", item.place)
        mapping[item.name] = plain(item.value, item.place)
    return mapping
