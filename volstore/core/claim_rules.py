"""What may be claimed, released and reported of allocations: every refusal and its words (contract.md, "Allocations
and claims").

Functions of the state and a command; nothing here changes anything.
"""

from __future__ import annotations

from volstore.core.commands import (
    ClaimVolume,
    Command,
    DeleteAllocation,
    DetachVolume,
    PutAllocations,
    ReleaseClaim,
    ReportAllocations,
    TakeClaim,
    releasing,
)
from volstore.core.holders import claims_of, claims_on, holders, is_alive
from volstore.core.model import (
    CLIENT_STATUSES,
    DESIRED_STATUSES,
    READ,
    READY_TO_FREE,
    RELEASE,
    TAKEN,
    WRITE,
    Allocation,
    Plugin,
    Volume,
)
from volstore.core.rules import Refusal, id_refusal, quoted, short
from volstore.core.state import State

SINGLE_NODE_MODES = (
    "single-node-reader-only",
    "single-node-writer",
    "single-node-single-writer",
    "single-node-multi-writer",
)
SINGLE_WRITER = "single-node-single-writer"
READER_ONLY_MODES = ("single-node-reader-only", "multi-node-reader-only")


# Allocations.


MOST_REFUSED = 50
"""Allocations of one report that are refused while the others are stored: outcomes are remembered, so they stay small.
Of more, all are refused."""


def check_put_allocations(state: State, command: PutAllocations) -> Refusal | None:
    """Every allocation by its form and against what it holds; the first that fails."""
    refusal = _forms_refusal(command)
    if refusal is not None:
        return refusal
    refused = refused_allocations(state, command)
    return next(iter(refused.values()), None)


def check_report(state: State, command: ReportAllocations) -> Refusal | None:
    """As check_put_allocations, but one that contradicts what it holds refuses no others."""
    refusal = _forms_refusal(command)
    if refusal is not None:
        return refusal
    refused = refused_allocations(state, command)
    if len(refused) < min(len(command.allocations), MOST_REFUSED + 1):
        return None
    first, more = next(iter(refused.values())), len(refused) - 1
    return first._replace(text=f"{first.text}; {more} more are refused, and none was stored") if more else first


def refused_allocations(state: State, command: PutAllocations | ReportAllocations) -> dict[str, Refusal]:
    """Those that contradict what they hold, by ID, in the command's order."""
    found = ((allocation.id, _change_refusal(state, allocation)) for allocation in command.allocations)
    return {id: refusal for id, refusal in found if refusal is not None}


def _forms_refusal(command: PutAllocations | ReportAllocations) -> Refusal | None:
    if not command.allocations:
        return Refusal(400, "validation: missing allocation definition")
    seen: set[str] = set()
    for allocation in command.allocations:
        form = allocation_refusal(allocation)
        if form is not None:
            return Refusal(400, form)
        if allocation.id in seen:
            return Refusal(400, f"validation: allocation id {quoted(allocation.id)} is given twice")
        seen.add(allocation.id)
    return None


def allocation_refusal(allocation: Allocation) -> str | None:
    """Why the allocation as it came is malformed, whatever the state."""
    wanted = (
        ("allocation id", allocation.id),
        ("node id", allocation.node_id),
        ("job id", allocation.job_id),
        ("client status", allocation.client_status),
        ("desired status", allocation.desired_status),
    )
    missing = [f"missing {name}" for name, value in wanted if not value]
    if missing:
        return "validation: " + ", ".join(missing)
    refusal = id_refusal("allocation", allocation.id) or id_refusal("node", allocation.node_id)
    if refusal is not None:
        return refusal
    for name, value, known in (
        ("client", allocation.client_status, CLIENT_STATUSES),
        ("desired", allocation.desired_status, DESIRED_STATUSES),
    ):
        if value not in known:
            return f"validation: unknown {name} status {quoted(value)}, one of: {', '.join(known)}"
    return None


def _change_refusal(state: State, allocation: Allocation) -> Refusal | None:
    """While an allocation holds a volume, what the claim says of it stays true: its node, job and namespace."""
    for volume in state.volumes_claimed_by(allocation.id):
        for claim in claims_of(volume, allocation.id):
            for name, held, new in (
                ("node", claim.node_id, allocation.node_id),
                ("job", claim.job_id, allocation.job_id),
                ("namespace", claim.namespace, allocation.namespace),
            ):
                if held != new:
                    return Refusal(
                        409,
                        f"allocation exists: {allocation.id}: its {name} cannot be updated from {quoted(held)} to "
                        f"{quoted(new)} while it claims volume {volume.id}: claimed by "
                        f"{holders(state, volume, (claim,))}",
                    )
    return None


