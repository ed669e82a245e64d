"""How allocations and claims move the state: one small applier per command (contract.md, "Allocations and claims").

A claim lives in its volume's row. It outlives its allocation, and knows of it what must be known then: node, job and
namespace. It ends by a release, by its allocation's end (`complete`, `failed`), with its node, or by an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from volstore.core import claim_rules
from volstore.core.claim_changes import ClaimChanges
from volstore.core.commands import (
    ClaimVolume,
    DeleteAllocation,
    DetachVolume,
    FreeClaims,
    PutAllocations,
    ReleaseClaim,
    ReportAllocations,
    SweepClaims,
    TakeClaim,
    releasing,
    taking,
)
from volstore.core.holders import claims_of, claims_on, is_alive
from volstore.core.model import READ, READY_TO_FREE, RELEASE, Allocation, Capability, Claim, Volume
from volstore.core.rules import Refusal, partly
from volstore.core.state import State
from volstore.core.taking import check_take, mode_of_use


def _put_allocations(state: State, command: PutAllocations) -> Refusal | None:
    refusal = claim_rules.check_put_allocations(state, command)
    if refusal is None:
        _store(state, command.allocations)
    return refusal


def _report_allocations(state: State, command: ReportAllocations) -> Refusal | None:
    refusal = claim_rules.check_report(state, command)
    if refusal is not None:
        return refusal
    refused = claim_rules.refused_allocations(state, command)
    _store(state, [allocation for allocation in command.allocations if allocation.id not in refused])
    return partly({id: why.text for id, why in refused.items()}) if refused else None


def _store(state: State, allocations: Iterable[Allocation]) -> None:
    changes = ClaimChanges(state)
    for allocation in allocations:
        old = state.allocation(allocation.id)
        state.put_allocation(
            replace(
                allocation,
                create_index=old.create_index if old is not None else state.index,
                modify_index=state.index,
            )
        )
        _follow_allocation(state, allocation, changes)
    changes.put()


def _follow_allocation(state: State, allocation: Allocation, changes: ClaimChanges) -> None:
    """What an allocation's report means for the plugins that it runs, which show it, and for the volumes that it
    claims: they show it, or are free of it."""
    _move_plugins(state, allocation.id)
    for volume in state.volumes_claimed_by(allocation.id):
        if allocation.ended:
            changes.release(volume, allocation.id)
        else:
            changes.show(volume, allocation.id)


def _move_plugins(state: State, allocation_id: str) -> None:
    """A plugin's own answer shows the allocations of its instances; its volumes' answers don't."""
    for plugin in state.plugins_run_by(allocation_id):
        state.put_plugin(replace(plugin, modify_index=state.index))


def _delete_allocation(state: State, command: DeleteAllocation) -> Refusal | None:
    refusal = claim_rules.check_delete_allocation(state, command)
    if refusal is not None:
        return refusal
    state.remove_allocation(command.id)
    _move_plugins(state, command.id)
    changes = ClaimChanges(state)
    for volume in state.volumes_claimed_by(command.id):
        changes.show(volume, command.id)
    changes.put()
    return None


def _claim_volume(state: State, command: ClaimVolume) -> Refusal | None:
    refusal = claim_rules.check_claim(state, command)
    if refusal is None:
        _carry_out(state, command)
    return refusal


def _take_claim(state: State, command: TakeClaim) -> Refusal | None:
    refusal = check_take(state, command)
    if refusal is None:
        _carry_out(state, taking(command), command)
    return refusal


def _release_claim(state: State, command: ReleaseClaim) -> Refusal | None:
    refusal = claim_rules.check_release(state, command)
    if refusal is None:
        _carry_out(state, releasing(command))
    return refusal


def _carry_out(state: State, command: ClaimVolume, taken: TakeClaim | None = None) -> None:
    """A claim or release that passed the rules; `taken` where it fixes the mode in which the volume is used."""
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        raise ValueError("a volume that is claimed is there")
    if command.mode == RELEASE:
        moved = _released(volume, command)
    elif claim_rules.already_claimed(volume, command):
        moved = volume
    else:
        moved = _claimed(state, volume, command)
        used = None if taken is None else mode_of_use(state, volume, taken)
        if isinstance(used, Capability) and used != Capability(volume.access_mode, volume.attachment_mode):
            moved = replace(moved, access_mode=used.access_mode, attachment_mode=used.attachment_mode)
    # Also one that changed nothing: whoever claims sees its own write (contract.md).
    state.put_volume(replace(moved, modify_index=state.index, touch_index=state.index), (command.allocation_id,))


