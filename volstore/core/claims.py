"""How allocations and claims move the state: one small applier per command (contract.md, "Allocations and claims").

A claim lives in its volume's row. It outlives its allocation, and knows of it what must be known then: node, job and
namespace. It ends by a release, by its allocation's end (`complete`, `failed`), with its node, or by an operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from volstore.core import claim_rules
from volstore.core.commands import ClaimKey, ClaimVolume, DeleteAllocation, DetachVolume, PutAllocations, SweepClaims
from volstore.core.holders import is_alive
from volstore.core.model import READ, READY_TO_FREE, RELEASE, Allocation, Claim, Volume
from volstore.core.rules import Refusal
from volstore.core.state import State

Held = Callable[[Claim], bool]


def _put_allocations(state: State, command: PutAllocations) -> Refusal | None:
    refusal = claim_rules.check_put_allocations(state, command)
    if refusal is not None:
        return refusal
    for allocation in command.allocations:
        old = state.allocation(allocation.id)
        state.put_allocation(
            replace(
                allocation,
                create_index=old.create_index if old is not None else state.index,
                modify_index=state.index,
            )
        )
        _follow_allocation(state, allocation)
    return None


def _follow_allocation(state: State, allocation: Allocation) -> None:
    """What an allocation's report means for the plugins that it runs, which show it, and for the volumes that it
    claims: they show it, or are free of it."""
    _move_plugins(state, allocation.id)
    for volume in state.volumes_claimed_by(allocation.id):
        if allocation.ended:
            _release(state, volume, lambda claim: claim.allocation_id == allocation.id)
        else:
            _touch(state, volume, allocation.id)


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
    for volume in state.volumes_claimed_by(command.id):
        _touch(state, volume, command.id)
    return None


def _claim_volume(state: State, command: ClaimVolume) -> Refusal | None:
    refusal = claim_rules.check_claim(state, command)
    volume = state.volume(command.namespace, command.id)
    if refusal is not None or volume is None:
        return refusal
    if command.mode == RELEASE:
        moved = _released(volume, command)
    elif claim_rules.already_claimed(volume, command):
        moved = volume
    else:
        moved = _claimed(state, volume, command)
    # Also one that changed nothing: whoever claims sees its own write (contract.md).
    _put(state, moved)
    return None


def _claimed(state: State, volume: Volume, command: ClaimVolume) -> Volume:
    """The volume with its new reader or writer, who is nothing else to it any more."""
    allocation = state.allocation(command.allocation_id)
    if allocation is None:
        raise ValueError("a claim is taken by an allocation that is there")
    free = _without(volume, lambda claim: claim.allocation_id == allocation.id)
    claim = Claim(
        allocation_id=allocation.id,
        node_id=allocation.node_id,
        mode=command.mode,
        namespace=allocation.namespace,
        job_id=allocation.job_id,
        taken_at=state.log_time,
    )
    if command.mode == READ:
        return replace(free, read_claims={**free.read_claims, allocation.id: claim})
    return replace(free, write_claims={**free.write_claims, allocation.id: claim})


def _released(volume: Volume, command: ClaimVolume) -> Volume:
    """The volume without the claim, or with a note of how far its unmounting has come.

    There is nothing to note of an allocation that holds nothing: it would hold the volume by its own release.
    """
    id = command.allocation_id
    if command.state == READY_TO_FREE:
        return _without(volume, lambda claim: claim.allocation_id == id)
    held = volume.write_claims.get(id) or volume.read_claims.get(id) or volume.past_claims.get(id)
    if held is None:
        return volume
    noted = replace(held, mode=RELEASE, state=command.state)
    return replace(volume, past_claims={**volume.past_claims, id: noted})


def _detach_volume(state: State, command: DetachVolume) -> Refusal | None:
    refusal = claim_rules.check_detach(state, command)
    volume = state.volume(command.namespace, command.id)
    if refusal is not None or volume is None:
        return refusal
    _release(state, volume, lambda claim: claim.node_id == command.node_id)
    return None


def _sweep_claims(state: State, command: SweepClaims) -> Refusal | None:
    """What was found to hang is judged again here, as it may have changed since: then it stays, and none is refused."""
    for key in command.claims:
        volume = state.volume(key.namespace, key.volume_id)
        if volume is not None and state.node(key.node_id) is None:
            _release(state, volume, _hanging(state, key))
    return None


def _hanging(state: State, key: ClaimKey) -> Held:
    def hangs(claim: Claim) -> bool:
        found = (claim.allocation_id, claim.node_id) == (key.allocation_id, key.node_id)
        return found and not is_alive(state, claim)

    return hangs


def release_node(state: State, node_id: str) -> None:
    """Release all that is claimed on a node which has just been removed."""
    for volume in state.volumes_claimed_on(node_id):
        _release(state, volume, lambda claim: claim.node_id == node_id)


def _release(state: State, volume: Volume, held: Held) -> None:
    """Take the claims that `held` says out of the volume; its row moves only if there are any."""
    free = _without(volume, held)
    if free != volume:
        _put(state, free)


def _without(volume: Volume, held: Held) -> Volume:
    def kept(claims: dict[str, Claim]) -> dict[str, Claim]:
        return {id: claim for id, claim in claims.items() if not held(claim)}

    return replace(
        volume,
        read_claims=kept(volume.read_claims),
        write_claims=kept(volume.write_claims),
        past_claims=kept(volume.past_claims),
    )


def _put(state: State, volume: Volume) -> None:
    state.put_volume(replace(volume, modify_index=state.index, touch_index=state.index))


def _touch(state: State, volume: Volume, allocation_id: str) -> None:
    """A volume's answer shows the allocations that read or write it; its own row stays as it is."""
    if allocation_id in volume.read_claims or allocation_id in volume.write_claims:
        state.put_volume(replace(volume, touch_index=state.index))


APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {
    PutAllocations: _put_allocations,
    DeleteAllocation: _delete_allocation,
    ClaimVolume: _claim_volume,
    DetachVolume: _detach_volume,
    SweepClaims: _sweep_claims,
}
