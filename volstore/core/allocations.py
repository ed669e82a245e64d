"""The table of allocations with what makes its lists and its blocking queries cheap."""

from __future__ import annotations

from collections.abc import Iterator

from volstore.core import departures
from volstore.core.departures import Departure, Departures
from volstore.core.model import Allocation
from volstore.core.ordered import Ordered, with_prefix
from volstore.core.tables import Table


class Allocations:
    """Allocations by ID. What leaves, or leaves a namespace's list, is noted in `departures`."""

    __slots__ = ("_departures", "_ids", "_touched", "table")

    def __init__(self, left: Departures) -> None:
        self.table: Table[str, Allocation] = Table("allocations", Allocation, lambda row: row.id)
        self._ids: Ordered[str] = Ordered()
        self._touched = 0
        self._departures = left

    def put(self, allocation: Allocation, index: int) -> Allocation | None:
        """Add or replace, at FSM index `index`; the row that was there before."""
        old = self.table.put(allocation)
        if old is None:
            self._ids.add(allocation.id)
        elif old.namespace != allocation.namespace:
            self._left(old, index)
        self._touched = index
        return old

    def remove(self, id: str, index: int) -> Allocation:
        old = self.table.remove(id)
        self._ids.remove(id)
        self._left(old, index)
        return old

    def load(self, encoded: bytes) -> None:
        """Add a row of a snapshot."""
        allocation = self.table.load(encoded)
        self._ids.add(allocation.id)
        self._touched = max(self._touched, allocation.modify_index)

    def matching(self, prefix: str, namespace: str | None) -> Iterator[Allocation]:
        rows = self.table.rows
        for id in with_prefix(self._ids, prefix):
            if namespace is None or rows[id].namespace == namespace:
                yield rows[id]

    def moved_since(self, id: str, index: int) -> bool:
        allocation = self.table.get(id)
        if allocation is not None:
            return allocation.modify_index > index
        return self._departures.floor > index or any(gone.id == id for gone in self._gone_since(index))

    def list_moved_since(self, prefix: str, namespace: str | None, index: int) -> bool:
        if self._departures.floor > index:
            return True
        if max(self._touched, self._departures.last_of(departures.ALLOCATION, None)) <= index:
            return False
        return any(row.modify_index > index for row in self.matching(prefix, namespace)) or any(
            gone.id.startswith(prefix) and namespace in (None, gone.namespace) for gone in self._gone_since(index)
        )

    def _gone_since(self, index: int) -> Iterator[Departure]:
        return (gone for gone in self._departures.since(index) if gone.kind == departures.ALLOCATION)

    def _left(self, old: Allocation, index: int) -> None:
        self._departures.record(index, departures.ALLOCATION, old.id, namespace=old.namespace)
