"""Lists of volumes as bytes: rows as of one moment, taken and rendered in slices; small whole answers are kept."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from msgspec import Struct

from volstore.core.model import Plugin, Volume
from volstore.core.queries import Key, VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints.render import volume_item
from volstore.http.endpoints.views import encode_into
from volstore.http.json.parameters import encode_token
from volstore.http.json.replies import Json

TAKEN = 10_000
RENDERED = 2000
"""Volumes that are taken from the tables, and that are rendered, between two looks at the loop: under 5 ms of work
each, as heartbeats and everybody else wait meanwhile."""

ATTEMPTS = 3
"""How often rows are taken in slices before it is done in one go, because what is listed changes faster."""

KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of whole answers that are kept."""


class Page(Struct, frozen=True):
    """Which part of which list: strictly after the key `after`, at most `size` (0: all).

    `visible`: the namespaces (by name) that a list of all of them may show; None: every one.
    """

    query: VolumeQuery
    after: Key | None = None
    size: int = 0
    visible: tuple[str, ...] | None = None


class Listed(Struct, frozen=True):
    """A page as bytes, and the token of the next one ("" when this was the last)."""

    json: Json
    next_token: str


class _Kept(Struct, frozen=True):
    state: State
    index: int
    listed: Listed


class VolumeLists:
    """Renders lists of volumes, and gives a kept one back while nothing that shows in it moved.

    Items aren't kept one by one: to render many at once takes no longer than to look for each.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Page, _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def page(self, state: State, page: Page) -> Listed:
        """The page as `state` has it at one moment from the call on, however much is applied meanwhile."""
        kept = self._kept.get(page)
        if kept is not None and kept.state is state and not _moved(state, page.query, kept.index):
            self._kept.move_to_end(page)
            return kept.listed
        volumes, plugins, index = await _rows_of_one_moment(state, page)
        next_token = ""
        if page.size and len(volumes) > page.size:
            volumes.pop()
            next_token = encode_token(volumes[-1].namespace, volumes[-1].id)
        listed = Listed(Json(await _rendered(volumes, plugins)), next_token)
        self._keep(page, _Kept(state, index, listed))
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


_BRACKET, _COMMA = b"[,"

Plugins = dict[str, Plugin | None]
"""By ID, the rows that volumes name, also those that aren't present any more."""


async def _rows_of_one_moment(state: State, page: Page) -> tuple[list[Volume], Plugins, int]:
    """The page's volumes, one more than its size if there are more, their plugins, and the index of which they are."""
    wanted = page.size + 1 if page.size else sys.maxsize
    for _ in range(ATTEMPTS):
        index, after = state.index, page.after
        volumes: list[Volume] = []
        named: set[str] = set()
        while True:
            more = _taken(state, page, after, min(TAKEN, wanted - len(volumes)))
            volumes += more
            named.update(volume.plugin_id for volume in more)
            if len(more) < TAKEN or len(volumes) == wanted:
                return volumes, _plugins(state, named), index
            await asyncio.sleep(0)  # others' turn
            if _moved(state, page.query, index):
                break
            after = volumes[-1].namespace, volumes[-1].id
    volumes = _taken(state, page, page.after, wanted)
    return volumes, _plugins(state, {volume.plugin_id for volume in volumes}), state.index


def _taken(state: State, page: Page, after: Key | None, most: int) -> list[Volume]:
    return list(islice(_volumes(state, page, after), most))


def _plugins(state: State, ids: set[str]) -> Plugins:
    return {id: state.plugin_row(id) for id in ids}


async def _rendered(volumes: list[Volume], plugins: Plugins) -> bytes:
    # One buffer that grows, and no chunks to be joined: a heap with holes of tens of megabytes would not shrink again.
    buffer = bytearray(b"]")
    for start in range(0, len(volumes), RENDERED):
        if start:
            await asyncio.sleep(0)  # others' turn; the rows are frozen
        items = [volume_item(volume, plugins[volume.plugin_id]) for volume in volumes[start : start + RENDERED]]
        place = len(buffer) - 1
        encode_into(items, buffer, place)
        buffer[place] = _COMMA
    if not volumes:
        return b"[]"
    buffer[0] = _BRACKET
    return bytes(buffer)


def _volumes(state: State, page: Page, after: Key | None) -> Iterator[Volume]:
    if page.visible is None:
        yield from state.volumes(page.query, after)
        return
    for namespace in page.visible:
        if after is None or namespace >= after[0]:
            yield from state.volumes(replace(page.query, namespace=namespace), after)
