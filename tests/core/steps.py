"""Steps that move a state machine, drawn by hypothesis from a small world in which they often meet."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.machine import SECOND, allocation, controller, fingerprint, node, volume
from volstore.core.commands import (
    AdvanceTime,
    ClaimKey,
    ClaimVolume,
    Command,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    FreeClaims,
    Idempotency,
    MergeVolumes,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    ReportAllocations,
    SetNodeStatus,
    Stamped,
    SweepClaims,
    SweepNode,
    TakeClaim,
    encode,
)
from volstore.core.fsm import Fsm
from volstore.core.model import Capability, MountOptions, Namespace, Topology, TopologyRequest

VOLUME_IDS = ("a", "ab", "b\u00e9")
PLUGIN_IDS = ("p", "pq", "q")
NODE_IDS = ("n1", "n10", "n2")
ALLOCATION_IDS = ("a1", "a10", "a2")
NAMESPACES = ("default", "other")


Step = Stamped


def perform(fsm: Fsm, step: Step) -> bytes:
    """Take the step; the outcome's bytes. Each moves the index by one. A measure from base 0 is from now."""
    if isinstance(step.command, AdvanceTime) and step.command.base == 0:
        step = replace(step, command=replace(step.command, base=fsm.state.log_time))
    return fsm.apply(encode(step))


def new_fsm() -> Fsm:
    """A state machine with a second namespace, which no command can make yet."""
    fsm = Fsm()
    fsm.state.put_namespace(Namespace(name="other", create_index=1, modify_index=1))
    return fsm


def _mostly(usual: tuple[str, ...], odd: tuple[str, ...]) -> st.SearchStrategy[str]:
    """One of `usual` about nine times in ten."""
    return st.sampled_from(usual * (9 * len(odd)) + odd * len(usual))


_namespaces = _mostly(("default", *NAMESPACES), ("nope",))
_volume_ids = st.sampled_from(VOLUME_IDS)

_volumes = st.builds(
    lambda id, plugin, name, external, mode: volume(
        id, plugin_id=plugin, name=name, external_id=external, access_mode=mode
    ),
    _mostly(VOLUME_IDS, ("", "bad id")),
    _mostly(("p",), (*PLUGIN_IDS, "none")),
    st.sampled_from(("", "name")),
    _mostly(("ext",), ("other",)),
    _mostly(("single-node-writer", "multi-node-multi-writer", "multi-node-single-writer"), ("", "nonsense")),
)

_fingerprints = st.builds(
    lambda healthy, version, text, allocation_id: fingerprint(
        healthy=healthy, provider_version=version, health_description=text, alloc_id=allocation_id
    ),
    st.booleans(),
    st.sampled_from(("1", "2")),
    st.sampled_from(("", "well")),
    st.sampled_from(("", "a1", "a2")),
)
_controllers = st.one_of(_fingerprints, st.builds(lambda healthy: controller(healthy=healthy), st.booleans()))

_nodes = st.builds(
    lambda id, status, secret, controllers, nodes: node(
        id, status=status, secret_hash=secret, controller_plugins=controllers, node_plugins=nodes
    ),
    _mostly(NODE_IDS, ("",)),
    _mostly(("ready",), ("down", "nonsense")),
    st.sampled_from((b"", b"", b"", b"secret")),
    st.dictionaries(st.sampled_from(PLUGIN_IDS), _controllers, max_size=2),
    st.dictionaries(st.sampled_from(PLUGIN_IDS), _fingerprints, max_size=2),
)

_registers = st.builds(RegisterVolumes, _namespaces, st.lists(_volumes, min_size=1, max_size=3).map(tuple))
_capabilities = st.lists(
    st.builds(
        Capability,
        st.sampled_from(
            (
                "single-node-reader-only",
                "single-node-writer",
                "multi-node-multi-writer",
                "single-node-multi-writer",
                "single-node-reader",
            )
        ),
        st.sampled_from(("file-system", "file-system", "block-device")),
    ),
    max_size=3,
).map(tuple)
_requests = st.sampled_from(
    (None, None, None, TopologyRequest(required=(Topology({"zone": "a"}),)), TopologyRequest((Topology(),)))
)
_merged = st.builds(
    lambda row, namespace, capabilities, request, context, options, bytes: replace(
        row,
        namespace=namespace,
        requested_capabilities=capabilities,
        requested_topologies=request,
        context=context,
        mount_options=options,
        requested_capacity_min=bytes,
    ),
    _volumes,
    _namespaces,
    _capabilities,
    _requests,
    st.sampled_from(({}, {}, {"share": "a"})),
    st.sampled_from((None, None, MountOptions("ext4"), MountOptions("", ("[REDACTED]",)))),
    st.sampled_from((0, 0, 5)),
)
_merges = st.builds(MergeVolumes, st.lists(_merged, min_size=1, max_size=3).map(tuple))
_node_ids = st.sampled_from(("n1", *NODE_IDS))
_rarely_an_index = st.one_of(st.just(0), st.just(0), st.integers(1, 9))
_commands: st.SearchStrategy[Command] = st.one_of(
    _registers,
    _registers,
    _merges,
    _merges,
    st.builds(DeregisterVolume, _namespaces, _volume_ids, st.booleans()),
    st.builds(PutNode, _nodes),
    st.builds(SetNodeStatus, _node_ids, _mostly(("down", "ready"), ("x",)), _rarely_an_index),
    st.builds(DeleteNode, _node_ids, _rarely_an_index),
)

