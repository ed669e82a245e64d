"""A plugin is what its instances make it: how one node's report moves the rows of the plugins that it names.

Rows are moved by differences, so a report costs what instances its node has, however many nodes there are
(contract.md, "Plugins and nodes").
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from volstore.core.instances import effective
from volstore.core.model import Fingerprint, Node, Plugin
from volstore.core.state import State


def follow_node(state: State, old: Node | None, new: Node | None) -> None:
    """Move the plugins from a node's report `old` to `new` (None: unknown, removed). The node's row moves elsewhere.

    `modify_index` moves with anything that the plugin's own answer shows, fingerprints included; `touch_index` only
    with what volumes show of it. A report that repeats what is known moves neither.
    """
    concerned = {
        plugin_id
        for node in (old, new)
        if node is not None
        for plugin_id in (*node.controller_plugins, *node.node_plugins)
    }
    for plugin_id in sorted(concerned):
        controllers = _Step(plugin_id, old, new, lambda node: node.controller_plugins)
        nodes = _Step(plugin_id, old, new, lambda node: node.node_plugins)
        if controllers.moves or nodes.moves:
            _move(state, plugin_id, controllers, nodes)


def release_plugin(state: State, plugin_id: str) -> None:
    """Drop the row of a plugin without instances once no volume shows it."""
    row = state.plugin_row(plugin_id)
    if row is not None and not row.present and not state.uses_plugin(plugin_id):
        state.remove_plugin(plugin_id)


class _Step:
    """One instance's way from one report to the next; None where it isn't in the report."""

    __slots__ = ("after", "before", "reported")

    def __init__(
        self,
        plugin_id: str,
        old: Node | None,
        new: Node | None,
        reports: Callable[[Node], dict[str, Fingerprint]],
    ) -> None:
        was = reports(old).get(plugin_id) if old is not None else None
        now = reports(new).get(plugin_id) if new is not None else None
        self.before = effective(old, was) if old is not None and was is not None else None
        self.after = effective(new, now) if new is not None and now is not None else None
        self.reported = now if now != was else None
        """The fingerprint, if it is a new one: a repetition isn't the plugin's latest word."""

    @property
    def moves(self) -> bool:
        return self.before != self.after

    @property
    def expected(self) -> int:
        return (self.after is not None) - (self.before is not None)

    @property
    def healthy(self) -> int:
        return (self.after is not None and self.after.healthy) - (self.before is not None and self.before.healthy)


def _move(state: State, plugin_id: str, controllers: _Step, nodes: _Step) -> None:
    row = state.plugin_row(plugin_id) or Plugin(id=plugin_id)
    moved = replace(
        row,
        controllers_healthy=row.controllers_healthy + controllers.healthy,
        controllers_expected=row.controllers_expected + controllers.expected,
        nodes_healthy=row.nodes_healthy + nodes.healthy,
        nodes_expected=row.nodes_expected + nodes.expected,
        modify_index=state.index,
    )
    if controllers.reported is not None:
        moved = replace(moved, controller_required=_requires_controller(controllers.reported))
    for fingerprint in (controllers.reported, nodes.reported):
        # A plugin that hasn't been asked for its name yet says nothing of it; what is known stays.
        if fingerprint is not None and (fingerprint.provider or fingerprint.provider_version):
            moved = replace(moved, provider=fingerprint.provider, version=fingerprint.provider_version)
    if not moved.present:
        if not state.uses_plugin(plugin_id):
            state.remove_plugin(plugin_id)
            return
        moved = replace(moved, controller_required=False)
    elif not row.present:
        moved = replace(moved, create_index=state.index)
    if replace(moved, modify_index=row.modify_index) != row:
        moved = replace(moved, touch_index=state.index)
    state.put_plugin(moved)


def _requires_controller(fingerprint: Fingerprint) -> bool:
    info = fingerprint.controller_info
    return (
        fingerprint.requires_controller_plugin
        and info is not None
        and (info.supports_attach_detach or info.supports_read_only_attach)
    )
