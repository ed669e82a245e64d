"""Who may have a command done: asked where a request comes in, and again in `apply`, at the command's own index.

A table from commands to what they need. Functions of the state alone; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volstore.core.acl.commands import (
    BootstrapAcl,
    Caller,
    DeleteAclPolicy,
    DeleteAclToken,
    DeleteNamespace,
    PutAclPolicy,
    PutAclToken,
    PutNamespace,
)
from volstore.core.acl.rights import MANAGEMENT, Acl
from volstore.core.acl.tables import AclToken
from volstore.core.commands import (
    AbandonRestore,
    AdoptRestore,
    AdvanceTime,
    BeginRestore,
    ClaimVolume,
    Command,
    CommitRestore,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    FreeClaims,
    MergeVolumes,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    ReportAllocations,
    RestorePiece,
    SetNodeStatus,
    SweepClaims,
    SweepNode,
    TakeClaim,
)
from volstore.core.holders import claims_of
from volstore.core.model import Allocation
from volstore.core.rules import Refusal
from volstore.core.state import State

TOKEN_NOT_FOUND = Refusal(403, "ACL token not found")
PERMISSION_DENIED = Refusal(403, "Permission denied")

READ_JOB = ("read-job",)
MOUNT, WRITE_VOLUME = "csi-mount-volume", "csi-write-volume"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may do at one moment: by policies, and as the node whose secret hashes to `node_secret_hash`.

    `token` is None for the anonymous and for nodes.
    """

    acl: Acl
    token: AclToken | None = None
    node_secret_hash: bytes = b""


UNRESTRICTED = Rights(MANAGEMENT)
"""Of everybody while access control is off, and of the cluster itself."""


def rights_of(state: State, caller: Caller | None, now: int) -> Rights | None:
    """The caller's rights; None when its token is there no more, or has expired at `now` (log time)."""
    if caller is None:
        return UNRESTRICTED
    if not caller.accessor_id:
        return Rights(state.access.acl(None), node_secret_hash=caller.node_secret_hash)
    token = state.access.token(caller.accessor_id, now)
    return None if token is None else Rights(state.access.acl(token), token)


def check_caller(state: State, caller: Caller | None, command: Command) -> Refusal | None:
    """Why `caller` may not have `command` done now, by log time."""
    if caller is None:
        return None
    rights = rights_of(state, caller, state.log_time)
    if rights is None:
        return TOKEN_NOT_FOUND
    return None if may(state, rights, command) else PERMISSION_DENIED


def may(state: State, rights: Rights, command: Command) -> bool:
    """What isn't in the table takes management, also where it was forgotten."""
    if rights.acl.management:
        return True
    allowed = ALLOWED.get(type(command))
    return allowed is not None and allowed(state, rights, command)


def _register(state: State, rights: Rights, command: RegisterVolumes) -> bool:
    return rights.acl.allows(WRITE_VOLUME, command.namespace) and rights.acl.allows_area("plugin", "read")


def _merge(state: State, rights: Rights, command: MergeVolumes) -> bool:
    namespaces = {volume.namespace for volume in command.volumes}
    return rights.acl.allows_area("plugin", "read") and all(
        rights.acl.allows(WRITE_VOLUME, namespace) for namespace in namespaces
    )


def _deregister(state: State, rights: Rights, command: DeregisterVolume) -> bool:
    return rights.acl.allows(WRITE_VOLUME, command.namespace)


def _may_mount(rights: Rights, namespace: str) -> bool:
    return rights.acl.allows(MOUNT, namespace) and rights.acl.allows_area("plugin", "read")


def _claim(state: State, rights: Rights, command: ClaimVolume | TakeClaim | ReleaseClaim) -> bool:
    if _may_mount(rights, command.namespace):
        return True
    return _is_node_of_all(state, rights, _nodes_of_claim(state, command))


def _nodes_of_claim(state: State, command: ClaimVolume | TakeClaim | ReleaseClaim) -> set[str]:
    """Every node that the command would act on or from: a node's secret must be good for all of them."""
    found = {command.node_id} if command.node_id else set()
    allocation = state.allocation(command.allocation_id)
    if allocation is not None:
        found.add(allocation.node_id)
    volume = state.volume(command.namespace, command.id)
    if volume is not None:
        found |= {claim.node_id for claim in claims_of(volume, command.allocation_id)}
    return found


def _detach(state: State, rights: Rights, command: DetachVolume) -> bool:
    return _may_mount(rights, command.namespace) or _is_node_of_all(state, rights, {command.node_id})