_allocation_ids = _mostly(ALLOCATION_IDS, ("none",))
# Where an allocation is, and whose: always the same, mostly, as in life.
_places = {"a1": ("n1", "web"), "a10": ("n1", "db"), "a2": ("n2", "web")}
_allocations = st.builds(
    lambda id, moved, status, name, namespace: allocation(
        id,
        node_id="n10" if moved else _places[id][0],
        job_id=_places[id][1],
        client_status=status,
        namespace=namespace,
        stub={"Name": name},
    ),
    st.sampled_from(ALLOCATION_IDS),
    st.sampled_from((False,) * 9 + (True,)),
    _mostly(("running", "running", "pending", "complete", "lost"), ("nonsense",)),
    st.sampled_from(("", "name")),
    st.sampled_from(("default",) * 5 + ("other",)),
)
_maybe_node_ids = st.sampled_from(("", "", *NODE_IDS))
_claim_keys = st.builds(ClaimKey, _namespaces, _volume_ids, _allocation_ids, _node_ids)
_claims: st.SearchStrategy[Command] = st.one_of(
    st.builds(PutAllocations, st.lists(_allocations, min_size=1, max_size=2).map(tuple)),
    st.builds(ClaimVolume, _namespaces, _volume_ids, _allocation_ids, st.sampled_from((0, 1, 1, 1))),
    st.builds(ClaimVolume, _namespaces, _volume_ids, _allocation_ids, st.just(2), st.sampled_from((0, 1, 2, 3, 3))),
    st.builds(
        ClaimVolume,
        _namespaces,
        st.sampled_from((*VOLUME_IDS, "")),
        st.sampled_from((*ALLOCATION_IDS, "")),
        st.integers(-1, 3),
        st.integers(-1, 4),
        st.sampled_from(("", *NODE_IDS)),
    ),
    st.builds(ReportAllocations, st.lists(_allocations, min_size=1, max_size=2).map(tuple)),
    st.builds(TakeClaim, _namespaces, _volume_ids, _allocation_ids, st.sampled_from((0, 1, 1, 2)), _maybe_node_ids),
    st.builds(
        TakeClaim,
        _namespaces,
        _volume_ids,
        _allocation_ids,
        st.sampled_from((0, 1)),
        st.just(""),
        st.sampled_from(("", "single-node-writer", "multi-node-multi-writer", "nonsense")),
        st.sampled_from(("", "", "file-system", "block-device")),
    ),
    st.builds(ReleaseClaim, _namespaces, _volume_ids, _allocation_ids, st.integers(-1, 4), _maybe_node_ids),
    st.builds(DetachVolume, _namespaces, _volume_ids, _node_ids),
    st.builds(DeleteAllocation, _allocation_ids),
    st.builds(SweepClaims, st.lists(_claim_keys, max_size=3).map(tuple)),
    st.builds(FreeClaims, st.lists(_claim_keys, max_size=3).map(tuple)),
)

_time: st.SearchStrategy[Command] = st.one_of(
    st.builds(AdvanceTime, st.sampled_from((0, 1, SECOND)), st.integers(-1, 100).map(lambda seconds: seconds * SECOND)),
    st.builds(SweepNode, _node_ids, _rarely_an_index, st.sampled_from((0, SECOND)), st.booleans()),
)
_keys = st.one_of(
    st.none(),
    st.none(),
    st.builds(Idempotency, st.just("me"), st.sampled_from(("k1", "k2")), st.sampled_from((b"1", b"2"))),
)

_steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Stamped, st.integers(0, 1500).map(lambda seconds: seconds * SECOND), _commands, _keys),
    st.builds(Stamped, st.just(0), _commands, st.none()),
    st.builds(Stamped, st.just(0), _claims, st.none()),
    st.builds(Stamped, st.integers(0, 1500), _time, st.none()),
)

_start: tuple[Step, ...] = (
    Stamped(1, PutNode(node("n1", controller_plugins={"pq": controller()}))),
    Stamped(1, PutNode(node("n2"))),
    Stamped(1, RegisterVolumes("default", (volume("a", external_id="ext"), volume("ab", external_id="ext")))),
    Stamped(1, RegisterVolumes("other", (volume("a", external_id="ext", plugin_id="pq"),))),
)
_claimed: tuple[Step, ...] = (
    *_start,
    Stamped(1, PutAllocations((allocation("a1"), allocation("a2", node_id="n2")))),
    Stamped(1, ClaimVolume("default", "a", "a1", 1)),
    Stamped(1, ClaimVolume("default", "ab", "a2", 0)),
)

sequences: st.SearchStrategy[list[Step]] = st.builds(
    lambda start, steps: [*start, *steps],
    st.sampled_from((_claimed, _start, _claimed, ())),
    st.one_of(st.lists(_steps, max_size=8), st.lists(_steps, min_size=15, max_size=40)),
)
