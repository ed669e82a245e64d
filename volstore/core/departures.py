"""What left lately, so that a blocking query whose answer only lost something wakes, also after a restore.

A row that is there carries the index of its last touch; of what isn't there any more this record tells. It is
bounded: below `floor` nothing is known any more, and the answer to "did something leave since?" must be yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from volstore.core.frozen import Frozen
from volstore.core.tables import Table

KEPT = 4096
"""Departures that are remembered; a query that waits from before the oldest of them is answered once more."""

VOLUME = "volume"
PLUGIN = "plugin"
NODE = "node"
ALLOCATION = "allocation"
NAMESPACE = "namespace"


class Departure(Frozen, frozen=True, kw_only=True):
    """Something left at FSM index `index`: a volume, plugin, node or allocation, or a volume
    left some nodes.

    `number` counts departures from 1. `plugin_id` and `node_ids` say which filters the volume passed before.
    """

    number: int
    index: int
    kind: str
    namespace: str = ""
    id: str
    plugin_id: str = ""
    node_ids: tuple[str, ...] = ()


class Departures:
    """The newest `KEPT` departures. `floor` is the index of the newest one that fell out, 0 while none did."""

    __slots__ = ("_latest", "_latest_of", "_newest", "floor", "table")

    def __init__(self) -> None:
        self.table: Table[int, Departure] = Table("departures", Departure, lambda row: row.number)
        self.floor = 0
        self._newest = 0
        self._latest: dict[tuple[str, str, str], int] = {}
        self._latest_of: dict[tuple[str, str], int] = {}

    def record(
        self, index: int, kind: str, id: str, *, namespace: str = "", plugin_id: str = "", node_ids: Iterable[str] = ()
    ) -> None:
        row = Departure(
            number=self._newest + 1,
            index=index,
            kind=kind,
            namespace=namespace,
            id=id,
            plugin_id=plugin_id,
            node_ids=tuple(sorted(node_ids)),
        )
        self.table.put(row)
        self._note(row)
        if len(self.table) > KEPT:
            oldest = self.table.remove(row.number - KEPT)
            self.floor = oldest.index
            key = (oldest.kind, oldest.namespace, oldest.id)
            if self._latest.get(key) == oldest.index:
                del self._latest[key]

    def load(self, encoded: bytes) -> None:
        """Add a row of a snapshot. ValueError unless it comes right after the one before it."""
        row = self.table.load(encoded)
        if len(self.table) > 1 and row.number != self._newest + 1:
            raise ValueError("the departures are not in order")
        self._note(row)

    def last(self, kind: str, id: str, namespace: str = "") -> int:
        """The index at which it last left, or the floor when that isn't known: a bound that is never too low."""
        return max(self._latest.get((kind, namespace, id), 0), self.floor)

    def last_of(self, kind: str, namespace: str | None = "") -> int:
        """As `last`, for anything of that kind in that namespace (None: in any)."""
        if namespace is not None:
            return max(self._latest_of.get((kind, namespace), 0), self.floor)
        return max(self.floor, *(index for (of, _), index in self._latest_of.items() if of == kind), 0)

    def since(self, index: int) -> Iterator[Departure]:
        """The known departures after `index`, newest first."""
        rows = self.table.rows
        for number in range(self._newest, self._newest - len(rows), -1):
            if rows[number].index <= index:
                return
            yield rows[number]

    def _note(self, row: Departure) -> None:
        self._newest = row.number
        self._latest[row.kind, row.namespace, row.id] = row.index
        self._latest_of[row.kind, row.namespace] = row.index