def check_delete_allocation(state: State, command: DeleteAllocation) -> Refusal | None:
    return Refusal(404, "alloc not found") if state.allocation(command.id) is None else None


# Claims.


def check_claim(state: State, command: ClaimVolume) -> Refusal | None:
    refusal = claim_form_refusal(command)
    if refusal is not None:
        return refusal
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        return Refusal(404, f"volume not found: {short(command.id)}")
    if command.mode == RELEASE:
        return _check_release(state, volume, command)
    allocation = state.allocation(command.allocation_id)
    if allocation is None:
        return Refusal(404, f"Unknown allocation: {short(command.allocation_id)}")
    return (
        node_refusal(command, allocation.node_id)
        or terminal_refusal(allocation)
        or other_node_refusal(state, volume, volume.access_mode, allocation)
        or (None if already_claimed(volume, command) else _capacity_refusal(state, volume, allocation, command.mode))
    )


def check_release(state: State, command: ReleaseClaim) -> Refusal | None:
    """As check_claim, and there must be something to release."""
    refusal = check_claim(state, releasing(command))
    if refusal is not None:
        return refusal
    volume = state.volume(command.namespace, command.id)
    if volume is None or not any(claims_of(volume, command.allocation_id)):
        return _nothing_to_release(command)
    return None


def foreseen_refusal(state: State, command: Command) -> Refusal | None:
    """Why a claim or release is certain to be refused by what level 2 asks of it, as far as `state` has what it names.

    Asked where it comes in: a member of level 1 would let it pass.
    """
    if not isinstance(command, TakeClaim | ReleaseClaim):
        return None
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        return None
    if isinstance(command, ReleaseClaim):
        return check_release(state, command) if not any(claims_of(volume, command.allocation_id)) else None
    allocation = state.allocation(command.allocation_id)
    elsewhere = allocation is not None and allocation.namespace != command.namespace
    return unknown_allocation(command) if elsewhere else None


def unknown_allocation(command: TakeClaim) -> Refusal:
    """The same words whether it is in another namespace or nowhere: who may not see it there learns nothing."""
    return Refusal(
        404,
        f"Unknown allocation: {short(command.allocation_id)}: none of this ID is in namespace "
        f"{quoted(command.namespace)}, where the volume is",
    )


def _nothing_to_release(command: ReleaseClaim) -> Refusal:
    return Refusal(
        404, f"nothing to release: allocation {short(command.allocation_id)} has no claim on volume {short(command.id)}"
    )


def already_claimed(volume: Volume, command: ClaimVolume) -> bool:
    """Whether the allocation holds just the claim that it asks for."""
    held = volume.read_claims if command.mode == READ else volume.write_claims
    return command.allocation_id in held


def is_held(volume: Volume, command: TakeClaim) -> bool:
    """Whether the claim that was asked for is there, and not merely its release's note."""
    held = volume.read_claims if command.mode == READ else volume.write_claims
    claim = held.get(command.allocation_id)
    return claim is not None and claim.state == TAKEN


def claim_form_refusal(command: ClaimVolume) -> Refusal | None:
    if not command.id:
        return Refusal(400, "missing volume ID")
    if not command.allocation_id:
        return Refusal(400, "validation: missing allocation id: AllocationID names who claims or releases the volume")
    if command.mode not in (READ, WRITE, RELEASE):
        return Refusal(400, f"validation: unknown claim mode {command.mode}, one of: 0 (read), 1 (write), 2 (release)")
    if not TAKEN <= command.state <= READY_TO_FREE:
        return Refusal(
            400,
            f"validation: unknown claim state {command.state}, one of: 0 (taken), 1 (node detached), "
            "2 (controller detached), 3 (ready to free)",
        )
    if command.mode != RELEASE and command.state != TAKEN:
        return Refusal(400, f"validation: claim state {command.state} is for releases: a claim begins as 0 (taken)")
    return None


def _check_release(state: State, volume: Volume, command: ClaimVolume) -> Refusal | None:
    """An allocation that vanished may be released too; its claim still knows its node."""
    for claim in claims_of(volume, command.allocation_id):
        return node_refusal(command, claim.node_id)
    allocation = state.allocation(command.allocation_id)
    return None if allocation is None else node_refusal(command, allocation.node_id)


