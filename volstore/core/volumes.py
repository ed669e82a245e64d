"""The table of volumes with what makes its lists and its blocking queries cheap."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from volstore.core import departures
from volstore.core.claim_counts import MANY, ClaimCounts, size
from volstore.core.departures import Departure, Departures
from volstore.core.model import DatedVolume, Plugin, Volume
from volstore.core.queries import Key, VolumeIndex, VolumeQuery
from volstore.core.tables import Table

_decode_first = msgspec.msgpack.Decoder(Volume).decode
_decode_dated = msgspec.msgpack.Decoder(DatedVolume).decode
_FIRST = msgspec.msgpack.encode([None] * len(msgspec.structs.fields(Volume)))[:3]
"""How the bytes of a row of level 1 begin: with the number of its fields."""


def _decode(encoded: bytes) -> Volume:
    return _decode_first(encoded) if encoded[:3] == _FIRST else _decode_dated(encoded)


class Volumes:
    """Volumes by namespace and ID. What leaves, or leaves a filter's sight, is noted in `departures`.

    A volume's answer shows its plugin too, so it was *touched* when its row or its plugin's was, whichever is later.
    """

    __slots__ = ("_departures", "_index", "_plugins", "_touched", "table")

    def __init__(self, plugins: Table[str, Plugin], left: Departures) -> None:
        self.table: Table[Key, Volume] = Table("volumes", Volume, lambda row: (row.namespace, row.id), _decode)
        self._index = VolumeIndex()
        self._touched: dict[str, int] = {}
        self._plugins = plugins
        self._departures = left

    def put(
        self, volume: Volume, index: int, changed: Collection[str] | None = None, *, noted: bool = False
    ) -> Volume | None:
        """Add or replace, at FSM index `index`; the row that was there before.

        `changed`: the allocations whose claims alone differ from it; None: any may. `noted`: that it left nodes was
        said before.
        """
        key = (volume.namespace, volume.id)  # one for the table and the index
        old = self.table.put(volume, key, later=changed is not None and size(volume) > MANY)
        nodes = self._index.replace(key, old, volume, changed)
        self._touched[volume.namespace] = index
        if old is not None and ((nodes and not noted) or old.plugin_id != volume.plugin_id):
            self.left(old, nodes, index)
        return old

    def remove(self, namespace: str, id: str, index: int) -> Volume:
        key = (namespace, id)
        old = self.table.remove(key)
        self.left(old, self._index.replace(key, old, None), index)
        return old

    def load(self, encoded: bytes) -> None:
        """Add a row of a snapshot."""
        volume = self.table.load(encoded)
        self._index.replace((volume.namespace, volume.id), None, volume)
        self._touched[volume.namespace] = max(self._touched.get(volume.namespace, 0), volume.touch_index)

    def matching(self, query: VolumeQuery, after: Key | None = None) -> Iterator[Volume]:
        found = map(self.table.rows.__getitem__, self._index.candidates(query, after))
        # The index is exact in namespace and prefix: a list of 100,000 needn't look at each volume again.
        return filter(query.matches, found) if query.plugin_id or query.node_id else found

    def uses_plugin(self, plugin_id: str) -> bool:
        return self._index.uses_plugin(plugin_id)

    def claimed_by(self, allocation_id: str) -> list[Volume]:
        return [self.table.rows[key] for key in self._index.claimed_by(allocation_id)]

    def claimed_on(self, node_id: str) -> list[Volume]:
        return [self.table.rows[key] for key in self._index.claimed_on(node_id)]

    def claiming(self) -> list[str]:
        return self._index.claiming()

    def sharing_disk(self, volume: Volume) -> list[Volume]:
        """Other volumes of the same plugin with the same external ID, by namespace and ID."""
        found = (self.table.rows[key] for key in self._index.on_disk(volume.external_id))
        return [row for row in found if row.plugin_id == volume.plugin_id and row is not volume]

    def claimed_node_ids(self) -> Iterator[str]:
        return self._index.nodes()

    def touched(self, volume: Volume) -> int:
        plugin = self._plugins.get(volume.plugin_id)
        return volume.touch_index if plugin is None else max(volume.touch_index, plugin.touch_index)

    def moved_since(self, namespace: str, id: str, index: int) -> bool:
        volume = self.table.get((namespace, id))
        if volume is not None:
            return self.touched(volume) > index
        return self._departures.last(departures.VOLUME, id, namespace) > index

    def list_moved_since(self, query: VolumeQuery, index: int) -> bool:
        if self._departures.floor > index:
            return True
        if not self._whole_list_moved(query.namespace, index):
            return False
        if query.whole:
            return True
        return any(_concerns(departure, query) for departure in self._departures.since(index)) or any(
            self.touched(volume) > index for volume in self.matching(query)
        )

    def _whole_list_moved(self, namespace: str | None, index: int) -> bool:
        if namespace is None:
            moved = any(touched > index for touched in self._touched.values())
        else:
            moved = self._touched.get(namespace, 0) > index
        return (
            moved
            or self._departures.last_of(departures.VOLUME, namespace) > index
            or any(row.touch_index > index and self._index.uses_plugin(row.id, namespace) for row in self._plugins)
        )

    def counts(self, volume: Volume) -> ClaimCounts:
        return self._index.counts(volume)

    def left(self, old: Volume, nodes: Iterable[str], index: int) -> None:
        """Note that the volume left a filter's sight: it is claimed on `nodes` no more, or has another plugin."""
        self._departures.record(
            index, departures.VOLUME, old.id, namespace=old.namespace, plugin_id=old.plugin_id, node_ids=nodes
        )


def _concerns(departure: Departure, query: VolumeQuery) -> bool:
    """Whether a volume that `query` may have listed left."""
    return (
        departure.kind == departures.VOLUME
        and query.fits(departure.namespace, departure.id, departure.plugin_id)
        and (not query.node_id or any(node.startswith(query.node_id) for node in departure.node_ids))
    )
