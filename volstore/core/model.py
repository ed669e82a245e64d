"""The registry's things as frozen values: volumes, claims, nodes, fingerprints, plugins, namespaces.

Every struct is encoded as a msgpack array (its fields in order): a field is only ever added at the end, with a
default, so that an older snapshot is read by a newer node. A surplus field is an error: an older node that dropped
what a newer one wrote would diverge. Nothing here checks rules; `rules.py` does.
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from volstore.core.frozen import Frozen

DEFAULT_NAMESPACE = "default"

ACCESS_MODES = (
    "single-node-reader-only",
    "single-node-writer",
    "multi-node-reader-only",
    "multi-node-single-writer",
    "multi-node-multi-writer",
)
READER_ONLY = "single-node-reader-only"
READER_AS_INIT_WRITES = "single-node-reader"
"""No mode of CSI, but what Nomad 1.1's `volume init` wrote: it is read as READER_ONLY."""
ACCESS_MODES_TODAY = (
    *ACCESS_MODES,
    "single-node-single-writer",
    "single-node-multi-writer",
    READER_AS_INIT_WRITES,
)
"""What level 2 registers: also the modes that CSI 1.5 added."""
ATTACHMENT_MODES = ("file-system", "block-device")
NODE_STATUSES = ("initializing", "ready", "down")
CLIENT_STATUSES = ("pending", "running", "complete", "failed", "lost", "unknown")
DESIRED_STATUSES = ("run", "stop", "evict")

READ, WRITE, RELEASE = 0, 1, 2
"""A claim's modes."""
TAKEN, NODE_DETACHED, CONTROLLER_DETACHED, READY_TO_FREE = 0, 1, 2, 3
"""A claim's states."""


NOTHING: dict[str, Any] = {}
"""Of all rows that have nothing there: rows are never changed in place, and six dictionaries each are 480 bytes."""


class Topology(Frozen, frozen=True):
    """Where a volume can be reached. `flat` says that it came as `{"k": "v"}` and not as `{"Segments": {…}}`."""

    segments: dict[str, str] | None = None
    flat: bool = False


