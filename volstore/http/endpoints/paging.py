"""One paginator for all lists: rows in the order of their keys, a page from the row that the token names.

A token is the key of the first row that the page before did not show, as text. It is compared, not looked up, so one
of a row that is gone goes on working.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, TypeVar

from msgspec import Struct

from volstore.bexpr.shapes import Record
from volstore.core.errors import ApiError
from volstore.http.endpoints.filters import chosen, compiled
from volstore.http.endpoints.views import encode_into
from volstore.http.json.parameters import Query
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import printable

Row = TypeVar("Row")

RENDERED = 2000
"""Rows that are rendered between two looks at the loop: under 5 ms of work, as everybody else waits meanwhile."""
_BRACKET, _COMMA = b"[,"

NEXT = "X-Nomad-NextToken"


class Asked(Struct, frozen=True):
    """What a list's caller wants of it: at most `size` rows (0: all) from `token` on, that pass `filter`."""

    size: int = 0
    token: str = ""
    reverse: bool = False
    filter: str = ""


def wanted(query: Query, shape: Record) -> Asked:
    """What the query says; a filter that is none is refused here, before anything is waited for. Raises ApiError."""
    want = Asked(query.per_page, query.text("next_token"), query.reverse, query.text("filter"))
    if want.filter:
        compiled(want.filter, shape)
    return want


class Order(Struct, frozen=True):
    """By what a list is sorted. `key` of a row; `text`, a key as a token; `read`, a token as a key.

    `sort`: what rows that come in the order of their IDs are sorted by; None: they are in order.
    """

    key: Callable[[Any], Any]
    text: Callable[[Any], str] = str
    read: Callable[[str], Any] = str
    sort: Callable[[Any], Any] | None = None


def by_index_and(id: Callable[[Any], str]) -> Order:
    """As Nomad sorts what is made in turn: by CreateIndex, then ID; tokens are `CREATEINDEX.ID`."""
    return Order(
        lambda row: (row.create_index, id(row)),
        lambda key: f"{key[0]}.{key[1]}",
        _index_and_id,
        attrgetter("create_index"),
    )


def _index_and_id(token: str) -> tuple[int, str]:
    index, _, id = token.partition(".")
    if not (index.isascii() and index.isdigit()) or len(index) > 20:
        raise ApiError(
            400, f'Invalid next_token: "{printable(token, 64)}"; give back {NEXT} as it came, like 123.some-id'
        )
    return int(index), id


async def answer(
    rows: Iterable[Row],
    want: Asked,
    order: Order,
    shown: Callable[[Row], Any],
    shape: Record,
    seen: Callable[[Row], Any] | None = None,
) -> Reply:
    """The page as a reply. `shown` is a row in the list, `seen` what a filter sees of it (None: the same), of `shape`.

    `rows` are taken before this first yields, and come in the order of their IDs. Raises ApiError 400.
    """
    start = order.read(want.token) if want.token else None
    predicate = compiled(want.filter, shape) if want.filter else None
    found = list(rows) if order.sort is None else sorted(rows, key=order.sort)
    if want.reverse:
        found.reverse()
    if start is not None:
        found = [row for row in found if (order.key(row) <= start if want.reverse else order.key(row) >= start)]
    most = want.size + 1 if want.size else sys.maxsize
    if predicate is not None:
        test, view = predicate.begin(), seen or shown
        found = await chosen(found, lambda row: test(view(row)), predicate.comparisons, most)
    headers = {}
    if want.size and len(found) > want.size:
        headers[NEXT] = order.text(order.key(found[want.size]))
        found = found[: want.size]
    return Reply(json=Json(await rendered(found, lambda some: [shown(row) for row in some])), headers=headers)


async def rendered(rows: list[Row], items: Callable[[list[Row]], list[Any]]) -> bytes:
    """A list as JSON, in slices; `items` makes what is shown of some rows, which must be frozen."""
    # One buffer that grows, and no chunks to be joined: a heap with holes of tens of megabytes would not shrink again.
    buffer = bytearray(b"]")
    for start in range(0, len(rows), RENDERED):
        if start:
            await asyncio.sleep(0)  # others' turn
        place = len(buffer) - 1
        encode_into(items(rows[start : start + RENDERED]), buffer, place)
        buffer[place] = _COMMA
    if not rows:
        return b"[]"
    buffer[0] = _BRACKET
    return bytes(buffer)