def node_refusal(command: ClaimVolume, node_id: str) -> Refusal | None:
    if command.node_id in ("", node_id):
        return None
    return Refusal(
        400,
        f"validation: allocation {command.allocation_id} is on node {quoted(node_id)}, not on "
        f"{quoted(command.node_id)}: leave NodeID out, or give the allocation's",
    )


def terminal_refusal(allocation: Allocation) -> Refusal | None:
    if not allocation.terminal:
        return None
    return Refusal(
        409, f"allocation {allocation.id} is {allocation.client_status}: only one that runs, or will, claims a volume"
    )


def other_node_refusal(state: State, volume: Volume, access_mode: str, allocation: Allocation) -> Refusal | None:
    if access_mode not in SINGLE_NODE_MODES:
        return None
    if not state.claimed_nodes(volume).keys() - {allocation.node_id}:
        return None
    elsewhere = claims_on(volume, allocation.node_id, elsewhere=True)
    return Refusal(
        409,
        f"volume max claim reached: {access_mode} is for one node at a time: claimed by "
        f"{holders(state, volume, elsewhere)}",
    )


def _capacity_refusal(state: State, volume: Volume, allocation: Allocation, mode: int) -> Refusal | None:
    """Whether the plugin and the access mode have room for one more."""
    refusal = health_refusal(state, volume)
    if refusal is not None or mode == READ:
        return refusal
    if volume.access_mode in READER_ONLY_MODES:
        return Refusal(409, f"unschedulable: access mode {volume.access_mode} takes no writers")
    if volume.access_mode == SINGLE_WRITER:
        return other_writer_refusal(state, volume, SINGLE_WRITER, allocation)
    return other_job_refusal(state, volume, volume.access_mode, allocation)


def health_refusal(state: State, volume: Volume) -> Refusal | None:
    plugin = state.plugin_row(volume.plugin_id)
    if plugin is None or not plugin.schedulable:
        return Refusal(409, f"unschedulable: the volume's plugin {volume.plugin_id} is {_ill_health(plugin)}")
    return None


def other_writer_refusal(state: State, volume: Volume, access_mode: str, allocation: Allocation) -> Refusal | None:
    """For modes that take one writer, whatever its job."""
    others = [volume.write_claims[id] for id in sorted(volume.write_claims) if id != allocation.id]
    if not others:
        return None
    return Refusal(
        409,
        f"volume max claim reached: {access_mode} takes one writer: claimed by {holders(state, volume, others)}",
    )


def other_job_refusal(state: State, volume: Volume, access_mode: str, allocation: Allocation) -> Refusal | None:
    """For modes that take writers of one job."""
    if not state.writing_jobs(volume).keys() - {(allocation.namespace, allocation.job_id)}:
        return None
    others = [
        claim
        for claim in volume.write_claims.values()
        if (claim.namespace, claim.job_id) != (allocation.namespace, allocation.job_id)
    ]
    others.sort(key=lambda claim: claim.allocation_id)
    return Refusal(
        409,
        f"volume max claim reached: {access_mode} takes writers of one job at a time: claimed by "
        f"{holders(state, volume, others)}",
    )


def _ill_health(plugin: Plugin | None) -> str:
    if plugin is None or not plugin.present:
        return "gone"
    nodes = f"{plugin.nodes_healthy} of {plugin.nodes_expected} nodes"
    return f"not healthy: {nodes} and {plugin.controllers_healthy} of {plugin.controllers_expected} controllers are"


# Detaching.


def nothing_to_detach(state: State, command: Command) -> Refusal | None:
    """Whether a detach would free nothing, and so was meant for another node, or done before."""
    if not isinstance(command, DetachVolume):
        return None
    volume = state.volume(command.namespace, command.id)
    if volume is None or command.node_id in state.claimed_nodes(volume):
        return None
    return Refusal(
        404, f"nothing to detach: nothing on node {short(command.node_id)} has a claim on volume {short(command.id)}"
    )


def check_detach(state: State, command: DetachVolume) -> Refusal | None:
    """Refused as a whole while anything that holds the volume runs on that node, unless the node is down or gone."""
    if not command.id:
        return Refusal(400, "missing volume ID")
    if not command.node_id:
        return Refusal(400, "detach requires node ID")
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        return Refusal(404, f"volume not found: {short(command.id)}")
    node = state.node(command.node_id)
    if node is None or node.status == "down":
        return None
    alive = [claim for claim in claims_on(volume, command.node_id) if is_alive(state, claim)]
    if not alive:
        return None
    return Refusal(
        409,
        f"volume in use: {volume.id}: node {node.id} is {node.status}, and what runs there can't be detached: "
        f"claimed by {holders(state, volume, alive)}",
    )
