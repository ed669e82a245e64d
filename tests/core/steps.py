"""Steps that move a state machine, drawn by hypothesis from a small world in which they often meet."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.machine import SECOND, claim, controller, fingerprint, node, volume
from volstore.commands import (
    Command,
    DeleteNode,
    DeregisterVolume,
    Idempotency,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
    Stamped,
    encode,
)
from volstore.fsm import Fsm
from volstore.model import Allocation, Namespace

VOLUME_IDS = ("a", "ab", "b\u00e9")
PLUGIN_IDS = ("p", "pq", "q")
NODE_IDS = ("n1", "n10", "n2")
NAMESPACES = ("default", "other")


@dataclass(frozen=True)
class Claims:
    """Make these the claims of a volume, if it is there: (node, mode) by allocation.

    Past the rules, since commands for claims come with a later issue; the tables must be ready for them.
    """

    namespace: str
    id: str
    nodes: tuple[tuple[str, int], ...]


Step = Stamped | Claims


def perform(fsm: Fsm, step: Step) -> bytes:
    """Take the step; the outcome's bytes. Each moves the index by one."""
    if isinstance(step, Stamped):
        return fsm.apply(encode(step))
    state = fsm.state
    state.advance(0)
    found = state.volume(step.namespace, step.id)
    if found is not None:
        modes = [
            {f"alloc{at}": claim(f"alloc{at}", at, mode) for at, claimed in step.nodes if claimed == mode}
            for mode in range(3)
        ]
        state.put_volume(
            replace(
                found,
                read_claims=modes[0],
                write_claims=modes[1],
                past_claims=modes[2],
                modify_index=state.index,
                touch_index=state.index,
            )
        )
    return b""


def new_fsm() -> Fsm:
    """A state machine with a second namespace and one live allocation, which no command can make yet."""
    fsm = Fsm()
    fsm.state.put_namespace(Namespace(name="other", create_index=1, modify_index=1))
    fsm.state.put_allocation(Allocation(id="allocn2", client_status="running"))
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
    _mostly(("single-node-writer",), ("", "nonsense")),
)

_fingerprints = st.builds(
    lambda healthy, version, text: fingerprint(healthy=healthy, provider_version=version, health_description=text),
    st.booleans(),
    st.sampled_from(("1", "2")),
    st.sampled_from(("", "well")),
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
_node_ids = st.sampled_from(("n1", *NODE_IDS))
_rarely_an_index = st.one_of(st.just(0), st.just(0), st.integers(1, 9))
_commands: st.SearchStrategy[Command] = st.one_of(
    _registers,
    _registers,
    st.builds(DeregisterVolume, _namespaces, _volume_ids, st.booleans()),
    st.builds(PutNode, _nodes),
    st.builds(SetNodeStatus, _node_ids, _mostly(("down", "ready"), ("x",)), _rarely_an_index),
    st.builds(DeleteNode, _node_ids),
)

_keys = st.one_of(
    st.none(),
    st.none(),
    st.builds(Idempotency, st.just("me"), st.sampled_from(("k1", "k2")), st.sampled_from((b"1", b"2"))),
)

_claims = st.builds(
    lambda namespace, id, nodes: Claims(namespace, id, tuple(sorted(nodes.items()))),
    st.sampled_from(("default", *NAMESPACES)),
    _volume_ids,
    st.dictionaries(st.sampled_from(NODE_IDS), st.integers(0, 2), max_size=2),
)

_steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Stamped, st.integers(0, 1500).map(lambda seconds: seconds * SECOND), _commands, _keys),
    st.builds(Stamped, st.just(0), _commands, st.none()),
    _claims,
)

_start: tuple[Step, ...] = (
    Stamped(1, PutNode(node("n1", controller_plugins={"pq": controller()}))),
    Stamped(1, PutNode(node("n2"))),
    Stamped(1, RegisterVolumes("default", (volume("a", external_id="ext"), volume("ab", external_id="ext")))),
    Stamped(1, RegisterVolumes("other", (volume("a", external_id="ext", plugin_id="pq"),))),
)

sequences: st.SearchStrategy[list[Step]] = st.builds(
    lambda start, steps: [*start, *steps],
    st.sampled_from((_start, _start, ())),
    st.one_of(st.lists(_steps, max_size=8), st.lists(_steps, min_size=15, max_size=40)),
)