def _claimed(state: State, volume: Volume, command: ClaimVolume) -> Volume:
    """The volume with its new reader or writer, who is nothing else to it any more."""
    allocation = state.allocation(command.allocation_id)
    if allocation is None:
        raise ValueError("a claim is taken by an allocation that is there")
    free = _without(volume, allocation.id)
    claim = Claim(
        allocation_id=allocation.id,
        node_id=allocation.node_id,
        mode=command.mode,
        namespace=allocation.namespace,
        job_id=allocation.job_id,
        taken_at=state.stamp,
    )
    if command.mode == READ:
        return replace(free, read_claims=_with(free.read_claims, claim))
    return replace(free, write_claims=_with(free.write_claims, claim))


def _with(claims: dict[str, Claim], claim: Claim) -> dict[str, Claim]:
    # A copy by `copy()`: the other ways take ten times as long once something was deleted from a dictionary.
    more = claims.copy()
    more[claim.allocation_id] = claim
    return more


def _released(volume: Volume, command: ClaimVolume) -> Volume:
    """The volume without the claim, or with a note of how far its unmounting has come.

    There is nothing to note of an allocation that holds nothing: it would hold the volume by its own release.
    """
    id = command.allocation_id
    if command.state == READY_TO_FREE:
        return _without(volume, id)
    held = volume.write_claims.get(id) or volume.read_claims.get(id) or volume.past_claims.get(id)
    if held is None:
        return volume
    noted = replace(held, mode=RELEASE, state=command.state)
    return replace(volume, past_claims=_with(volume.past_claims, noted))


def _detach_volume(state: State, command: DetachVolume) -> Refusal | None:
    refusal = claim_rules.check_detach(state, command)
    volume = state.volume(command.namespace, command.id)
    if refusal is not None or volume is None:
        return refusal
    changes = ClaimChanges(state)
    _free_node(changes, volume, command.node_id)
    changes.put()
    return None


def _sweep_claims(state: State, command: SweepClaims) -> Refusal | None:
    """What was found to hang is judged again here, as it may have changed since: then it stays, and none is refused."""
    changes = ClaimChanges(state)
    for key in command.claims:
        volume = state.volume(key.namespace, key.volume_id)
        if volume is None or state.node(key.node_id) is not None:
            continue
        if any(
            claim.node_id == key.node_id and not is_alive(state, claim)
            for claim in claims_of(volume, key.allocation_id)
        ):
            changes.release(volume, key.allocation_id, key.node_id)
    changes.put()
    return None


def _free_claims(state: State, command: FreeClaims) -> Refusal | None:
    """Each is judged again, as in _sweep_claims."""
    changes = ClaimChanges(state)
    for key in command.claims:
        volume = state.volume(key.namespace, key.volume_id)
        if volume is None:
            continue
        gone = state.node(key.node_id) is None
        if any(
            claim.node_id == key.node_id
            and (state.allocation(claim.allocation_id) is None or (gone and not is_alive(state, claim)))
            for claim in claims_of(volume, key.allocation_id)
        ):
            changes.release(volume, key.allocation_id, key.node_id)
    changes.put()
    return None


def release_node(state: State, node_id: str) -> None:
    """Release all that is claimed on a node which has just been removed."""
    changes = ClaimChanges(state)
    for volume in state.volumes_claimed_on(node_id):
        _free_node(changes, volume, node_id)
    changes.put()


def _free_node(changes: ClaimChanges, volume: Volume, node_id: str) -> None:
    for claim in claims_on(volume, node_id):
        changes.release(volume, claim.allocation_id, node_id)


def _without(volume: Volume, allocation_id: str) -> Volume:
    """The volume without the claims of this allocation."""

    def kept(claims: dict[str, Claim]) -> dict[str, Claim]:
        if allocation_id not in claims:
            return claims
        kept = claims.copy()
        del kept[allocation_id]
        return kept

    return replace(
        volume,
        read_claims=kept(volume.read_claims),
        write_claims=kept(volume.write_claims),
        past_claims=kept(volume.past_claims),
    )


APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {
    PutAllocations: _put_allocations,
    ReportAllocations: _report_allocations,
    DeleteAllocation: _delete_allocation,
    ClaimVolume: _claim_volume,
    TakeClaim: _take_claim,
    ReleaseClaim: _release_claim,
    DetachVolume: _detach_volume,
    SweepClaims: _sweep_claims,
    FreeClaims: _free_claims,
}
