"""Waiters of blocking queries, grouped by topic and woken by the events of applied commands.

After a wake-up the waiter asks the state whether its query moved. Wake-ups may be spurious but are never lost: they are
exact for one volume, plugin or node, and for lists as exact as the event allows. Waiters wake in FIFO order (dicts keep
order; sets don't across processes).

Nothing here knows HTTP. All methods belong to one event loop, and nothing is awaited between asking the state and
joining a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from volstore.core.acl.tables import Source
from volstore.core.errors import Overloaded
from volstore.core.events import (
    AccessChanged,
    AllocationChanged,
    Event,
    HostChanged,
    NamespacesChanged,
    NodeChanged,
    PluginChanged,
    Restored,
    VolumeChanged,
)
from volstore.core.ordered import Ordered, with_prefix
from volstore.core.queries import VolumeQuery, claimed_nodes
from volstore.http.server.deadlines import Deadlines, wake

Key = TypeVar("Key")
Member = TypeVar("Member")

MAX_WAITERS = 50_000


@dataclass(frozen=True, slots=True)
class VolumeTopic:
    """One volume, present or not."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True)
class PluginTopic:
    """One plugin and its instances; the empty ID stands for the list of all."""

    id: str


@dataclass(frozen=True, slots=True)
class NodeTopic:
    """One node, present or not."""

    id: str


@dataclass(frozen=True, slots=True)
class NodesTopic:
    """The nodes whose ID begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class AllocationTopic:
    """One allocation, present or not."""

    id: str


@dataclass(frozen=True, slots=True)
class AllocationsTopic:
    """The allocations of a namespace (None: of all) whose ID begins with `prefix`."""

    prefix: str
    namespace: str | None


@dataclass(frozen=True, slots=True)
class NamespacesTopic:
    """The namespaces, each and all."""


@dataclass(frozen=True, slots=True)
class AccessTopic:
    """The policies or the tokens (`kind`, as access.POLICY and access.TOKEN), each and all."""

    kind: str


@dataclass(frozen=True, slots=True)
class WorkTopic:
    """What one node's agent is to do."""

    node_id: str


Topic = (
    VolumeTopic
    | VolumeQuery
    | PluginTopic
    | NodeTopic
    | NodesTopic
    | AllocationTopic
    | AllocationsTopic
    | NamespacesTopic
    | AccessTopic
    | WorkTopic
)

ALL_PLUGINS = PluginTopic("")


class _Group:
    """The waiters of one topic. `plugin_id` is the plugin whose changes concern a volume's readers too."""

    __slots__ = ("plugin_id", "waiters")

    def __init__(self, plugin_id: str) -> None:
        self.plugin_id = plugin_id
        self.waiters: dict[asyncio.Future[None], None] = {}


