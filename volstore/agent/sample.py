"""What `agent --dev` starts with, so that the API document's samples work as they stand: nodes with one plugin."""

from __future__ import annotations

import shlex

from volstore.core.commands import PutNode
from volstore.core.model import ControllerInfo, Fingerprint, Node, NodeInfo

PLUGIN_ID = "plugin-id1"
NODE_PREFIX = "volstore-dev-sample-"
NODES, HEALTHY_NODES, CONTROLLERS = 18, 15, 3
# No moment of any real node: these ones never ran.
_UPDATE_TIME = "2000-01-01T00:00:00Z"


def sample_nodes() -> list[PutNode]:
    """The 18 sample nodes, always the same: 15 of them healthy, and the first three with a controller too.

    Real nodes are told from them by the name, which begins with `NODE_PREFIX`.
    """
    return [PutNode(_node(number)) for number in range(1, NODES + 1)]


def node_id(number: int) -> str:
    """A UUID that differs in its first eight digits, as people see only those."""
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
    """Three lines to paste into a shell: register a volume, list all, show it.

    `http_address` is "HOST:PORT" as reached from this machine; `program` is how the CLI is called there.
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
