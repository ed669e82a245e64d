"""A host that is off for good, or that shall have no volumes for a while: what an operator says of a node."""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.attach import calls
from volstore.core.attach.commands import CancelOperation, DrainNode, FenceNode
from volstore.core.attach.rows import DETACH, DETACHING, QUEUED, Host, RevokedVolume
from volstore.core.claim_changes import ClaimChanges
from volstore.core.rules import Refusal, short
from volstore.core.state import State

LONGEST_REASON = 256


def _host(state: State, node_id: str) -> Host | Refusal:
    if state.node(node_id) is None:
        return Refusal(404, "node not found")
    host = state.attachments.host(node_id)
    return host or Refusal(409, f"node {node_id} has no agent that manages its volumes: detach them with volume detach")


def fence(state: State, command: FenceNode) -> Refusal | None:
    """What was attached there is detached without the node's word, and what needs no detaching is free."""
    host = _host(state, command.node_id)
    if isinstance(host, Refusal):
        return host
    if not command.on:
        return _lift(state, host)
    node = state.node(host.id)
    if node is not None and node.status == "ready" and not command.force:
        return Refusal(
            409,
            f"node {host.id} is ready, its agent is heard: a fence says that the host is off. Drain it, or repeat with "
            "force if you know that nothing on it writes any more",
        )
    rows = state.attachments.on_node(host.id)
    known = {(note.plugin_id, note.external_id) for note in host.revoked}
    notes = tuple(
        RevokedVolume(row.plugin_id, row.external_id, state.index)
        for row in rows
        if (row.plugin_id, row.external_id) not in known
    )
    changes = ClaimChanges(state)
    for row in rows:
        for claim in row.claims:
            if (volume := state.volume(claim.namespace, claim.volume_id)) is not None:
                changes.free(volume, claim.allocation_id, host.id)
        since = row.since if row.state == DETACHING else state.index
        calls.settle(state, replace(row, claims=(), staged=False, state=DETACHING, fenced=True, since=since))
    changes.put()
    state.attachments.put_host(
        replace(
            state.attachments.hosts.rows[host.id],
            fenced=True,
            reason=command.reason[:LONGEST_REASON],
            revoked=(*host.revoked, *notes),
            work_index=state.index,
        )
    )
    return None


def _lift(state: State, host: Host) -> Refusal | None:
    if host.revoked:
        return Refusal(
            409,
            f"node {host.id} hasn't reported yet that {short(host.revoked[0].external_id)} is gone there: let its "
            "agent run, then repeat",
        )
    state.attachments.put_host(replace(host, fenced=False, reason="", work_index=state.index))
    calls.follow_node(state, host.id)
    return None


def drain(state: State, command: DrainNode) -> Refusal | None:
    host = _host(state, command.node_id)
    if isinstance(host, Refusal):
        return host
    changes = ClaimChanges(state)
    for row in state.attachments.on_node(host.id) if command.on else ():
        for claim in row.claims:
            if (volume := state.volume(claim.namespace, claim.volume_id)) is not None:
                changes.release(volume, claim.allocation_id, host.id)
    changes.put()
    state.attachments.put_host(
        replace(state.attachments.hosts.rows[host.id], draining=command.on, work_index=state.index)
    )
    return None


def cancel(state: State, command: CancelOperation) -> Refusal | None:
    call = state.attachments.call(command.id)
    if call is None:
        return Refusal(404, f"no operation {short(command.id)}: it is over, or never was")
    if call.kind != DETACH:
        return Refusal(409, f"operation {call.id} is an {call.kind}: release what claims the volume, and it ends")
    if call.state != QUEUED:
        return Refusal(409, f"operation {call.id} is being made by node {call.executor}: wait until it has ended")
    calls.cancel(state, call)
    return None
