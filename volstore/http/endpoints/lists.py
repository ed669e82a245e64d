"""Lists of volumes as bytes: rows as of one moment, taken and rendered in slices; small whole answers are kept."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from volstore.core.model import Plugin, Volume
from volstore.core.queries import Key, VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints.filter_shapes import LISTED_VOLUME, VOLUME
from volstore.http.endpoints.filters import chosen, compiled
from volstore.http.endpoints.paging import rendered
from volstore.http.endpoints.render import volume_item
from volstore.http.endpoints.views import VolumeItem
from volstore.http.json.replies import Json

TAKEN = 10_000
"""Volumes that are taken from the tables between two looks at the loop: under 5 ms of work, as heartbeats and
everybody else wait meanwhile."""

ATTEMPTS = 3
"""How often rows are taken in slices before it is done in one go, because what is listed changes faster."""

KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of whole answers that are kept."""


class Page(Struct, frozen=True):
    """Which part of which list: from the key `start` on, at most `size` (0: all) that pass `filter`.

    `visible`: the namespaces (by name) that a list of all of them may show; None: every one. `readable`: those whose
    volumes the caller may read, too, and so filter by all that a read shows.
    """

    query: VolumeQuery
    start: Key | None = None
    size: int = 0
    reverse: bool = False
    filter: str = ""
    visible: tuple[str, ...] | None = None
    readable: tuple[str, ...] | None = None


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
        if page.filter:
            volumes = await _filtered(state, page, volumes, plugins)
        next_token = ""
        if page.size and len(volumes) > page.size:
            first_of_next = volumes.pop()
            next_token = f"{first_of_next.namespace}.{first_of_next.id}"
        listed = Listed(Json(await rendered(volumes, partial(_items, plugins))), next_token)
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
    # To tell whether a list that isn't whole moved may cost as much as to list it.
    return state.index != index and (not query.whole or state.volumes_moved_since(query, index))


Plugins = dict[str, Plugin | None]
"""By ID, the rows that volumes name, also those that aren't present any more."""


async def _rows_of_one_moment(state: State, page: Page) -> tuple[list[Volume], Plugins, int]:
    """The page's volumes, one more than its size if there are more, their plugins, and the index of which they are.

    Of a filtered page all that the filter is to be asked of.
    """
    if page.reverse:
        return await _backwards(state, page)
    wanted = page.size + 1 if page.size and not page.filter else sys.maxsize
    for _ in range(ATTEMPTS):
        index, after = state.index, None
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
    volumes = _taken(state, page, None, wanted)
    return volumes, _plugins(state, {volume.plugin_id for volume in volumes}), state.index


async def _backwards(state: State, page: Page) -> tuple[list[Volume], Plugins, int]:
    """The tables are in order; what is wanted from their end is turned round."""
    forwards = replace(page, start=None, size=0, reverse=False)
    volumes, plugins, index = await _rows_of_one_moment(state, forwards)
    volumes.reverse()
    if page.start is not None:
        start = page.start
        volumes = [volume for volume in volumes if (volume.namespace, volume.id) <= start]
    if page.size and not page.filter:
        del volumes[page.size + 1 :]
    return volumes, plugins, index


def _taken(state: State, page: Page, after: Key | None, most: int) -> list[Volume]:
    """Strictly after the key `after`; None: from the page's start on, which may be a volume or none."""
    if after is not None or page.start is None:
        return list(islice(_volumes(state, page, after), most))
    namespace, id = page.start
    first = state.volume(namespace, id)
    fits = first is not None and page.query.matches(first) and (page.visible is None or namespace in page.visible)
    begin = [first] if first is not None and fits else []
    return [*begin, *islice(_volumes(state, page, page.start), max(most - len(begin), 0))]


async def _filtered(state: State, page: Page, volumes: list[Volume], plugins: Plugins) -> list[Volume]:
    predicate = compiled(page.filter, VOLUME)
    test, readable = predicate.begin(), page.readable
    narrow = test if readable is None else compiled(page.filter, LISTED_VOLUME).begin()

    def passes(volume: Volume) -> bool:
        asked = test if readable is None or volume.namespace in readable else narrow
        return asked((volume, plugins[volume.plugin_id], state))

    return await chosen(volumes, passes, predicate.comparisons, page.size + 1 if page.size else sys.maxsize)


def _plugins(state: State, ids: set[str]) -> Plugins:
    return {id: state.plugin_row(id) for id in ids}


def _items(plugins: Plugins, volumes: list[Volume]) -> list[VolumeItem]:
    return [volume_item(volume, plugins[volume.plugin_id]) for volume in volumes]


def _volumes(state: State, page: Page, after: Key | None) -> Iterator[Volume]:
    if page.visible is None:
        yield from state.volumes(page.query, after)
        return
    for namespace in page.visible:
        if after is None or namespace >= after[0]:
            yield from state.volumes(dataclasses.replace(page.query, namespace=namespace), after)
