"""What can be asked about volumes on hosts; all of it came with level 2 (levels.py)."""

from __future__ import annotations

from msgspec import field

from volstore.core.attach.rows import UnexpectedMount
from volstore.core.frozen import Frozen
from volstore.core.model import Node


class PutManagedNode(Frozen, frozen=True, tag="put-managed-node"):
    """As PutNode, from a node whose agent manages its volumes: from now on until the node is deleted."""

    node: Node


class TargetState(Frozen, frozen=True):
    """One allocation's target as a node reports it: `waiting`, `publishing`, `published` or `unpublishing`."""

    allocation_id: str
    state: str
    error: str = ""


class VolumeState(Frozen, frozen=True):
    """One volume as a node reports it. `staged` is true until unstaging is certain."""

    plugin_id: str
    external_id: str
    staged: bool
    targets: tuple[TargetState, ...] = ()
    error: str = ""


class ReportAttachments(Frozen, frozen=True, tag="report-attachments"):
    """All that a node has, made after everything of its work at index `work_index` was taken in."""

    node_id: str
    boot_id: str
    work_index: int
    volumes: tuple[VolumeState, ...] = ()
    unexpected: tuple[UnexpectedMount, ...] = ()


class ReportOutcome(Frozen, frozen=True, tag="report-outcome"):
    """How an operation's attempt ended: gRPC's code by its name, or NOT_SENT. `publish_context` is of an attach."""

    id: str
    attempt: int
    code: str
    message: str = ""
    publish_context: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ReportOutcome({self.id}, {self.attempt}, {self.code})"


class FenceNode(Frozen, frozen=True, tag="fence-node"):
    """Declare that a node is off (`on`), or that it may have volumes again. `force`: also while it is heard."""

    node_id: str
    on: bool
    reason: str = ""
    force: bool = False


class DrainNode(Frozen, frozen=True, tag="drain-node"):
    """Release all that is claimed on a node and let it take no more (`on`), or let it again."""

    node_id: str
    on: bool


class CancelOperation(Frozen, frozen=True, tag="cancel-operation"):
    """Take a detach for done: the operator vouches for it."""

    id: str


AttachCommand = PutManagedNode | ReportAttachments | ReportOutcome | FenceNode | DrainNode | CancelOperation