def _put_node(state: State, rights: Rights, command: PutNode) -> bool:
    """A known node proves itself by its secret, in the report or as its token; an unknown one can't yet."""
    if rights.acl.allows_area("node", "write"):
        return True
    known = state.node(command.node.id)
    if known is None or not known.secret_hash:
        return False
    return known.secret_hash in (rights.node_secret_hash, command.node.secret_hash)


def _change_node(state: State, rights: Rights, command: SetNodeStatus | DeleteNode) -> bool:
    return rights.acl.allows_area("node", "write") or _is_node_of_all(state, rights, {command.id})


def _put_allocations(state: State, rights: Rights, command: PutAllocations) -> bool:
    """A node reports what runs on it: it takes no allocation away from another."""
    if rights.acl.allows_area("node", "write"):
        return True
    known = (state.allocation(allocation.id) for allocation in command.allocations)
    nodes = {allocation.node_id for allocation in (*command.allocations, *known) if allocation is not None}
    return _is_node_of_all(state, rights, nodes)


def _report_allocations(state: State, rights: Rights, command: ReportAllocations) -> bool:
    """A node reports how those are that were placed on it. To place one, by its secret alone, is to reach for the
    secrets of its namespace's volumes: it may where the node's own policy lets it mount volumes."""
    if rights.acl.allows_area("node", "write"):
        return True
    nodes: set[str] = set()
    for new in command.allocations:
        old = state.allocation(new.id)
        nodes |= {new.node_id} if old is None else {new.node_id, old.node_id}
        if not _was_placed(old, new) and not state.access.acl_of_node(new.node_id).allows(MOUNT, new.namespace):
            return False
    return _is_node_of_all(state, rights, nodes)


def _was_placed(old: Allocation | None, new: Allocation) -> bool:
    """Whether `new` reports of an allocation that is there, has its node, job and namespace, and hasn't come to an end
    from which it would return."""
    if old is None or (old.ended and not new.ended):
        return False
    return (old.node_id, old.job_id, old.namespace) == (new.node_id, new.job_id, new.namespace)


def _delete_allocation(state: State, rights: Rights, command: DeleteAllocation) -> bool:
    if rights.acl.allows_area("node", "write"):
        return True
    known = state.allocation(command.id)
    return known is not None and _is_node_of_all(state, rights, {known.node_id})


def _once(state: State, rights: Rights, command: Command) -> bool:
    """Anybody, as nobody has a token yet: the command itself refuses to be done twice."""
    return True


def _operate(state: State, rights: Rights, command: Command) -> bool:
    """Nothing that comes in as a request: of those, a restore needs management from its beginning."""
    return rights.acl.allows_area("operator", "write")


def _is_node_of_all(state: State, rights: Rights, node_ids: set[str]) -> bool:
    """Whether the caller showed the secret of each of these nodes, and there is one."""
    if not rights.node_secret_hash or not node_ids:
        return False
    nodes = [state.node(node_id) for node_id in node_ids]
    return all(node is not None and node.secret_hash == rights.node_secret_hash for node in nodes)


def sees_allocation(state: State, rights: Rights, allocation: Allocation) -> bool:
    """Whether its stub may be shown: to those who may read it, and to the node that it is on."""
    if rights.acl.allows_one(READ_JOB, allocation.namespace):
        return True
    node = state.node(allocation.node_id)
    return bool(rights.node_secret_hash) and node is not None and node.secret_hash == rights.node_secret_hash


ALLOWED: dict[type, Callable[[State, Rights, Any], bool]] = {
    RegisterVolumes: _register,
    MergeVolumes: _merge,
    DeregisterVolume: _deregister,
    ClaimVolume: _claim,
    TakeClaim: _claim,
    ReleaseClaim: _claim,
    DetachVolume: _detach,
    PutNode: _put_node,
    SetNodeStatus: _change_node,
    DeleteNode: _change_node,
    PutAllocations: _put_allocations,
    ReportAllocations: _report_allocations,
    DeleteAllocation: _delete_allocation,
    BootstrapAcl: _once,
    **dict.fromkeys((BeginRestore, RestorePiece, CommitRestore, AbandonRestore), _operate),
}

MANAGEMENT_ALONE: frozenset[type] = frozenset(
    (
        PutAclPolicy,
        DeleteAclPolicy,
        PutAclToken,
        DeleteAclToken,
        PutNamespace,
        DeleteNamespace,
        SweepClaims,
        FreeClaims,
        AdoptRestore,
        SweepNode,
        AdvanceTime,
    )
)
"""Named only so that a test can tell a decision from a command that was forgotten."""