class Watch:
    """All waiters of one node. At most `limit` at a time; one more is refused with `Overloaded`."""

    def __init__(self, limit: int = MAX_WAITERS) -> None:
        self._limit = limit
        self._count = 0
        self._closed = False
        self._groups: dict[Topic, _Group] = {}
        self._volumes_of_plugin: dict[str, dict[VolumeTopic, None]] = {}
        self._lists: dict[str | None, dict[VolumeQuery, None]] = {}
        self._node_lists: dict[NodesTopic, None] = {}
        self._allocation_lists: dict[AllocationsTopic, None] = {}
        self._readers: dict[Source, dict[asyncio.Future[None], None]] = {}
        self._deadlines = Deadlines()

    def __len__(self) -> int:
        """How many wait now."""
        return self._count

    @property
    def closed(self) -> bool:
        """True once nobody shall wait any more: the node stops."""
        return self._closed

    async def wait(self, topic: Topic, until: float, plugin_id: str = "", sources: tuple[Source, ...] = ()) -> None:
        """Return at the next change that may concern `topic`, or soon after `until` (seconds of the loop's clock).

        `plugin_id` is, for a volume that exists, its plugin: what the plugin reports shows in the volume's answer.
        `sources` is what the reader's rights follow from: a change of one may show, or hide, what it asks for.
        The caller is registered before this first yields, so that nothing falls between its look at the state and
        here. A cancelled waiter (its client hung up) leaves at once. Raises `Overloaded` at the limit.
        """
        if self._closed:
            return
        if self._count >= self._limit:
            raise Overloaded(f"too many blocking queries: this node serves at most {self._limit} at a time")
        waiter = asyncio.get_running_loop().create_future()
        self._join(topic, plugin_id, waiter)
        for source in sources:
            self._readers.setdefault(source, {})[waiter] = None
        self._deadlines.add(until, waiter)
        self._count += 1
        try:
            await waiter
        finally:
            self._count -= 1
            self._leave(topic, waiter)
            for source in sources:
                _discard(self._readers, source, waiter)
            self._deadlines.discard(until, waiter)

    def notify(self, events: Iterable[Event]) -> None:
        """Wake the groups that these changes may concern."""
        if not self._groups and not self._readers:
            return
        for event in events:
            if isinstance(event, Restored):
                self.wake_all()
                continue
            for topic in list(self._concerned(event)):
                self._wake(topic)
            if isinstance(event, AccessChanged):
                wake(self._readers.get((event.kind, event.id), ()))

    def wake_all(self) -> None:
        """Wake everybody: the state was replaced by a snapshot, and who is concerned can't be told."""
        for topic in list(self._groups):
            self._wake(topic)

    def close(self) -> None:
        """Wake everybody and let nobody wait again."""
        self._closed = True
        self.wake_all()
        self._deadlines.close()

    def _concerned(self, event: Event) -> Iterator[Topic]:
        match event:
            case VolumeChanged():
                volume = event.new or event.old
                if volume is None:
                    return
                yield VolumeTopic(volume.namespace, volume.id)
                volumes = [row for row in (event.old, event.new) if row is not None]
                nodes: Ordered[str] | None = None
                for query in self._lists_over(volume.namespace):
                    if not any(query.fits(row.namespace, row.id, row.plugin_id) for row in volumes):
                        continue
                    if query.node_id:
                        if nodes is None:  # once for all queries: each node may wait for its own volumes
                            nodes = Ordered(sorted(frozenset[str]().union(*map(claimed_nodes, volumes))))
                        if next(with_prefix(nodes, query.node_id), None) is None:
                            continue
                    yield query
            case PluginChanged():
                plugin = event.new or event.old
                if plugin is None:
                    return
                yield PluginTopic(plugin.id)
                yield ALL_PLUGINS
                if event.old and event.new and event.old.touch_index == event.new.touch_index:
                    return  # nothing that shows in its volumes
                yield from self._volumes_of_plugin.get(plugin.id, ())
                for queries in self._lists.values():
                    yield from (query for query in queries if plugin.id.startswith(query.plugin_id))
            case NodeChanged():
                node = event.new or event.old
                if node is None:
                    return
                yield NodeTopic(node.id)
                yield from (topic for topic in self._node_lists if node.id.startswith(topic.prefix))

            case NamespacesChanged():
                yield NamespacesTopic()

            case HostChanged():
                yield WorkTopic(event.id)

            case AccessChanged():
                yield AccessTopic(event.kind)

            case AllocationChanged():
                rows = [row for row in (event.old, event.new) if row is not None]
                yield AllocationTopic(rows[0].id)
                yield from (
                    topic
                    for topic in self._allocation_lists
                    if any(row.id.startswith(topic.prefix) and topic.namespace in (None, row.namespace) for row in rows)
                )

    def _lists_over(self, namespace: str) -> Iterator[VolumeQuery]:
        yield from self._lists.get(namespace, ())
        yield from self._lists.get(None, ())

    def _wake(self, topic: Topic) -> None:
        group = self._groups.get(topic)
        if group is None:
            return
        self._forget(topic, group)
        wake(group.waiters)

    def _join(self, topic: Topic, plugin_id: str, waiter: asyncio.Future[None]) -> None:
        group = self._groups.get(topic)
        if group is not None and group.plugin_id != plugin_id:
            # The volume was made anew with another plugin, and this group's own wake-up is under way already.
            self._wake(topic)
            group = None
        if group is None:
            group = self._groups[topic] = _Group(plugin_id)
            match topic:
                case VolumeTopic() if plugin_id:
                    self._volumes_of_plugin.setdefault(plugin_id, {})[topic] = None
                case VolumeQuery():
                    self._lists.setdefault(topic.namespace, {})[topic] = None
                case NodesTopic():
                    self._node_lists[topic] = None
                case AllocationsTopic():
                    self._allocation_lists[topic] = None
        group.waiters[waiter] = None

    def _leave(self, topic: Topic, waiter: asyncio.Future[None]) -> None:
        group = self._groups.get(topic)
        if group is None or waiter not in group.waiters:
            return  # it was woken with its group, which is gone, or another group of this topic stands there now
        del group.waiters[waiter]
        if not group.waiters:
            self._forget(topic, group)

    def _forget(self, topic: Topic, group: _Group) -> None:
        del self._groups[topic]
        match topic:
            case VolumeTopic() if group.plugin_id:
                _discard(self._volumes_of_plugin, group.plugin_id, topic)
            case VolumeQuery():
                _discard(self._lists, topic.namespace, topic)
            case NodesTopic():
                self._node_lists.pop(topic, None)
            case AllocationsTopic():
                self._allocation_lists.pop(topic, None)


def _discard(groups: dict[Key, dict[Member, None]], key: Key, member: Member) -> None:
    members = groups.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del groups[key]
