"""What the registry keeps of volumes on nodes whose agent manages them: attachments, operations, hosts.

As all rows, these are msgpack arrays of their fields (model.py says what that means for changes).
"""

from __future__ import annotations

from msgspec import field

from volstore.core.frozen import Frozen
from volstore.core.model import WRITE

ATTACHING, ATTACHED, LEAVING, DETACHING = "attaching", "attached", "leaving", "detaching"
ATTACH, DETACH = "attach", "detach"
QUEUED, ASSIGNED = "queued", "assigned"

AttachmentKey = tuple[str, str, str]
"""Plugin, external ID, node."""


class HostClaim(Frozen, frozen=True, kw_only=True):
    """One allocation's use of a volume on a node, until the node has reported that nothing of it is left.

    `released`: the index at which it was released, 0 while it is live. `reported`: the node said that it has a target
    for it, in `target_state`, and hasn't said since that it is gone. `force`: unmount even without the plugin.
    """

    allocation_id: str
    namespace: str
    volume_id: str
    job_id: str = ""
    mode: int = WRITE
    path: str = ""
    released: int = 0
    reported: bool = False
    force: bool = False
    target_state: str = ""
    error: str = ""


class Attachment(Frozen, frozen=True, kw_only=True):
    """A physical volume that a node has, or is to have or to lose. What teardown needs is in it.

    `epoch` is the index at which it was made. `needs_attach`: its plugin attaches volumes to nodes. `staged` and
    `error` are as the node reported last. `doubt`: a controller's call may still be carried out, so one more detach
    must confirm the first. `was_attached`: an attach succeeded. `fenced`: its node was declared to be off. `namespace`
    and `volume_id` name the volume whose secrets go with its calls. `operation_id`: what the controller is to do for
    it now, or "".
    """

    plugin_id: str
    external_id: str
    node_id: str
    namespace: str
    volume_id: str
    state: str
    epoch: int
    external_node_id: str = ""
    needs_attach: bool = False
    access_mode: str = ""
    attachment_mode: str = ""
    fs_type: str = ""
    mount_flags: tuple[str, ...] = ()
    volume_context: dict[str, str] = field(default_factory=dict)
    publish_context: dict[str, str] = field(default_factory=dict)
    claims: tuple[HostClaim, ...] = ()
    staged: bool = False
    error: str = ""
    doubt: bool = False
    was_attached: bool = False
    fenced: bool = False
    operation_id: str = ""
    since: int = 0

    def __repr__(self) -> str:
        """Mount flags and contexts may hold credentials."""
        return f"Attachment({self.plugin_id}, {self.external_id}, {self.node_id}, {self.state})"

    @property
    def key(self) -> AttachmentKey:
        return self.plugin_id, self.external_id, self.node_id

    @property
    def live(self) -> bool:
        """Whether somebody still wants it."""
        return any(not claim.released for claim in self.claims)


class ControllerCall(Frozen, frozen=True, kw_only=True):
    """An operation: a controller's call that some node with a controller makes, over and over until it succeeded.

    `attempt` counts from 1, 0 before the first. `executors` are the nodes that had an attempt, the present one last.
    `lease_until` and `not_before` are log time. `confirmed`: a detach in doubt that succeeded once.
    """

    id: str
    kind: str
    plugin_id: str
    external_id: str
    node_id: str
    state: str = QUEUED
    attempt: int = 0
    executors: tuple[str, ...] = ()
    lease_until: int = 0
    not_before: int = 0
    failures: int = 0
    confirmed: bool = False
    code: str = ""
    error: str = ""

    @property
    def attachment_key(self) -> AttachmentKey:
        return self.plugin_id, self.external_id, self.node_id

    @property
    def executor(self) -> str:
        return self.executors[-1] if self.executors else ""


class RevokedVolume(Frozen, frozen=True):
    """Taken from a node by a fence at `index`; it stays until the node reports that nothing of it is left."""

    plugin_id: str
    external_id: str
    index: int


class UnexpectedMount(Frozen, frozen=True):
    """What a node found and the registry doesn't list."""

    path: str
    plugin_id: str = ""
    external_id: str = ""
    allocation_id: str = ""


class Host(Frozen, frozen=True, kw_only=True):
    """A node whose agent manages its volumes. `work_index` is the index at which its work changed last,
    `reported_index` that of the work which its last report knew."""

    id: str
    work_index: int
    reported_index: int = 0
    boot_id: str = ""
    fenced: bool = False
    reason: str = ""
    draining: bool = False
    revoked: tuple[RevokedVolume, ...] = ()
    unexpected: tuple[UnexpectedMount, ...] = ()
