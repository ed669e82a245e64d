"""JSON of the API as a volume file: bodies, answers, what `volume status -json` prints, lists of volumes."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from volstore.hcl.volume_file import VolumeFileError, parse
from volstore.http.endpoints.views import ClaimedVolumeView, VolumeView

VOLUME = {
    "ID": "v",
    "Namespace": "prod",
    "ExternalID": "vol-1",
    "PluginID": "p",
    "RequestedCapabilities": [{"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}],
    "RequestedCapacityMin": 1 << 40,
    "Secrets": {"a": "b"},
    "MountOptions": {"FSType": "ext4", "MountFlags": ["ro"]},
    "RequestedTopologies": {"Required": [{"Segments": {"rack": "1"}}], "Preferred": None},
}
COMPUTED = {
    "AccessMode": "single-node-writer",
    "AttachmentMode": "file-system",
    "Allocations": [{"ID": "a", "TaskStates": {"web": {"Events": [{"Details": {"x": "y"}}]}}}],
    "ReadAllocs": {},
    "WriteAllocs": {"a": None},
    "Schedulable": True,
    "Provider": "ebs",
    "ProviderVersion": "1",
    "ControllerRequired": True,
    "ControllersHealthy": 1,
    "ControllersExpected": 1,
    "NodesHealthy": 1,
    "NodesExpected": 1,
    "ResourceExhausted": "0001-01-01T00:00:00Z",
    "CreateIndex": 5,
    "ModifyIndex": 6,
    "CreateTime": 1,
    "ModifyTime": 2,
    "Context": None,
}


def read(value: Any) -> Any:
    return parse(json.dumps(value), "v.json")


@pytest.mark.parametrize(
    "value",
    [
        VOLUME,
        [VOLUME],
        {"Volumes": [VOLUME]},
        {"volumes": [VOLUME]},
        {"Volumes": [VOLUME], "Warnings": "", "Index": 7, "NextToken": "", "LastContact": 0, "KnownLeader": True},
        {key.lower(): value for key, value in VOLUME.items()} | {"Type": "csi"},
    ],
)
def test_a_volume_of_the_api_is_taken_as_it_is(value: Any) -> None:
    file = read(value)
    assert (file.volumes, file.warnings) == ([VOLUME], [])


def test_a_list_may_have_volumes_of_both_spellings() -> None:
    file = read([{"type": "csi", "id": "a", "plugin_id": "p"}, {"ID": "b"}, {"ID": "a", "Namespace": "other"}])
    assert file.volumes == [{"ID": "a", "PluginID": "p"}, {"ID": "b"}, {"ID": "a", "Namespace": "other"}]


@pytest.mark.parametrize("view", [VolumeView, ClaimedVolumeView])
def test_each_field_that_our_own_server_answers_is_known(view: type[msgspec.Struct]) -> None:
    """None of them is refused as unknown, so that `status -json` can always be registered."""
    names = [field.encode_name for field in msgspec.structs.fields(view)]
    assert read(dict.fromkeys(names) | {"ID": "v"}).volumes == [{"ID": "v"}]


def test_what_the_server_computes_is_left_out_of_a_status() -> None:
    file = read(VOLUME | COMPUTED)
    assert (file.volumes, file.warnings) == ([VOLUME], [])


def test_the_modes_of_a_volume_without_capabilities_are_its_own() -> None:
    volume = {"ID": "v", "AccessMode": "single-node-writer", "AttachmentMode": "file-system"}
    assert read(volume | {"ModifyIndex": 7, "RequestedCapabilities": []}).volumes == [
        volume | {"RequestedCapabilities": []}
    ]


def test_what_a_status_hides_is_warned_of() -> None:
    file = read(VOLUME | COMPUTED | {"Secrets": None, "MountOptions": None})
    assert file.volumes == [{key: value for key, value in VOLUME.items() if key not in ("Secrets", "MountOptions")}]
    assert file.warnings == [
        'volume "v" comes from an answer of the API, which hides secrets and mount options: '
        "it is registered with none, unless you add them"
    ]
    assert read(VOLUME | {"Secrets": None}).warnings == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (VOLUME | {"Sekrets": {}}, "unexpected key Sekrets; did you mean Secrets?"),
        (VOLUME | {"plugin_id": "q"}, "unexpected key plugin_id; did you mean PluginID?"),
        (VOLUME | {"id": "w"}, "id is there twice"),
        (VOLUME | {"Type": "host"}, 'unknown volume type "host": it must be "csi"'),
        ({"PluginID": "p"}, 'v.json: missing volume id: write "ID"'),
        ({"ID": 5}, "missing volume id"),
        ([], "v.json:1:1: a list of volumes with at least one is needed, not an empty one"),
        ([7], "volume 1 of the list must be an object, not 7"),
        ({"Volumes": VOLUME}, "a list of volumes with at least one is needed, not a block"),
        ({"Volumes": [VOLUME], "Region": "x"}, "unexpected key Region beside Volumes"),
        ([VOLUME, VOLUME], 'volume "v" is there twice'),
        (VOLUME | {"Capacity": 10**500}, "a number is too large"),
        (VOLUME | {"MountOptions": {"FSType": "ext4", "MountFlags": ["[REDACTED]"]}}, "MountOptions holds [REDACTED]"),
        (VOLUME | {"Secrets": {"a": "[REDACTED]"}}, "Secrets holds [REDACTED], which an answer shows for a hidden"),
        ([{"ID": "v", "CurrentReaders": 0}], 'volume "v" is a row of a list, which lacks capabilities'),
    ],
)
def test_what_would_lose_or_forge_something_is_refused(value: Any, expected: str) -> None:
    with pytest.raises(VolumeFileError, match=re.escape(expected)):
        read(value)


def test_a_key_twice_deep_inside_is_refused_with_its_place() -> None:
    with pytest.raises(VolumeFileError, match=r"v\.json:2:20: a is there twice"):
        parse('{"ID": "v",\n"Secrets": {"a":1, "a":2}}', "v.json")
