"""The registry's state: typed tables of frozen values, and what is asked of them.

Everything that is replicated lives here. Rows change only through the put and remove methods, which keep the
indexes, the digest, the departures and the events in step; only `fsm.py` and its appliers call them.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from volstore.core import departures, snapshot
from volstore.core.acl.tables import Access
from volstore.core.allocations import Allocations
from volstore.core.claim_counts import Job
from volstore.core.departures import Departures
from volstore.core.events import (
    AllocationChanged,
    Event,
    NamespacesChanged,
    NodeChanged,
    PluginChanged,
    Restored,
    VolumeChanged,
)
from volstore.core.idempotency import Outcomes
from volstore.core.instances import Instances
from volstore.core.logtime import MAX_STEP, Timers
from volstore.core.model import DEFAULT_NAMESPACE, Allocation, Fingerprint, Namespace, Node, Plugin, Volume
from volstore.core.ordered import Ordered, with_prefix
from volstore.core.queries import Key, VolumeQuery
from volstore.core.staging import Staging
from volstore.core.tables import Table
from volstore.core.volumes import Volumes


class State:
    """A new cluster's state, at FSM index 1 with the default namespace (whose indexes that is).

    `index` is one more than the number of commands applied: it is never 0, on which Nomad's clients spin, and a wait
    from a new cluster's index misses nothing. `log_time` is in nanoseconds (logtime.py); `stamp` is the date of the
    command that is being applied, in nanoseconds since 1970, for what users see, and no part of the state. Methods that
    return iterators read the state while they are consumed: finish with them before the next command is applied (that
    is, without an await between).
    """

    def __init__(self) -> None:
        self.index = 1
        self.log_time = 0
        self.stamp = 0
        self.level = 1
        """The highest level of a command that was applied, also of one that was refused: who reads this needs it."""
        self.timers = Timers()
        self.departures = Departures()
        self.outcomes = Outcomes()
        self.staging = Staging()
        self.restored_at = 0
        """The index at which a backup was put on last; every blocking query from before it is answered."""
        self.successor: State | None = None
        """The state that takes this one's place, once a backup is put on."""
        self._namespaces: Table[str, Namespace] = Table("namespaces", Namespace, lambda row: row.name)
        self._nodes: Table[str, Node] = Table("nodes", Node, lambda row: row.id)
        self._plugins: Table[str, Plugin] = Table("plugins", Plugin, lambda row: row.id)
        self._volumes = Volumes(self._plugins, self.departures)
        self._allocations = Allocations(self.departures)
        self._node_ids: Ordered[str] = Ordered()
        self._nodes_touched = 0
        self._instances = Instances()
        self._events: list[Event] = []
        self.access = Access(self.departures, self.timers, self._note)
        self._namespaces.put(Namespace(name=DEFAULT_NAMESPACE, create_index=1, modify_index=1))

    # What is there.

    def namespace(self, name: str) -> Namespace | None:
        return self._namespaces.get(name)

    def namespaces(self) -> list[Namespace]:
        """By name."""
        return sorted(self._namespaces, key=lambda row: row.name)

    def volume(self, namespace: str, id: str) -> Volume | None:
        return self._volumes.table.get((namespace, id))

    def volumes(self, query: VolumeQuery, after: Key | None = None) -> Iterator[Volume]:
        """The volumes that `query` takes, by namespace and ID (bytewise), strictly after the key `after`.

        Costs what is yielded for unfiltered and prefix lists; other filters start from the narrowest index.
        """
        return self._volumes.matching(query, after)

    def volume_count(self) -> int:
        return len(self._volumes.table)

    def uses_plugin(self, plugin_id: str) -> bool:
        """Whether a volume in any namespace names this plugin."""
        return self._volumes.uses_plugin(plugin_id)

    def plugin(self, id: str) -> Plugin | None:
        """The plugin, while it has an instance."""
        row = self._plugins.get(id)
        return row if row is not None and row.present else None

    def plugin_row(self, id: str) -> Plugin | None:
        """The plugin's row, also one without instances that is kept for its volumes."""
        return self._plugins.get(id)

    def plugins(self) -> list[Plugin]:
        """Those with instances, by ID."""
        return sorted((row for row in self._plugins if row.present), key=lambda row: row.id)

    def controller_instances(self, plugin_id: str) -> list[tuple[str, Fingerprint]]:
        """The controllers by node ID; those on a node that is down show as unhealthy."""
        return self._instances.controllers(plugin_id, self._nodes.rows)

    def node_instances(self, plugin_id: str) -> list[tuple[str, Fingerprint]]:
        """The node plugins by node ID; those on a node that is down show as unhealthy."""
        return self._instances.nodes(plugin_id, self._nodes.rows)

    def plugin_allocations(self, plugin_id: str) -> list[Allocation]:
        """Those of its instances that were reported, by ID."""
        instances = (*self.controller_instances(plugin_id), *self.node_instances(plugin_id))
        found = (self.allocation(id) for id in sorted({fingerprint.alloc_id for _, fingerprint in instances}))
        return [allocation for allocation in found if allocation is not None]

    def plugins_run_by(self, allocation_id: str) -> list[Plugin]:
        """The plugins that show this allocation, by ID."""
        return [self._plugins.rows[id] for id in self._instances.run_by(allocation_id)]

    def node(self, id: str) -> Node | None:
        return self._nodes.get(id)

    def nodes(self, prefix: str = "") -> Iterator[Node]:
        """By ID."""
        rows = self._nodes.rows
        for id in with_prefix(self._node_ids, prefix):
            yield rows[id]

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: len(table) for table in self._tables()}

    def node_count(self) -> int:
        return len(self._nodes)

    def allocation(self, id: str) -> Allocation | None:
        return self._allocations.table.get(id)

    def allocations(self, prefix: str = "", namespace: str | None = None) -> Iterator[Allocation]:
        """By ID; `namespace` None is every one."""
        return self._allocations.matching(prefix, namespace)

    def volumes_claimed_by(self, allocation_id: str) -> list[Volume]:
        """Those that the allocation holds by any claim, by namespace and ID."""
        return self._volumes.claimed_by(allocation_id)

    def volumes_claimed_on(self, node_id: str) -> list[Volume]:
        """Those with any claim from this node, known or not, by namespace and ID."""
        return self._volumes.claimed_on(node_id)

    def claiming_allocation_ids(self) -> list[str]:
        """The allocations that claim anything, known or not, in order."""
        return self._volumes.claiming()

    def sharing_disk(self, volume: Volume) -> list[Volume]:
        """Other volumes of this row's plugin with its external ID, by namespace and ID."""
        return self._volumes.sharing_disk(volume)

    def claimed_nodes(self, volume: Volume) -> Mapping[str, int]:
        """How many claims of any kind the volume has from each node. Costs nothing for one with many claims."""
        return self._volumes.counts(volume).nodes

    def writing_jobs(self, volume: Volume) -> Mapping[Job, int]:
        """How many writers the volume has of each job."""
        return self._volumes.counts(volume).writers

    def claimed_node_ids(self) -> Iterator[str]:
        """The nodes on which anything is claimed, known or not, in order."""
        return self._volumes.claimed_node_ids()

    # Blocking queries: has what the query answers moved after FSM index `index`? (contract.md, "Blocking queries")

    def touched(self, volume: Volume) -> int:
        """The index at which something that shows in the volume's answer changed last: its row or its plugin."""
        return self._volumes.touched(volume)

    def volume_moved_since(self, namespace: str, id: str, index: int) -> bool:
        return self._volumes.moved_since(namespace, id, index)

    def volumes_moved_since(self, query: VolumeQuery, index: int) -> bool:
        """A whole list costs what there are plugins; a filtered one at most what it lists and what left since."""
        return self._volumes.list_moved_since(query, index)

    def plugin_moved_since(self, id: str, index: int) -> bool:
        plugin = self.plugin(id)
        if plugin is not None:
            return plugin.modify_index > index
        return self.departures.last(departures.PLUGIN, id) > index

    def plugins_moved_since(self, index: int) -> bool:
        return self.departures.last_of(departures.PLUGIN) > index or any(
            row.modify_index > index for row in self._plugins if row.present
        )

    def node_moved_since(self, id: str, index: int) -> bool:
        node = self._nodes.get(id)
        if node is not None:
            return node.modify_index > index
        return self.departures.last(departures.NODE, id) > index

    def nodes_moved_since(self, prefix: str, index: int) -> bool:
        if self.departures.floor > index:
            return True
        if max(self._nodes_touched, self.departures.last_of(departures.NODE)) <= index:
            return False
        return any(node.modify_index > index for node in self.nodes(prefix)) or any(
            gone.kind == departures.NODE and gone.id.startswith(prefix) for gone in self.departures.since(index)
        )

    def allocation_moved_since(self, id: str, index: int) -> bool:
        return self._allocations.moved_since(id, index)

    def allocations_moved_since(self, prefix: str, namespace: str | None, index: int) -> bool:
        return self._allocations.list_moved_since(prefix, namespace, index)

    def namespaces_moved_since(self, index: int) -> bool:
        return self.departures.last_of(departures.NAMESPACE) > index or any(
            row.modify_index > index for row in self._namespaces
        )

    def namespace_moved_since(self, name: str, index: int) -> bool:
        row = self._namespaces.get(name)
        return (self.departures.last(departures.NAMESPACE, name) if row is None else row.modify_index) > index

    # Changes. `index` is already the one of the command that is being applied.

    def advance(self, time: int) -> None:
        """Begin the next command, stamped with `time` (nanoseconds since 1970)."""
        self.index += 1
        if self.timers.measured:
            self.stamp = time
        else:
            self.stamp = self.log_time = max(self.log_time, time)

    @property
    def counted_from(self) -> int:
        """The log time from which something counts that begins now and must not end too early (logtime.py)."""
        return self.log_time + MAX_STEP if self.timers.measured else self.log_time

    def take_events(self) -> list[Event]:
        """What changed since the last call. Call it after every command or at least now and then: it grows."""
        events, self._events = self._events, []
        return events

    def put_volume(self, volume: Volume, changed: Collection[str] | None = None, *, noted: bool = False) -> None:
        """Add or replace; its `touch_index` must be the present index.

        `changed`: the allocations whose claims alone differ from the row before; None: any may. `noted`: that it left
        nodes was said by `volume_left`.
        """
        old = self._volumes.put(volume, self.index, changed, noted=noted)
        self._events.append(VolumeChanged(old, volume))

    def volume_left(self, volume: Volume, nodes: Iterable[str]) -> None:
        """The volume isn't claimed on these nodes any more."""
        self._volumes.left(volume, nodes, self.index)

    def remove_volume(self, namespace: str, id: str) -> None:
        self._events.append(VolumeChanged(self._volumes.remove(namespace, id, self.index), None))

    def put_plugin(self, plugin: Plugin) -> None:
        old = self._plugins.put(plugin)
        if old is not None and old.present and not plugin.present:
            self.departures.record(self.index, departures.PLUGIN, plugin.id)
        self._events.append(PluginChanged(old, plugin))

    def remove_plugin(self, id: str) -> None:
        """Remove the row; no event when nobody could see it any more (its plugin had gone before)."""
        old = self._plugins.remove(id)
        if old.present:
            self.departures.record(self.index, departures.PLUGIN, id)
            self._events.append(PluginChanged(old, None))

    def put_node(self, node: Node) -> None:
        """Add or replace; its `modify_index` must be the present index. `plugins.py` moves its plugins' rows."""
        old = self._nodes.put(node)
        if old is None:
            self._node_ids.add(node.id)
        self._instances.replace(old, node)
        self.access.follow_node(old, node)
        self._nodes_touched = node.modify_index
        self._events.append(NodeChanged(old, node))

    def remove_node(self, id: str) -> None:
        old = self._nodes.remove(id)
        self._node_ids.remove(id)
        self._instances.replace(old, None)
        self.access.follow_node(old, None)
        self.timers.node_up(id)
        self.departures.record(self.index, departures.NODE, id)
        self._events.append(NodeChanged(old, None))

    def put_namespace(self, namespace: Namespace) -> None:
        """Add or replace; its `modify_index` must be the present index."""
        self._namespaces.put(namespace)
        self._note(NamespacesChanged())

    def remove_namespace(self, name: str) -> None:
        self._namespaces.remove(name)
        self.departures.record(self.index, departures.NAMESPACE, name)
        self._note(NamespacesChanged())

    def put_allocation(self, allocation: Allocation) -> None:
        """Add or replace; its `modify_index` must be the present index. `claims.py` moves the volumes that show it."""
        self._events.append(AllocationChanged(self._allocations.put(allocation, self.index), allocation))

    def remove_allocation(self, id: str) -> None:
        self._events.append(AllocationChanged(self._allocations.remove(id, self.index), None))

    def _note(self, event: Event) -> None:
        self._events.append(event)

    # The whole of it.

    def _tables(self) -> tuple[Table[Any, Any], ...]:
        """All tables, in the order of snapshots."""
        return (
            self._namespaces,
            self._nodes,
            self._plugins,
            self._volumes.table,
            self._allocations.table,
            self.departures.table,
            self.outcomes.table,
            self.staging.table,
            *self.timers.tables(),
            *self.access.tables(),
        )

    def digest(self) -> bytes:
        """16 bytes that differ when states differ; O(1)."""
        digest = blake2b(digest_size=16, person=b"volstore state")
        for number in (self.index, self.log_time, self.departures.floor, self.restored_at):
            digest.update(number.to_bytes(16, "big", signed=True))
        for table in self._tables():
            digest.update(table.sum.to_bytes(16, "big"))
        if self.level > 1:  # levels.py: what came later shows only once it is used
            digest.update(bytes([self.level]))
        return digest.digest()

    def capture(self) -> snapshot.Captured:
        """This moment, in time for copying one reference a row."""
        tables = self._tables()
        return snapshot.Captured(
            snapshot.Header(
                self.index,
                self.log_time,
                self.departures.floor,
                tuple((table.name, len(table)) for table in tables),
                self.restored_at,
            ),
            tuple(tuple(table.frames.values()) for table in tables),
            self.digest(),
            self.level,
        )

    @classmethod
    def restored(cls, chunks: Iterable[bytes]) -> State:
        """The state that `Captured.chunks` gave. ValueError on anything else."""
        loading = cls.loading(snapshot.Reader(chunks))
        while True:
            try:
                next(loading)
            except StopIteration as end:
                state: State = end.value
                return state

    @classmethod
    def loading(cls, reader: snapshot.Reader) -> Loading:
        """The same a row at a time, each before a yield, for who has better to do meanwhile."""
        header = reader.header
        state = cls()
        state.index, state.log_time = header.index, header.log_time
        state.departures.floor = header.departures_floor
        state.restored_at = header.restored_at
        state.level = reader.level
        state._namespaces.remove(DEFAULT_NAMESPACE)
        names = [name for name, _ in header.tables]
        timers = state.timers.table.name
        loaders = {
            "namespaces": state._namespaces.load,
            "nodes": state._load_node,
            "plugins": state._plugins.load,
            "volumes": state._volumes.load,
            "allocations": state._allocations.load,
            "departures": state.departures.load,
            "outcomes": state.outcomes.load,
            "staged": state.staging.load,
            **({timers: state.timers.load} if timers in names else {}),
            **state.access.loaders(),
        }
        if names != list(loaders):
            raise ValueError(
                f"the snapshot holds the tables {', '.join(names)}; this version of volstore knows {', '.join(loaders)}"
            )
        for name, count in header.tables:
            load = loaders[name]
            for encoded in reader.rows(count):
                load(encoded)
                yield
        if reader.finish() != state.digest():
            raise ValueError("the snapshot is damaged: its content isn't what its digest says")
        return state

    def put_on(self, backup: State) -> None:
        """Let `backup` take this state's place, at an index above both of theirs, and have everybody woken."""
        backup.index = self.index = max(self.index, backup.index + 1)
        backup.log_time = max(self.log_time, backup.log_time)
        if self.timers.measured and not backup.timers.measured:
            backup.timers.begin(backup.log_time, self.stamp)
        backup.restored_at = backup.index
        backup.level = max(self.level, backup.level)
        backup.staging.clear()
        backup._events.append(Restored())
        self.successor = backup

    def _load_node(self, encoded: bytes) -> None:
        node = self._nodes.load(encoded)
        self._node_ids.add(node.id)
        self._instances.replace(None, node)
        self.access.follow_node(None, node)
        self._nodes_touched = max(self._nodes_touched, node.modify_index)


Loading = Generator[None, None, State]
"""A state that is being loaded; what it returns is whole."""