class MountOptions(Frozen, frozen=True):
    fs_type: str = ""
    mount_flags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Mount flags may hold credentials."""
        return "MountOptions(…)"


class Capability(Frozen, frozen=True):
    access_mode: str = ""
    attachment_mode: str = ""


class TopologyRequest(Frozen, frozen=True):
    required: tuple[Topology, ...] = ()
    preferred: tuple[Topology, ...] = ()


class Claim(Frozen, frozen=True, kw_only=True):
    """An allocation's right to a volume (Nomad's CSIVolumeClaim), with what must be known once the allocation is gone.

    `mode`: 0 read, 1 write, 2 release; `state`: 0 taken, 1 node detached, 2 controller detached, 3 ready to free.
    `taken_at`: a date, nanoseconds since 1970.
    """

    allocation_id: str
    node_id: str
    mode: int
    state: int = 0
    namespace: str = DEFAULT_NAMESPACE
    job_id: str = ""
    taken_at: int = 0


class Volume(Frozen, frozen=True, kw_only=True):
    """A registered volume. `provider` and `provider_version` are the plugin's at its registration.

    The modes are those in use while it is (`in_use`): the first claim fixes them among `requested_capabilities`, and
    while nobody holds the volume they mean nothing.

    `create_index` and `modify_index` are the FSM's; `touch_index` also moves with what else shows in its answer (its
    allocations), and is what blocking queries wait for, together with the plugin's.
    """

    id: str
    namespace: str = DEFAULT_NAMESPACE
    name: str = ""
    external_id: str = ""
    plugin_id: str = ""
    access_mode: str = ""
    attachment_mode: str = ""
    topologies: tuple[Topology, ...] = ()
    mount_options: MountOptions | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)
    requested_capabilities: tuple[Capability, ...] = ()
    requested_capacity_min: int = 0
    requested_capacity_max: int = 0
    capacity: int = 0
    clone_id: str = ""
    snapshot_id: str = ""
    requested_topologies: TopologyRequest | None = None
    provider: str = ""
    provider_version: str = ""
    read_claims: dict[str, Claim] = field(default_factory=dict)
    write_claims: dict[str, Claim] = field(default_factory=dict)
    past_claims: dict[str, Claim] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0
    touch_index: int = 0

    def __repr__(self) -> str:
        """Names the volume and nothing in it: secrets and mount options must not reach a log."""
        return f"Volume({self.namespace}/{self.id})"

    @property
    def in_use(self) -> bool:
        return bool(self.read_claims or self.write_claims or self.past_claims)


class DatedVolume(Volume, frozen=True, kw_only=True):
    """A volume as level 2 registers it. Both are dates, nanoseconds since 1970; 0: from before dates were kept."""

    create_time: int = 0
    modify_time: int = 0


def dates(volume: Volume) -> tuple[int, int]:
    """When it was made, and when it was registered last."""
    return (volume.create_time, volume.modify_time) if isinstance(volume, DatedVolume) else (0, 0)


class NodeInfo(Frozen, frozen=True):
    id: str = ""
    max_volumes: int = 0
    accessible_topology: Topology | None = None
    requires_node_stage_volume: bool = False


class ControllerInfo(Frozen, frozen=True):
    supports_read_only_attach: bool = False
    supports_attach_detach: bool = False
    supports_list_volumes: bool = False
    supports_list_volumes_attached_nodes: bool = False


class Fingerprint(Frozen, frozen=True, kw_only=True):
    """What a node says of one plugin instance on it (Nomad's CSIInfo). `update_time` is kept as it came (RFC 3339)."""

    plugin_id: str = ""
    alloc_id: str = ""
    healthy: bool = False
    health_description: str = ""
    update_time: str = ""
    provider: str = ""
    provider_version: str = ""
    requires_controller_plugin: bool = False
    requires_topologies: bool = False
    controller_info: ControllerInfo | None = None
    node_info: NodeInfo | None = None


class Node(Frozen, frozen=True, kw_only=True):
    """A client node. `secret_hash` is SHA-256 of its SecretID: the secret itself enters no command and no table.

    `status_updated_at`: a date, seconds since 1970.
    """

    id: str
    name: str = ""
    datacenter: str = ""
    node_class: str = ""
    secret_hash: bytes = b""
    status: str = "ready"
    controller_plugins: dict[str, Fingerprint] = field(default_factory=dict)
    node_plugins: dict[str, Fingerprint] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0
    status_updated_at: int = 0

    def __repr__(self) -> str:
        return f"Node({self.id}, {self.status})"


class Plugin(Frozen, frozen=True, kw_only=True):
    """A plugin as its instances make it; derived in `apply`, so that reads and schedulability cost nothing.

    A row without instances (`present` false) is kept while volumes refer to it: they still show its last provider
    and version, and its `touch_index` tells their readers when it went. Such a row is not a plugin to the API.
    """

    id: str
    provider: str = ""
    version: str = ""
    controller_required: bool = False
    controllers_healthy: int = 0
    controllers_expected: int = 0
    nodes_healthy: int = 0
    nodes_expected: int = 0
    create_index: int = 0
    modify_index: int = 0
    touch_index: int = 0

    @property
    def present(self) -> bool:
        return bool(self.controllers_expected or self.nodes_expected)

    @property
    def schedulable(self) -> bool:
        return self.nodes_healthy > 0 and (not self.controller_required or self.controllers_healthy > 0)


class Namespace(Frozen, frozen=True, kw_only=True):
    name: str
    description: str = ""
    create_index: int = 0
    modify_index: int = 0


class Allocation(Frozen, frozen=True, kw_only=True):
    """An allocation as it was reported: the fields that rules need, and the whole stub (but for its indexes)."""

    id: str
    namespace: str = DEFAULT_NAMESPACE
    node_id: str = ""
    job_id: str = ""
    client_status: str = ""
    desired_status: str = ""
    stub: dict[str, Any] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0

    @property
    def terminal(self) -> bool:
        return self.client_status in ("complete", "failed", "lost")

    @property
    def ended(self) -> bool:
        """Whether its end was seen, and so its volumes unmounted; of a lost one only its node could tell."""
        return self.client_status in ("complete", "failed")
