"""The tables of attachments, operations and hosts, with what is looked up in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from volstore.core.attach.rows import ASSIGNED, Attachment, AttachmentKey, ControllerCall, Host
from volstore.core.events import Event, HostChanged
from volstore.core.tables import Table

LONGEST_UNEXPECTED = 1000
"""Unexpected mounts that are kept of one node."""


class Attachments:
    """Empty, and no part of the state's bytes, until a node said that its agent manages its volumes.

    `note` takes events. Methods that change anything take the present index.
    """

    __slots__ = ("_assigned", "_by_node", "_by_plugin", "_by_volume", "_note", "calls", "hosts", "rows")

    def __init__(self, note: Callable[[Event], None]) -> None:
        self.hosts: Table[str, Host] = Table("hosts", Host, lambda row: row.id)
        self.rows: Table[AttachmentKey, Attachment] = Table("attachments", Attachment, lambda row: row.key)
        self.calls: Table[str, ControllerCall] = Table("operations", ControllerCall, lambda row: row.id)
        self._note = note
        self._by_node: dict[str, dict[AttachmentKey, None]] = {}
        self._by_volume: dict[tuple[str, str], dict[AttachmentKey, None]] = {}
        self._by_plugin: dict[str, dict[str, None]] = {}
        self._assigned: dict[str, dict[str, None]] = {}

    @property
    def used(self) -> bool:
        return bool(self.hosts.rows)

    # What is there.

    def host(self, node_id: str) -> Host | None:
        return self.hosts.get(node_id)

    def on_node(self, node_id: str) -> list[Attachment]:
        return [self.rows.rows[key] for key in self._by_node.get(node_id, ())]

    def of_volume(self, plugin_id: str, external_id: str) -> list[Attachment]:
        """On all nodes."""
        return [self.rows.rows[key] for key in self._by_volume.get((plugin_id, external_id), ())]

    def count_on(self, node_id: str, plugin_id: str) -> int:
        return sum(key[0] == plugin_id for key in self._by_node.get(node_id, ()))

    def get(self, key: AttachmentKey) -> Attachment | None:
        return self.rows.get(key)

    def call(self, id: str) -> ControllerCall | None:
        return self.calls.get(id)

    def assigned_to(self, node_id: str) -> list[ControllerCall]:
        return [self.calls.rows[id] for id in self._assigned.get(node_id, ())]

    def calls_of(self, plugin_id: str) -> Iterator[ControllerCall]:
        """Oldest first."""
        return (self.calls.rows[id] for id in self._by_plugin.get(plugin_id, ()))

    def next_due(self) -> int | None:
        """The log time at which something is to be done next: a retry, or a lease that is over."""
        times = [call.lease_until if call.state == ASSIGNED else call.not_before for call in self.calls]
        return min((time for time in times if time), default=None)

    # Changes.

    def put_host(self, host: Host) -> None:
        old = self.hosts.put(host)
        if old is None or old.work_index != host.work_index:
            self._note(HostChanged(host.id))

    def remove_host(self, node_id: str) -> None:
        if node_id in self.hosts.rows:
            self.hosts.remove(node_id)
            self._note(HostChanged(node_id))

    def touch(self, node_id: str, index: int) -> None:
        """The node's work changed."""
        host = self.hosts.get(node_id)
        if host is not None and host.work_index != index:
            self.put_host(replace(host, work_index=index))

    def put(self, row: Attachment, index: int) -> None:
        self.rows.put(row)
        self._index(row)
        self.touch(row.node_id, index)

    def remove(self, key: AttachmentKey, index: int) -> None:
        row = self.rows.remove(key)
        _discard(self._by_node, row.node_id, key)
        _discard(self._by_volume, (row.plugin_id, row.external_id), key)
        self.touch(row.node_id, index)

    def put_call(self, call: ControllerCall, index: int) -> None:
        old = self.calls.put(call)
        for one in {old.executor if old else "", call.executor} - {""}:
            self.touch(one, index)
        if old is not None and old.state == ASSIGNED:
            _discard(self._assigned, old.executor, old.id)
        self._index_call(call)

    def remove_call(self, id: str, index: int) -> None:
        old = self.calls.remove(id)
        _discard(self._by_plugin, old.plugin_id, id)
        if old.state == ASSIGNED:
            _discard(self._assigned, old.executor, id)
            self.touch(old.executor, index)

    def _index(self, row: Attachment) -> None:
        self._by_node.setdefault(row.node_id, {})[row.key] = None
        self._by_volume.setdefault((row.plugin_id, row.external_id), {})[row.key] = None

    def _index_call(self, call: ControllerCall) -> None:
        self._by_plugin.setdefault(call.plugin_id, {})[call.id] = None
        if call.state == ASSIGNED:
            self._assigned.setdefault(call.executor, {})[call.id] = None

    # The whole of it.

    def tables(self) -> Iterator[Table[str, Host] | Table[AttachmentKey, Attachment] | Table[str, ControllerCall]]:
        """The tables, once they are part of the state."""
        if self.used:
            yield from (self.hosts, self.rows, self.calls)

    def loaders(self) -> dict[str, Callable[[bytes], object]]:
        return {
            self.hosts.name: self.hosts.load,
            self.rows.name: lambda encoded: self._index(self.rows.load(encoded)),
            self.calls.name: lambda encoded: self._index_call(self.calls.load(encoded)),
        }


def _discard(index: dict, key: object, member: object) -> None:  # type: ignore[type-arg]  # of any keys
    members = index.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del index[key]
