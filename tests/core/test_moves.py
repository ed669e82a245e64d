"""Blocking queries: what wakes them, what doesn't, and what is still known after much has left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.machine import Machine, claim, fingerprint, machine_with_plugin, volume
from volstore.core import departures
from volstore.core.commands import DeleteNode, DeregisterVolume, SetNodeStatus
from volstore.core.queries import VolumeQuery
from volstore.core.state import State

ALL = VolumeQuery()
DEFAULT = VolumeQuery("default")
ON_N1 = VolumeQuery("default", node_id="n1")


def prepared() -> Machine:
    """Plugins p (on n1 and n2) and q (on n3); volume v of p, claimed on n1; volume w of q."""
    machine = machine_with_plugin()
    machine.report("n2")
    machine.report("n3", node_plugins={"q": fingerprint()})
    machine.register(volume("v"), volume("w", plugin_id="q"))
    machine.claim("v", claim("a1", "n1"))
    return machine


@pytest.mark.parametrize(
    ("change", "woken", "undisturbed"),
    [
        pytest.param(
            lambda machine: machine.register(volume("new")),
            (ALL, DEFAULT, VolumeQuery(prefix="ne"), VolumeQuery(plugin_id="p"), ("default", "new")),
            (VolumeQuery("other"), ON_N1, VolumeQuery(plugin_id="q"), VolumeQuery(prefix="v"), ("default", "v")),
            id="a volume comes",
        ),
        pytest.param(
            lambda machine: machine.do(DeregisterVolume("default", "w")),
            (ALL, DEFAULT, VolumeQuery(prefix="w"), VolumeQuery(plugin_id="q"), ("default", "w")),
            (VolumeQuery("other"), ON_N1, VolumeQuery(plugin_id="p"), VolumeQuery(prefix="v"), ("default", "v")),
            id="a volume goes",
        ),
        pytest.param(
            lambda machine: machine.claim("v"),
            (ALL, ON_N1, VolumeQuery(node_id="n"), VolumeQuery(plugin_id="p", node_id="n1"), ("default", "v")),
            (VolumeQuery(node_id="n2"), VolumeQuery(plugin_id="q"), ("default", "w")),
            id="a volume leaves a node",
        ),
        pytest.param(
            lambda machine: machine.do(SetNodeStatus("n2", "down")),
            (ALL, DEFAULT, ON_N1, VolumeQuery(plugin_id="p"), ("default", "v")),
            (VolumeQuery("other"), VolumeQuery(plugin_id="q"), VolumeQuery(prefix="w"), ("default", "w")),
            id="a plugin's health changes",
        ),
        pytest.param(
            lambda machine: machine.do(DeleteNode("n3")),
            (ALL, VolumeQuery(plugin_id="q"), ("default", "w")),
            (ON_N1, VolumeQuery(plugin_id="p"), ("default", "v")),
            id="a plugin goes",
        ),
        pytest.param(
            lambda machine: machine.report("n2"),
            (),
            (ALL, DEFAULT, ON_N1, ("default", "v"), ("default", "none")),
            id="a node repeats its report",
        ),
        pytest.param(
            lambda machine: machine.register(volume("v", external_id="other")),
            (),
            (ALL, DEFAULT, ON_N1, ("default", "v"), ("default", "none")),
            id="a refusal",
        ),
    ],
)
@pytest.mark.parametrize("restored", [False, True], ids=["", "restored"])
def test_a_change_moves_the_volumes_and_lists_that_show_it_and_no_others(
    change: Callable[[Machine], object],
    woken: tuple[VolumeQuery | tuple[str, str], ...],
    undisturbed: tuple[VolumeQuery | tuple[str, str], ...],
    restored: bool,
) -> None:
    machine = prepared()
    index = machine.state.index
    change(machine)
    state = (machine.restored() if restored else machine).state
    assert [query for query in woken if not moved(state, query, index)] == []
    assert [query for query in undisturbed if moved(state, query, index)] == []
    assert [query for query in (*woken, *undisturbed) if moved(state, query, state.index)] == []


def moved(state: State, query: VolumeQuery | tuple[str, str], index: int) -> bool:
    if isinstance(query, VolumeQuery):
        return state.volumes_moved_since(query, index)
    return state.volume_moved_since(*query, index)


def test_a_plugin_of_one_namespace_leaves_lists_of_others_alone() -> None:
    machine = prepared()
    index = machine.state.index
    machine.do(SetNodeStatus("n3", "down"))
    assert machine.state.volumes_moved_since(DEFAULT, index)
    assert not machine.state.volumes_moved_since(VolumeQuery("other"), index)


def test_plugins_and_nodes_move_with_their_own_answers() -> None:
    machine = prepared()
    index = machine.state.index
    machine.report("n2", node_plugins={"p": fingerprint(health_description="fine")})
    state = machine.state
    assert state.plugin_moved_since("p", index)
    assert state.plugins_moved_since(index)
    assert state.node_moved_since("n2", index)
    assert state.nodes_moved_since("", index)
    assert not state.plugin_moved_since("q", index)
    assert not state.node_moved_since("n1", index)
    assert not state.nodes_moved_since("n3", index)
    assert not state.volumes_moved_since(ALL, index)


def test_a_plugin_or_node_that_goes_wakes_those_who_wait_for_it() -> None:
    machine = prepared()
    index = machine.state.index
    machine.do(DeleteNode("n3"))
    for state in (machine.state, machine.restored().state):
        assert state.plugin_moved_since("q", index)
        assert state.plugins_moved_since(index)
        assert state.node_moved_since("n3", index)
        assert state.nodes_moved_since("n3", index)
        assert not state.plugin_moved_since("none", index)
        assert not state.node_moved_since("none", index)
        assert not state.nodes_moved_since("n1", index)


def test_an_index_of_the_future_has_not_come() -> None:
    state = prepared().state
    assert not any(
        (
            state.volumes_moved_since(ALL, 10**9),
            state.volume_moved_since("default", "v", 10**9),
            state.volume_moved_since("default", "none", 10**9),
            state.plugins_moved_since(10**9),
            state.nodes_moved_since("", 10**9),
            state.namespaces_moved_since(10**9),
        )
    )


def test_below_the_departures_that_are_remembered_everything_may_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "KEPT", 2)
    machine = prepared()
    for _ in range(3):
        machine.register(volume("x"))
        machine.do(DeregisterVolume("default", "x"))
    last = machine.state.index
    for state in (machine.state, machine.restored().state):
        assert len(state.departures.table) == 2
        floor = state.departures.floor
        assert floor == last - 4
        assert state.volume_moved_since("default", "none", floor - 1)
        assert not state.volume_moved_since("default", "none", floor)
        assert state.volumes_moved_since(VolumeQuery("other"), floor - 1)
        assert not state.volumes_moved_since(VolumeQuery("other"), floor)
        assert not state.volume_moved_since("default", "v", floor - 1)  # it is there: its own row knows


def test_as_many_departures_are_remembered_as_promised() -> None:
    machine = machine_with_plugin()
    machine.register(*(volume(f"v{number:05d}") for number in range(departures.KEPT + 1)))
    start = machine.state.index
    for number in range(departures.KEPT):
        machine.do(DeregisterVolume("default", f"v{number:05d}"))
    assert machine.state.departures.floor == 0
    assert machine.state.volume_moved_since("default", "v00000", start)
    assert not machine.state.volume_moved_since("default", "none", 1)
    machine.do(DeregisterVolume("default", f"v{departures.KEPT:05d}"))
    assert machine.state.departures.floor == start + 1
    assert not machine.state.volume_moved_since("default", "none", start + 1)
