"""Lists of volumes as bytes: rows are taken at one moment and rendered in slices; small whole answers are kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import islice

from msgspec import Struct

from volstore.http.parameters import encode_token
from volstore.http.rendered import VolumeRenderer
from volstore.http.replies import Json
from volstore.model import Plugin, Volume
from volstore.queries import VolumeQuery
from volstore.state import State

SLICE = 500
"""Volumes rendered between two looks at the loop: under 5 ms of work."""

KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of whole answers that are kept."""


class Page(Struct, frozen=True):
    """Which part of which list: strictly after the key `after`, at most `size` (0: all)."""

    query: VolumeQuery
    after: tuple[str, str] | None = None
    size: int = 0


class Listed(Struct, frozen=True):
    """A page as bytes, and the token of the next one ("" when this was the last)."""

    json: Json
    next_token: str


class _Kept(Struct, frozen=True):
    state: State
    index: int
    listed: Listed


class VolumeLists:
    """Renders lists of volumes, and gives a kept one back while nothing that shows in it moved."""

    def __init__(self, renderer: VolumeRenderer) -> None:
        self._renderer = renderer
        self._kept: OrderedDict[Page, _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def page(self, state: State, page: Page) -> Listed:
        """The page as `state` has it at the moment of the call, however much is applied while it is rendered."""
        kept = self._kept.get(page)
        if kept is not None and kept.state is state and not _moved(state, page.query, kept.index):
            self._kept.move_to_end(page)
            return kept.listed
        index = state.index
        rows, next_token = _rows(state, page)
        parts: list[bytes] = []
        for start in range(0, len(rows), SLICE):
            if start:
                await asyncio.sleep(0)  # others' turn; the rows are frozen
            parts.extend(self._renderer.item(volume, plugin) for volume, plugin in rows[start : start + SLICE])
        listed = Listed(Json(b"[" + b",".join(parts) + b"]"), next_token)
        self._keep(page, _Kept(state, index, listed))
        self._renderer.prune(state)
        return listed

    def _keep(self, page: Page, kept: _Kept) -> None:
        self._drop(page)
        size = len(kept.listed.json.raw)
        if size > KEPT_BYTES // 2:
            return
        self._kept[page] = kept
        self._kept_bytes += size
        while self._kept_bytes > KEPT_BYTES or len(self._kept) > 256:
            self._drop(next(iter(self._kept)))

    def _drop(self, page: Page) -> None:
        kept = self._kept.pop(page, None)
        if kept is not None:
            self._kept_bytes -= len(kept.listed.json.raw)


def _moved(state: State, query: VolumeQuery, index: int) -> bool:
    # To tell whether a filtered list moved may cost as much as to list it.
    return state.index != index and (not query.whole or state.volumes_moved_since(query, index))


def _rows(state: State, page: Page) -> tuple[list[tuple[Volume, Plugin | None]], str]:
    found = state.volumes(page.query, page.after)
    volumes = list(islice(found, page.size + 1) if page.size else found)
    next_token = ""
    if page.size and len(volumes) > page.size:
        volumes.pop()
        next_token = encode_token(volumes[-1].namespace, volumes[-1].id)
    plugins: dict[str, Plugin | None] = {}
    rows = []
    for volume in volumes:
        if volume.plugin_id not in plugins:
            plugins[volume.plugin_id] = state.plugin_row(volume.plugin_id)
        rows.append((volume, plugins[volume.plugin_id]))
    return rows, next_token
