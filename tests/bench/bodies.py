"""What the benches register: a body as Nomad's Go client marshals it, field by field in its order."""

from __future__ import annotations

import json

NOTHING_COMPUTED = {
    "ReadAllocs": None,
    "WriteAllocs": None,
    "Allocations": None,
    "Schedulable": False,
    "PluginID": "plugin-id1",
    "Provider": "",
    "ProviderVersion": "",
    "ControllerRequired": False,
    "ControllersHealthy": 0,
    "ControllersExpected": 0,
    "NodesHealthy": 0,
    "NodesExpected": 0,
    "ResourceExhausted": "0001-01-01T00:00:00Z",
    "CreateIndex": 0,
    "ModifyIndex": 0,
    "CreateTime": 0,
    "ModifyTime": 0,
}
"""From PluginID on, what a volume ends with: the client sends the zero of each field that the server computes."""


def as_go_sends_it(id: str, external_id: str = "x") -> bytes:
    """A register of one volume, from today's `nomad volume register`; it ends with a newline."""
    volume = {
        "ID": id,
        "Name": id,
        "ExternalID": external_id,
        "Namespace": "",
        "RequestedTopologies": {"Required": [{"Segments": {"rack": "R1"}}], "Preferred": None},
        "Topologies": None,
        "AccessMode": "",
        "AttachmentMode": "",
        "MountOptions": None,
        "Secrets": None,
        "Parameters": None,
        "Context": None,
        "Capacity": 0,
        "RequestedCapacityMin": 10737418240,
        "RequestedCapacityMax": 21474836480,
        "RequestedCapabilities": [{"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}],
        "CloneID": "",
        "SnapshotID": "",
        **NOTHING_COMPUTED,
    }
    body = {"Volumes": [volume], "PolicyOverride": False, "Region": "", "Namespace": "", "SecretID": ""}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
