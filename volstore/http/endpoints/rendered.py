"""Volumes as bytes, each rendered once as it is read and kept until its row or its plugin's changes."""

from __future__ import annotations

from volstore.core.model import Plugin, Volume
from volstore.core.queries import Key
from volstore.core.state import State
from volstore.http.endpoints.render import volume_view
from volstore.http.endpoints.views import encode

VIEW_BYTES = 32 * 1024 * 1024


class VolumeRenderer:
    """JSON of volumes by their keys, valid for the very rows that it was made of; at most VIEW_BYTES of it.

    When it is full nothing more is kept until that was missed often enough to begin anew: who reads more volumes in
    turn than what fits would else throw away, one by one, what he reads next.
    """

    def __init__(self) -> None:
        self._bytes = 0
        self._missed = 0
        self._kept: dict[Key, tuple[Volume, Plugin | None, bytes]] = {}

    def view(self, state: State, volume: Volume) -> bytes:
        """The volume as it is read; kept, unlike the answers of registers, of which most are never asked for again."""
        plugin = state.plugin_row(volume.plugin_id)
        key = volume.namespace, volume.id
        kept = self._kept.get(key)
        if kept is not None and kept[0] is volume and kept[1] is plugin:
            return kept[2]
        json = encode(volume_view(state, volume, plugin))
        self._keep(key, volume, plugin, json)
        self._prune(state)
        return json

    def _keep(self, key: Key, volume: Volume, plugin: Plugin | None, json: bytes) -> None:
        self._drop(key)
        if self._bytes + len(json) > VIEW_BYTES:
            self._missed += 1
            if self._missed <= len(self._kept):
                return
            self._kept.clear()
            self._bytes = self._missed = 0
        self._kept[key] = volume, plugin, json
        self._bytes += len(json)

    def _prune(self, state: State) -> None:
        """Forget removed volumes, once they are more than those that are there."""
        if len(self._kept) > 2 * state.volume_count() + 1024:
            for key in [key for key, kept in self._kept.items() if state.volume(*key) is not kept[0]]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept[2])
