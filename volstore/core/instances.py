"""Which nodes run an instance of which plugin, as an index over the nodes' own reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from volstore.core.model import Fingerprint, Node


def effective(node: Node, fingerprint: Fingerprint) -> Fingerprint:
    """The fingerprint as it counts: an instance on a node that is down is unhealthy."""
    if node.status != "down" or not fingerprint.healthy:
        return fingerprint
    return msgspec.structs.replace(fingerprint, healthy=False)


class Instances:
    """Node IDs by plugin ID, for controllers and for node plugins; and which allocations run instances of what.

    An allocation is an instance by a node's word; whether it was reported itself is another matter.
    """

    __slots__ = ("_by_allocation", "_controllers", "_nodes")

    def __init__(self) -> None:
        self._controllers: dict[str, set[str]] = {}
        self._nodes: dict[str, set[str]] = {}
        self._by_allocation: dict[str, Counter[str]] = {}

    def replace(self, old: Node | None, new: Node | None) -> None:
        """Follow a node's report from `old` to `new`; costs what instances the node has."""
        if old is not None:
            for plugin_id in old.controller_plugins:
                _remove(self._controllers, plugin_id, old.id)
            for plugin_id in old.node_plugins:
                _remove(self._nodes, plugin_id, old.id)
            self._count(old, -1)
        if new is not None:
            for plugin_id in new.controller_plugins:
                self._controllers.setdefault(plugin_id, set()).add(new.id)
            for plugin_id in new.node_plugins:
                self._nodes.setdefault(plugin_id, set()).add(new.id)
            self._count(new, 1)

    def run_by(self, allocation_id: str) -> list[str]:
        """The plugins of which this allocation is an instance, by ID."""
        return sorted(self._by_allocation.get(allocation_id, ()))

    def _count(self, node: Node, by: int) -> None:
        for plugins in (node.controller_plugins, node.node_plugins):
            for plugin_id, fingerprint in plugins.items():
                if fingerprint.alloc_id:
                    counts = self._by_allocation.setdefault(fingerprint.alloc_id, Counter())
                    counts[plugin_id] += by
                    if not counts[plugin_id]:
                        del counts[plugin_id]
                    if not counts:
                        del self._by_allocation[fingerprint.alloc_id]

    def controllers(self, plugin_id: str, nodes: Mapping[str, Node]) -> list[tuple[str, Fingerprint]]:
        return [
            (id, effective(nodes[id], nodes[id].controller_plugins[plugin_id]))
            for id in sorted(self._controllers.get(plugin_id, ()))
        ]

    def nodes(self, plugin_id: str, nodes: Mapping[str, Node]) -> list[tuple[str, Fingerprint]]:
        return [
            (id, effective(nodes[id], nodes[id].node_plugins[plugin_id]))
            for id in sorted(self._nodes.get(plugin_id, ()))
        ]


def _remove(by_plugin: dict[str, set[str]], plugin_id: str, node_id: str) -> None:
    ids = by_plugin[plugin_id]
    ids.discard(node_id)
    if not ids:
        del by_plugin[plugin_id]
