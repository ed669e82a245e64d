"""The requests that drivers get, from what the registry wants. Pure."""

from __future__ import annotations

from typing import Any

from volstore.node.paths import Paths
from volstore.node.record import Record
from volstore.node.work import BLOCK_DEVICE, Attachment


def capability(desired: Attachment) -> dict[str, Any]:
    """CSI's VolumeCapability."""
    mode = {"mode": desired.access_mode.upper().replace("-", "_")}
    if desired.attachment_mode == BLOCK_DEVICE:
        return {"block": {}, "access_mode": mode}
    mount: dict[str, Any] = {}
    if desired.fs_type:
        mount["fs_type"] = desired.fs_type
    if desired.mount_flags:
        mount["mount_flags"] = list(desired.mount_flags)
    return {"mount": mount, "access_mode": mode}


def stage(desired: Attachment, record: Record, paths: Paths) -> dict[str, Any]:
    return {
        "volume_id": desired.external_id,
        "publish_context": desired.publish_context,
        "staging_target_path": paths.staging(record.key),
        "volume_capability": capability(desired),
        "secrets": desired.secrets,
        "volume_context": desired.volume_context,
    }


def publish(desired: Attachment, record: Record, paths: Paths, item: str, *, stages: bool) -> dict[str, Any]:
    request = stage(desired, record, paths) | {
        "target_path": paths.target(record.key, item),
        "readonly": record.targets[item].read_only,
    }
    if not stages:
        del request["staging_target_path"]
    return request


def unpublish(record: Record, paths: Paths, item: str) -> dict[str, Any]:
    return {"volume_id": record.external_id, "target_path": paths.target(record.key, item)}


def unstage(record: Record, paths: Paths) -> dict[str, Any]:
    return {"volume_id": record.external_id, "staging_target_path": paths.staging(record.key)}
