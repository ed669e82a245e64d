"""Laws of claims, for any sequence of reports, claims, releases, losses and sweeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.machine import Machine, allocation, fingerprint, volume
from tests.core.steps import Step, new_fsm, perform, sequences
from volstore.agent import sweep
from volstore.core.acl.commands import PutNamespace
from volstore.core.claim_rules import READER_ONLY_MODES, SINGLE_NODE_MODES
from volstore.core.commands import (
    ClaimKey,
    ClaimVolume,
    Command,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    FreeClaims,
    MergeVolumes,
    PutAllocations,
    RegisterVolumes,
    ReleaseClaim,
    ReportAllocations,
    SetNodeStatus,
    TakeClaim,
)
from volstore.core.model import ACCESS_MODES, READ, RELEASE, WRITE, Capability, Claim, Volume
from volstore.core.queries import VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints.render import volume_item

NODES = ("n1", "n2")
# Two jobs of which each has an allocation on either node, and one of the same name in another namespace.
ALLOCATIONS = (
    allocation("w1", job_id="web"),
    allocation("w2", job_id="web", node_id="n2"),
    allocation("d1", job_id="db"),
    allocation("d2", job_id="db", node_id="n2"),
    allocation("o1", job_id="web", namespace="other"),
)
IDS = tuple(row.id for row in ALLOCATIONS)

_ids = st.sampled_from(IDS)
_nodes = st.sampled_from(NODES)


def _reported(id: str, status: str) -> Command:
    row = next(row for row in ALLOCATIONS if row.id == id)
    return PutAllocations(
        (allocation(id, job_id=row.job_id, node_id=row.node_id, namespace=row.namespace, client_status=status),)
    )


_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(ClaimVolume, st.just("default"), st.just("v"), _ids, st.sampled_from((READ, WRITE))),
    st.builds(ClaimVolume, st.just("default"), st.just("v"), _ids, st.sampled_from((READ, WRITE))),
    st.builds(ClaimVolume, st.just("default"), st.just("v"), _ids, st.just(RELEASE), st.integers(0, 3)),
    st.builds(_reported, _ids, st.sampled_from(("running", "running", "lost", "complete"))),
    st.builds(DeleteAllocation, _ids),
    st.builds(SetNodeStatus, _nodes, st.sampled_from(("down", "ready"))),
    st.builds(DeleteNode, _nodes),
    st.builds(DetachVolume, st.just("default"), st.just("v"), _nodes),
    st.builds(DeregisterVolume, st.just("default"), st.just("v"), st.booleans()),
)


def prepared(mode: str) -> Machine:
    """A volume v of that mode, and all that may want it."""
    machine = Machine()
    machine.report("keeper", node_plugins={"p": fingerprint()})
    for node in NODES:
        machine.report(node, node_plugins={"p": fingerprint()})
    machine.register(volume("v", access_mode=mode))
    machine.done(PutAllocations(ALLOCATIONS))
    return machine


def claims_of(found: Volume) -> Iterator[Claim]:
    for by_allocation in (found.read_claims, found.write_claims, found.past_claims):
        yield from by_allocation.values()


def check(state: State) -> None:
    for found in state.volumes(VolumeQuery(None)):
        writers = {(claim.namespace, claim.job_id) for claim in found.write_claims.values()}
        nodes = {claim.node_id for claim in claims_of(found)}
        assert len(writers) <= 1 or found.access_mode.endswith("multi-writer"), "writers of two jobs"
        assert len(nodes) <= 1 or found.access_mode not in SINGLE_NODE_MODES, "claims from two nodes"
        assert not (found.write_claims and found.access_mode in READER_ONLY_MODES)
        assert not found.read_claims.keys() & found.write_claims.keys()
        assert found.past_claims.keys() <= found.read_claims.keys() | found.write_claims.keys()
        assert found.in_use == bool(nodes)
        item = volume_item(found, state.plugin_row(found.plugin_id))
        assert (item.current_readers, item.current_writers) == (len(found.read_claims), len(found.write_claims))
        for claim in claims_of(found):
            row = state.allocation(claim.allocation_id)
            assert row is None or not row.ended, "a claim of an allocation that has ended"
            assert row is None or (row.node_id, row.job_id) == (claim.node_id, claim.job_id)
            assert found in state.volumes_claimed_by(claim.allocation_id)
            assert found in state.volumes_claimed_on(claim.node_id)


_MODES = (
    Capability("single-node-reader-only", "file-system"),
    Capability("single-node-writer", "block-device"),
    Capability("single-node-single-writer", "file-system"),
    Capability("single-node-multi-writer", "file-system"),
    Capability("multi-node-single-writer", "file-system"),
    Capability("multi-node-multi-writer", "file-system"),
)


def _open_to(capabilities: list[Capability]) -> MergeVolumes:
    given = volume("v", access_mode="", attachment_mode="", requested_capabilities=tuple(capabilities))
    return MergeVolumes((given,))


_some_modes = st.lists(st.sampled_from(_MODES), min_size=1, max_size=4)
_open: st.SearchStrategy[Command] = st.one_of(
    *(
        st.builds(
            TakeClaim,
            st.just("default"),
            st.just("v"),
            _ids,
            st.sampled_from((READ, WRITE)),
            st.just(""),
            st.sampled_from(("", "", *(mode.access_mode for mode in _MODES))),
        )
        for _ in range(3)
    ),
    st.builds(ReleaseClaim, st.just("default"), st.just("v"), _ids, st.sampled_from((1, 3, 3))),
    st.builds(_reported, _ids, st.sampled_from(("running", "complete"))),
    st.builds(DeleteAllocation, _ids),
    st.builds(FreeClaims, st.just(tuple(ClaimKey("default", "v", row.id, row.node_id) for row in ALLOCATIONS))),
    st.builds(DetachVolume, st.just("default"), st.just("v"), _nodes),
    st.builds(_open_to, _some_modes),
)


@settings(max_examples=200, deadline=None)
@given(_some_modes, st.lists(_open, max_size=40))
def test_the_mode_in_use_is_one_of_the_capabilities_and_stays_while_others_hold_the_volume(
    modes: list[Capability], commands: list[Command]
) -> None:
    machine = prepared("multi-node-multi-writer")
    machine.done(DeregisterVolume("default", "v"))
    machine.done(_open_to(modes))
    for command in commands:
        before = machine.volume("v")
        machine.do(command)
        check(machine.state)
        after = machine.volume("v")
        used = Capability(after.access_mode, after.attachment_mode)
        if after.in_use:
            assert used in after.requested_capabilities
            assert len(after.write_claims) <= 1 or not used.access_mode.endswith("single-writer")
        holders = {claim.allocation_id for claim in claims_of(before)} & {
            claim.allocation_id for claim in claims_of(after)
        }
        if holders - {command.allocation_id if isinstance(command, TakeClaim) else ""}:
            assert used == Capability(before.access_mode, before.attachment_mode)


@pytest.mark.parametrize("mode", ACCESS_MODES)
@settings(max_examples=60, deadline=None)
@given(st.lists(_commands, max_size=40))
def test_no_interleaving_breaks_what_an_access_mode_promises(mode: str, commands: list[Command]) -> None:
    machine = prepared(mode)
    for command in commands:
        machine.do(command)
        check(machine.state)


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_the_same_holds_among_all_other_commands(steps: list[Step]) -> None:
    fsm = new_fsm()
    for step in steps:
        perform(fsm, step)
        check(fsm.state)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ACCESS_MODES), st.lists(_commands, max_size=30))
def test_no_claim_gets_stuck_once_its_node_is_gone_and_nothing_runs(mode: str, commands: list[Command]) -> None:
    machine = prepared(mode)
    for command in commands:
        machine.do(command)
    for node in NODES:
        machine.do(SetNodeStatus(node, "down"))
    for id in IDS:
        machine.do(_reported(id, "lost"))
    machine.measured().pass_(3_660)
    for _ in range(2):  # the nodes in one sweep, what is left in the next
        for found in sweep.abandoned(machine.state, 3_600, 100):
            machine.done(found)
    assert not any(found.in_use for found in machine.state.volumes(VolumeQuery()))
    assert list(machine.state.claimed_node_ids()) == []


PLACES = {row.id: row.node_id for row in ALLOCATIONS}
_of_level_two = st.one_of(
    st.builds(TakeClaim, st.sampled_from(("default", "other")), st.just("v"), _ids, st.sampled_from((READ, WRITE))),
    st.builds(ReleaseClaim, st.sampled_from(("default", "other")), st.just("v"), _ids, st.integers(0, 3)),
    st.builds(
        lambda id, status, namespace: ReportAllocations(
            (allocation(id, node_id=PLACES[id], client_status=status, namespace=namespace),)
        ),
        _ids,
        st.sampled_from(("running", "running", "complete")),
        st.sampled_from(("default", "other")),
    ),
    st.builds(DeleteAllocation, _ids),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_of_level_two, max_size=40))
def test_no_claim_is_ever_of_another_namespace_and_no_refusal_moves_a_volume(commands: list[Command]) -> None:
    machine = prepared("multi-node-multi-writer")
    machine.register(volume("v", access_mode="multi-node-multi-writer"), namespace="default")
    machine.done(PutNamespace("other"))
    machine.done(RegisterVolumes("other", (volume("v", access_mode="multi-node-multi-writer"),)))
    for command in commands:
        before = list(machine.state.volumes(VolumeQuery()))
        outcome = machine.do(command)
        after = list(machine.state.volumes(VolumeQuery()))
        assert outcome.status == 200 or [id(row) for row in after] == [id(row) for row in before]
        for found in after:
            assert {claim.namespace for claim in claims_of(found)} <= {found.namespace}
            for claim in claims_of(found):
                row = machine.state.allocation(claim.allocation_id)
                assert row is None or row.namespace == found.namespace
