"""A command that changes many claims leaves the very bytes that level 1 left, which ended them one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.machine import Machine, allocation, fingerprint, volume
from volstore.core import claim_rules, claims
from volstore.core.claim_counts import ClaimCounts
from volstore.core.commands import ClaimKey, ClaimVolume, Command, DeleteNode, DetachVolume, PutAllocations, SweepClaims
from volstore.core.holders import is_alive
from volstore.core.model import Claim, Volume
from volstore.core.queries import VolumeQuery, claimants, claimed_nodes
from volstore.core.rules import Refusal
from volstore.core.state import State

NODES = tuple(f"n{number}" for number in range(6))
IDS = tuple(f"a{number}" for number in range(60))
PLACES = {id: NODES[number % len(NODES)] for number, id in enumerate(IDS)}
VOLUMES = ("v", "w", "x")
Held = Callable[[Claim], bool]


# Level 1's own way, as it was released: each claim's end is a row of its own.


def _release(state: State, found: Volume | None, held: Held) -> None:
    if found is None:
        return
    kinds = ("read_claims", "write_claims", "past_claims")
    kept = {kind: {id: one for id, one in getattr(found, kind).items() if not held(one)} for kind in kinds}
    free = replace(found, **kept)
    if free != found:
        state.put_volume(replace(free, modify_index=state.index, touch_index=state.index))


def _put_allocations(state: State, command: PutAllocations) -> Refusal | None:
    refusal = claim_rules.check_put_allocations(state, command)
    if refusal is not None:
        return refusal
    for one in command.allocations:
        old = state.allocation(one.id)
        created = old.create_index if old is not None else state.index
        state.put_allocation(replace(one, create_index=created, modify_index=state.index))
        claims._move_plugins(state, one.id)
        for found in state.volumes_claimed_by(one.id):
            if one.ended:
                _release(state, found, lambda claim, id=one.id: claim.allocation_id == id)  # type: ignore[misc]
            elif one.id in found.read_claims or one.id in found.write_claims:
                state.put_volume(replace(found, touch_index=state.index))
    return None


def _sweep(state: State, command: SweepClaims) -> Refusal | None:
    for key in command.claims:
        if state.node(key.node_id) is None:
            found = state.volume(key.namespace, key.volume_id)
            _release(
                state,
                found,
                lambda claim, key=key: (  # type: ignore[misc]
                    (claim.allocation_id, claim.node_id) == (key.allocation_id, key.node_id)
                    and not is_alive(state, claim)
                ),
            )
    return None


def _detach(state: State, command: DetachVolume) -> Refusal | None:
    refusal = claim_rules.check_detach(state, command)
    if refusal is None:
        found = state.volume(command.namespace, command.id)
        _release(state, found, lambda claim: claim.node_id == command.node_id)
    return refusal


def _release_node(state: State, node_id: str) -> None:
    for found in state.volumes_claimed_on(node_id):
        _release(state, found, lambda claim: claim.node_id == node_id)


AS_RELEASED: dict[type, Any] = {PutAllocations: _put_allocations, SweepClaims: _sweep, DetachVolume: _detach}


def commands(draw: random.Random, count: int) -> list[Command]:
    def reported(ids: list[str], *statuses: str) -> PutAllocations:
        rows = (allocation(id, node_id=PLACES[id], client_status=draw.choice(statuses)) for id in ids)
        return PutAllocations(tuple(rows))

    found: list[Command] = [reported(list(IDS), "running")]
    for _ in range(count):
        ids, on = draw.sample(IDS, draw.choice((1, 3, 40))), draw.choice(VOLUMES)
        kind = draw.randrange(8)
        if kind < 4:
            found += [ClaimVolume("default", on, id, draw.choice((0, 0, 1, 2)), 0) for id in ids]
        elif kind == 4:
            found.append(reported(ids, "running", "complete", "failed", "lost"))
        elif kind == 5:
            found += [ClaimVolume("default", on, id, 2, draw.choice((1, 3))) for id in ids[:5]]
        elif kind == 6:
            keys = (ClaimKey("default", draw.choice(VOLUMES), id, PLACES[id]) for id in draw.choices(IDS, k=30))
            found += [DeleteNode(draw.choice(NODES)), SweepClaims(tuple(keys))]
        else:
            found.append(DetachVolume("default", on, draw.choice(NODES)))
    return found


def prepared() -> Machine:
    machine = Machine()
    machine.report("keeper", node_plugins={"p": fingerprint(alloc_id="a1")})
    for id in NODES:
        machine.report(id, node_plugins={"p": fingerprint(alloc_id="a2")})
    for id in VOLUMES:
        machine.register(volume(id, access_mode="multi-node-multi-writer"))
    return machine


@pytest.mark.parametrize("many", [2, 8, 64])
@pytest.mark.parametrize("seed", range(4))
def test_every_byte_is_as_level_1_left_it(monkeypatch: pytest.MonkeyPatch, seed: int, many: int) -> None:
    for module in ("volstore.core.queries", "volstore.core.volumes"):
        monkeypatch.setattr(f"{module}.MANY", many)
    new, old, asked = prepared(), prepared(), commands(random.Random(seed), 150)
    looked = seed % 2  # whether somebody asks for the bytes each time, or only in the end
    for command in asked:
        outcome = new.do(command)
        with monkeypatch.context() as patch:
            for kind, applier in AS_RELEASED.items():
                patch.setitem(fsm_appliers(), kind, applier)
            patch.setattr(claims, "release_node", _release_node)
            assert old.do(command) == outcome
        if looked:
            assert new.fsm.digest() == old.fsm.digest(), command
    assert new.fsm.digest() == old.fsm.digest()
    assert list(new.fsm.capture().chunks()) == list(old.fsm.capture().chunks())
    check_indexes(new.state)


def fsm_appliers() -> dict[type, Any]:
    from volstore.core import fsm

    return fsm._APPLIERS


def check_indexes(state: State) -> None:
    """What the indexes say follows from the rows."""
    rows = list(state.volumes(VolumeQuery()))
    for found in rows:
        counts = ClaimCounts(found)
        assert (state.claimed_nodes(found), state.writing_jobs(found)) == (counts.nodes, counts.writers)
    nodes = {node for found in rows for node in claimed_nodes(found)}
    assert set(state.claimed_node_ids()) == nodes
    for node in nodes:
        assert state.volumes_claimed_on(node) == [found for found in rows if node in claimed_nodes(found)]
    for id in IDS:
        assert state.volumes_claimed_by(id) == [found for found in rows if id in claimants(found)]


def test_a_report_moves_a_volume_once_however_many_of_its_claims_end() -> None:
    machine = prepared()
    machine.done(PutAllocations(tuple(allocation(id, node_id=PLACES[id]) for id in IDS)))
    for id in IDS:
        machine.done(ClaimVolume("default", "v", id, 0))
    machine.state.take_events()
    ended = tuple(allocation(id, node_id=PLACES[id], client_status="complete") for id in IDS)
    machine.done(PutAllocations(ended))
    kinds = [type(event).__name__ for event in machine.state.take_events()]
    assert kinds.count("VolumeChanged") == 1
    assert not machine.volume("v").in_use
