"""The sample nodes and plugin of `agent --dev`, with which the samples of the API document work as they are."""

from __future__ import annotations

import shlex

from volstore.core.commands import PutNode
from volstore.core.model import ControllerInfo, Fingerprint, Node, NodeInfo

PLUGIN_ID = "plugin-id1"
NODE_PREFIX = "volstore-dev-sample-"
NODES, HEALTHY_NODES, CONTROLLERS = 18, 15, 3
# Clearly no real time: these nodes never ran.
_UPDATE_TIME = "2000-01-01T00:00:00Z"


def sample_nodes() -> list[PutNode]:
    """The 18 sample nodes, always the same: 15 are healthy, the first three run a controller too.

    Their names begin with `NODE_PREFIX`, unlike those of real nodes.
    """
    return [PutNode(_node(number)) for number in range(1, NODES + 1)]


def node_id(number: int) -> str:
    """A UUID that is unique in its first eight digits, because people see only those."""
    return f"{0xD5000000 + number:08x}-0000-4000-8000-{number:012x}"


def _node(number: int) -> Node:
    healthy = number <= HEALTHY_NODES
    node_info = NodeInfo(id=node_id(number), max_volumes=64, requires_node_stage_volume=True)
    controller_info = ControllerInfo(supports_attach_detach=True)
    return Node(
        id=node_id(number),
        name=f"{NODE_PREFIX}{number:02d}",
        datacenter="dc1",
        controller_plugins={PLUGIN_ID: _fingerprint(True, controller_info=controller_info)}
        if number <= CONTROLLERS
        else {},
        node_plugins={PLUGIN_ID: _fingerprint(healthy, node_info=node_info)},
    )


def _fingerprint(
    healthy: bool, *, controller_info: ControllerInfo | None = None, node_info: NodeInfo | None = None
) -> Fingerprint:
    return Fingerprint(
        plugin_id=PLUGIN_ID,
        healthy=healthy,
        health_description="healthy" if healthy else "unhealthy, to show how that looks",
        update_time=_UPDATE_TIME,
        provider="ebs",
        provider_version="1.0.1",
        requires_controller_plugin=True,
        controller_info=controller_info,
        node_info=node_info,
    )


def try_next(http_address: str, program: str = "volstore") -> list[str]:
    """Three lines to paste into a shell: register a volume, list all volumes, show it.

    `http_address` is "HOST:PORT" as seen from this machine; `program` is the command of the CLI.
    """
    url = f"http://{http_address}"
    body = (
        '{"Volumes": [{"ID": "volume-id1", "Name": "my first volume", "ExternalID": "vol-0a1b2c3d", '
        f'"PluginID": "{PLUGIN_ID}", "AccessMode": "single-node-writer", "AttachmentMode": "file-system"}}]}}'
    )
    return [
        f"curl -X PUT {url}/v1/volume/csi/volume-id1 -d '{body}'",
        f"curl '{url}/v1/volumes?type=csi&pretty'",
        f"{shlex.quote(program)} volume status -address={url} volume-id1",
    ]
