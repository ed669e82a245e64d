"""Volumes as bytes, each rendered once and kept until its row or its plugin's changes."""

from __future__ import annotations

from volstore.http.render import volume_item, volume_view
from volstore.http.views import encode
from volstore.model import Plugin, Volume
from volstore.queries import Key
from volstore.state import State

ITEM_BYTES = 128 * 1024 * 1024
VIEW_BYTES = 32 * 1024 * 1024


class _Rendered:
    """JSON of volumes by their keys, valid for the very rows that it was made of; at most `limit` bytes of it.

    When it is full nothing more is kept until that was missed often enough to begin anew: a list longer than what
    fits would else throw away, item by item, what its next reading needs first.
    """

    __slots__ = ("_bytes", "_limit", "_missed", "_rows")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._missed = 0
        self._rows: dict[Key, tuple[Volume, Plugin | None, bytes]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: Key, volume: Volume, plugin: Plugin | None) -> bytes | None:
        kept = self._rows.get(key)
        return kept[2] if kept is not None and kept[0] is volume and kept[1] is plugin else None

    def put(self, key: Key, volume: Volume, plugin: Plugin | None, json: bytes) -> bytes:
        self._drop(key)
        if self._bytes + len(json) > self._limit:
            self._missed += 1
            if self._missed <= len(self._rows):
                return json
            self._rows.clear()
            self._bytes = self._missed = 0
        self._rows[key] = volume, plugin, json
        self._bytes += len(json)
        return json

    def prune(self, state: State) -> None:
        """Drop what was made of volumes that aren't there any more."""
        for key in [key for key, kept in self._rows.items() if state.volume(*key) is not kept[0]]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._rows.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept[2])


class VolumeRenderer:
    """Volumes as JSON: items of lists, and whole ones, of which fewer are kept, as nobody reads them all at once."""

    def __init__(self) -> None:
        self._items = _Rendered(ITEM_BYTES)
        self._views = _Rendered(VIEW_BYTES)

    def item(self, volume: Volume, plugin: Plugin | None) -> bytes:
        """`plugin` is the row that the volume names, also one that isn't present any more."""
        key = volume.namespace, volume.id
        kept = self._items.get(key, volume, plugin)
        return kept or self._items.put(key, volume, plugin, encode(volume_item(volume, plugin)))

    def view(self, state: State, volume: Volume) -> bytes:
        plugin = state.plugin_row(volume.plugin_id)
        key = volume.namespace, volume.id
        kept = self._views.get(key, volume, plugin)
        return kept or self._views.put(key, volume, plugin, encode(volume_view(state, volume, plugin)))

    def prune(self, state: State) -> None:
        """Forget removed volumes, once they are more than those that are there."""
        for rendered in (self._items, self._views):
            if len(rendered) > 2 * state.volume_count() + 1024:
                rendered.prune(state)
