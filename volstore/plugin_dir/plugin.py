"""The plugin's answers, as CSI asks for them: each may come again, and again after a crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from volstore.node import mountinfo, syscalls
from volstore.plugin_dir import loops
from volstore.plugin_dir.serving import Answer, Refusal
from volstore.plugin_dir.volumes import Volumes, is_block

NAME = "dir.csi.volstore"
TOPOLOGY_KEY = f"{NAME}/node"


class DirPlugin:
    """Serves the volumes below `root` on the node `node_id`.

    `shared`: the directory is the same on all nodes (a network file system), so that volumes aren't bound to this one.
    """

    def __init__(self, root: Path, node_id: str, *, shared: bool = False) -> None:
        self.volumes = Volumes(root)
        self.node_id = node_id
        self.shared = shared

    def answers(self) -> dict[str, Answer]:
        """The calls that it serves."""
        return {
            "GetPluginInfo": self.get_plugin_info,
            "GetPluginCapabilities": self.get_plugin_capabilities,
            "Probe": self.probe,
            "ControllerGetCapabilities": self.controller_get_capabilities,
            "CreateVolume": self.create_volume,
            "DeleteVolume": self.delete_volume,
            "ValidateVolumeCapabilities": self.validate_volume_capabilities,
            "ListVolumes": self.list_volumes,
            "NodeGetCapabilities": self.node_get_capabilities,
            "NodeGetInfo": self.node_get_info,
            "NodeStageVolume": self.node_stage_volume,
            "NodeUnstageVolume": self.node_unstage_volume,
            "NodePublishVolume": self.node_publish_volume,
            "NodeUnpublishVolume": self.node_unpublish_volume,
        }

    async def get_plugin_info(self, request: dict[str, Any]) -> dict[str, Any]:
        from importlib.metadata import version  # here: it takes as long to import as half of the rest

        return {"name": NAME, "vendor_version": version("volstore")}

    async def get_plugin_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        services = ["CONTROLLER_SERVICE"] + ([] if self.shared else ["VOLUME_ACCESSIBILITY_CONSTRAINTS"])
        return {"capabilities": [{"service": {"type": service}} for service in services]}

    async def probe(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ready": {"value": True}}

    async def controller_get_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        return _rpcs("CREATE_DELETE_VOLUME", "LIST_VOLUMES")

    async def node_get_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        return _rpcs("STAGE_UNSTAGE_VOLUME")

    async def node_get_info(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"node_id": self.node_id, **({} if self.shared else {"accessible_topology": self._topology()})}

    def _topology(self) -> dict[str, Any]:
        return {"segments": {TOPOLOGY_KEY: self.node_id}}

    async def create_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        capabilities = request.get("volume_capabilities", [])
        if not capabilities:
            raise Refusal("INVALID_ARGUMENT", "volume_capabilities is empty")
        if "volume_content_source" in request:
            raise Refusal("INVALID_ARGUMENT", "a volume can't be made from another one here")
        wanted = request.get("capacity_range", {})
        size = wanted.get("required_bytes", 0) or wanted.get("limit_bytes", 0)
        if 0 < wanted.get("limit_bytes", 0) < size:
            raise Refusal("OUT_OF_RANGE", "limit_bytes is less than required_bytes")
        block = any("block" in capability for capability in capabilities)
        volume_id, size = self.volumes.create(request.get("name", ""), block=block, size=size)
        volume: dict[str, Any] = {"volume_id": volume_id, "capacity_bytes": size}
        if not self.shared:
            volume["accessible_topology"] = [self._topology()]
        return {"volume": volume}

    async def delete_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        self.volumes.delete(_volume_id(request))
        return {}

    async def validate_volume_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self.volumes.find(_volume_id(request))
        capabilities = request.get("volume_capabilities", [])
        if any(("block" in capability) != is_block(path) for capability in capabilities):
            return {"message": f"{path.name} is a {'block device' if is_block(path) else 'file system'}"}
        return {"confirmed": {"volume_capabilities": capabilities}}

    async def list_volumes(self, request: dict[str, Any]) -> dict[str, Any]:
        return {
            "entries": [{"volume": {"volume_id": name, "capacity_bytes": size}} for name, size in self.volumes.all()]
        }

    async def node_stage_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self._fitting(request)
        _required(request, "staging_target_path")
        if is_block(path):
            await loops.attach(path)
        return {}

    async def node_unstage_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self.volumes.find(_volume_id(request))
        if is_block(path):
            devices = loops.devices_of(path)
            table = mountinfo.read()
            names = {f"/{device.removeprefix('/dev/')}" for device in devices}
            if any(mount.fs_type == "devtmpfs" and mount.root in names for mount in table):
                raise Refusal("FAILED_PRECONDITION", f"{path.name} is still published")
            await loops.detach(path)
        return {}

    async def node_publish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self._fitting(request)
        target = _required(request, "target_path")
        read_only = request.get("readonly", False)
        source = str(path)
        if is_block(path):
            if not (devices := loops.devices_of(path)):
                raise Refusal("FAILED_PRECONDITION", f"{path.name} must be staged first")
            source = devices[0]
        if found := mountinfo.read().at(target):
            if found[-1].read_only != read_only:
                raise Refusal(
                    "ALREADY_EXISTS", f"{target} is mounted {'read-only' if found[-1].read_only else 'writable'}"
                )
            return {}
        _show(source, target, block=is_block(path), read_only=read_only)
        return {}

    async def node_unpublish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        _volume_id(request)
        _hide(Path(_required(request, "target_path")))
        return {}

    def _fitting(self, request: dict[str, Any]) -> Path:
        """The volume of a request, which must be of the kind that is asked for."""
        path = self.volumes.find(_volume_id(request))
        if "volume_capability" not in request:
            raise Refusal("INVALID_ARGUMENT", "volume_capability is missing")
        if ("block" in request["volume_capability"]) != is_block(path):
            raise Refusal("INVALID_ARGUMENT", f"{path.name} is a {'block device' if is_block(path) else 'file system'}")
        return path


def _show(source: str, target: str, *, block: bool, read_only: bool) -> None:
    if block:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    else:
        Path(target).mkdir(mode=0o755, exist_ok=True)
    syscalls.bind(source, target)
    if read_only:
        syscalls.make_read_only(mountinfo.read().at(target)[-1])


def _hide(target: Path) -> None:
    while mountinfo.read().at(str(target)):
        syscalls.unmount(str(target))
    if target.is_dir():
        target.rmdir()
    else:
        target.unlink(missing_ok=True)


def _rpcs(*names: str) -> dict[str, Any]:
    return {"capabilities": [{"rpc": {"type": name}} for name in names]}


def _volume_id(request: dict[str, Any]) -> str:
    return _required(request, "volume_id")


def _required(request: dict[str, Any], name: str) -> str:
    if not request.get(name):
        raise Refusal("INVALID_ARGUMENT", f"{name} is missing")
    return str(request[name])
