"""Volumes as bytes, each rendered once as it is read and kept until its row or its plugin's changes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from volstore.core.acl.check import READ_JOB, Rights, sees_allocation
from volstore.core.model import Allocation, Plugin, Volume
from volstore.core.queries import Key
from volstore.core.state import State
from volstore.http.endpoints.render import volume_view
from volstore.http.endpoints.views import encode

VIEW_BYTES = 32 * 1024 * 1024


class _Kept(NamedTuple):
    """`json` shows allocations of all these `namespaces`, as whoever may read all of them sees it."""

    volume: Volume
    plugin: Plugin | None
    json: bytes
    namespaces: frozenset[str]


class VolumeRenderer:
    """JSON of volumes by their keys, valid for the very rows that it was made of; at most VIEW_BYTES of it.

    When it is full nothing more is kept until that was missed often enough to begin anew: who reads more volumes in
    turn than what fits would else throw away, one by one, what he reads next.
    """

    def __init__(self) -> None:
        self._bytes = 0
        self._missed = 0
        self._kept: dict[Key, _Kept] = {}

    def view(self, state: State, volume: Volume, rights: Rights) -> bytes:
        """The volume as it is read with these rights; kept, unlike the answers of registers, of which most are never
        asked for again, if all of it is shown."""
        plugin = state.plugin_row(volume.plugin_id)
        key = volume.namespace, volume.id
        kept = self._kept.get(key)
        if kept is None or kept.volume is not volume or kept.plugin is not plugin:
            namespaces: set[str] = set()

            def everything(allocation: Allocation) -> bool:
                namespaces.add(allocation.namespace)
                return True

            json = encode(volume_view(state, volume, plugin, everything))
            kept = _Kept(volume, plugin, json, frozenset(namespaces))
            self._keep(key, kept)
            self._prune(state)
        if rights.acl.management or all(rights.acl.allows_one(READ_JOB, name) for name in kept.namespaces):
            return kept.json
        return encode(volume_view(state, volume, plugin, partial(sees_allocation, state, rights)))

    def _keep(self, key: Key, kept: _Kept) -> None:
        self._drop(key)
        if self._bytes + len(kept.json) > VIEW_BYTES:
            self._missed += 1
            if self._missed <= len(self._kept):
                return
            self._kept.clear()
            self._bytes = self._missed = 0
        self._kept[key] = kept
        self._bytes += len(kept.json)

    def _prune(self, state: State) -> None:
        """Forget removed volumes, once they are more than those that are there."""
        if len(self._kept) > 2 * state.volume_count() + 1024:
            for key in [key for key, kept in self._kept.items() if state.volume(*key) is not kept.volume]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.json)
