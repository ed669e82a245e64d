"""What queries answer, worked out from the bare rows: no index, no departure, nothing kept from before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from msgspec.structs import replace

from tests.core.steps import ALLOCATION_IDS, NODE_IDS, PLUGIN_IDS, VOLUME_IDS
from volstore.core.model import Volume
from volstore.core.queries import VolumeQuery
from volstore.core.state import State

Answer = Callable[[State], object]
Moved = Callable[[State, int], bool]

VOLUME_QUERIES = [
    VolumeQuery(*filters)
    for filters in product((None, "default", "nope"), ("", "a", "ab"), ("", "p", "pq"), ("", "n1", "n2"))
]


def rows(state: State) -> list[Volume]:
    return list(state._volumes.table)


def expected_list(state: State, query: VolumeQuery) -> list[Volume]:
    """The rows that `query` asks for, in order, by going through all of them."""

    def wanted(volume: Volume) -> bool:
        claims = [*volume.read_claims.values(), *volume.write_claims.values(), *volume.past_claims.values()]
        return (
            query.namespace in (None, volume.namespace)
            and volume.id[: len(query.prefix)] == query.prefix
            and volume.plugin_id[: len(query.plugin_id)] == query.plugin_id
            and (not query.node_id or any(claim.node_id.startswith(query.node_id) for claim in claims))
        )

    def bytewise(volume: Volume) -> tuple[bytes, bytes]:
        return volume.namespace.encode(), volume.id.encode()

    return sorted(filter(wanted, rows(state)), key=bytewise)


def shown_volume(state: State, volume: Volume) -> object:
    """All that an answer can show of a volume: its row, its allocations, and what its plugin's row says of it."""
    plugin = state.plugin_row(volume.plugin_id)
    assert plugin is not None, "a volume's plugin always has a row"
    shown = (
        plugin.provider,
        plugin.version,
        plugin.controller_required,
        plugin.controllers_healthy,
        plugin.controllers_expected,
        plugin.nodes_healthy,
        plugin.nodes_expected,
    )
    readers_and_writers = [*sorted(volume.read_claims), *sorted(volume.write_claims)]
    allocations = [state.allocation(id) for id in readers_and_writers]
    return replace(volume, touch_index=0), shown, allocations


def shown_plugin(state: State, id: str) -> object:
    plugin = state.plugin(id)
    if plugin is None:
        return None
    instances = state.controller_instances(id), state.node_instances(id)
    run = {fingerprint.alloc_id for of_kind in instances for _, fingerprint in of_kind}
    allocations = [state.allocation(allocation_id) for allocation_id in sorted(run)]
    return replace(plugin, touch_index=0), instances, allocations


def _volume(key: tuple[str, str]) -> tuple[Answer, Moved]:
    def answer(state: State) -> object:
        volume = state.volume(*key)
        return None if volume is None else shown_volume(state, volume)

    return answer, lambda state, index: state.volume_moved_since(*key, index)


def _volumes(query: VolumeQuery) -> tuple[Answer, Moved]:
    return (
        lambda state: [shown_volume(state, volume) for volume in expected_list(state, query)],
        lambda state, index: state.volumes_moved_since(query, index),
    )


def _plugin(id: str) -> tuple[Answer, Moved]:
    return lambda state: shown_plugin(state, id), lambda state, index: state.plugin_moved_since(id, index)


def _node(id: str) -> tuple[Answer, Moved]:
    return lambda state: state.node(id), lambda state, index: state.node_moved_since(id, index)


def _nodes(prefix: str) -> tuple[Answer, Moved]:
    return (
        lambda state: sorted(
            (node for node in state._nodes if node.id.startswith(prefix)), key=lambda node: node.id.encode()
        ),
        lambda state, index: state.nodes_moved_since(prefix, index),
    )


def _allocation(id: str) -> tuple[Answer, Moved]:
    return lambda state: state.allocation(id), lambda state, index: state.allocation_moved_since(id, index)


def _allocations(prefix: str, namespace: str | None) -> tuple[Answer, Moved]:
    return (
        lambda state: sorted(
            (
                allocation
                for allocation in state._allocations.table
                if allocation.id.startswith(prefix) and namespace in (None, allocation.namespace)
            ),
            key=lambda allocation: allocation.id.encode(),
        ),
        lambda state, index: state.allocations_moved_since(prefix, namespace, index),
    )


QUERIES: dict[str, tuple[Answer, Moved]] = {
    **{f"volume {key}": _volume(key) for key in product(("default", "other"), VOLUME_IDS)},
    **{str(query): _volumes(query) for query in VOLUME_QUERIES},
    **{f"plugin {id}": _plugin(id) for id in PLUGIN_IDS},
    "plugins": (
        lambda state: [shown_plugin(state, plugin.id) for plugin in state.plugins()],
        lambda state, index: state.plugins_moved_since(index),
    ),
    **{f"node {id}": _node(id) for id in NODE_IDS},
    **{f"nodes {prefix}": _nodes(prefix) for prefix in ("", "n1", "x")},
    **{f"allocation {id}": _allocation(id) for id in ALLOCATION_IDS},
    **{
        f"allocations {prefix} in {namespace}": _allocations(prefix, namespace)
        for prefix in ("", "a1", "x")
        for namespace in (None, "default", "other")
    },
    "namespaces": (lambda state: state.namespaces(), lambda state, index: state.namespaces_moved_since(index)),
}
"""Every kind of query by name: its answer, and what the state says about whether it moved."""
