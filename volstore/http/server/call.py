"""One routed request on its way through the pipeline, and what all requests share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from volstore.core.errors import ApiError
from volstore.http.endpoints.lists import VolumeLists
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.json.parameters import Query
from volstore.http.json.shape import printable
from volstore.http.registry import Registry
from volstore.http.server.caller import ANYBODY, HttpCaller
from volstore.http.server.settings import HttpSettings


@dataclass(frozen=True, slots=True)
class Service:
    """Shared by all requests of one server."""

    registry: Registry
    settings: HttpSettings
    renderer: VolumeRenderer
    lists: VolumeLists


@dataclass(frozen=True, slots=True, repr=False)
class Origin:
    """A request as it came, for sending it on: `target` is its path and query, `headers` those that say who asks.

    `hops` counts the nodes that it came through already.
    """

    method: str = "GET"
    target: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    hops: int = 0


NO_ORIGIN = Origin()
"""Of requests that are never sent on."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A routed request. `ids` are the decoded variable segments of its path, `body` is empty where none is taken.

    It has no repr of its fields: bodies and queries may hold secrets. A struct because one is made for each request.
    """

    service: Service
    query: Query
    ids: tuple[str, ...] = ()
    body: bytes = b""
    origin: Origin = NO_ORIGIN
    caller: HttpCaller = ANYBODY
    batch: tuple[Any, ...] | None = None
    """The members of a batch that was read in turns already; None: it is for the endpoint to read, from `body`."""
    drawn: list[str] = msgspec.field(default_factory=list)
    """Secrets that were drawn for this request: only its own answer may show them."""

    def path_id(self, missing: str) -> str:
        """The one variable segment of the path. Raises ApiError 400 with the text `missing` where it is empty."""
        (id,) = self.ids
        if not id:
            raise ApiError(400, missing)
        return id

    def __repr__(self) -> str:
        return "Call(…)"


def path_disagrees(what: str, path_id: str, body_id: str) -> ApiError:
    """The refusal of a body that names another thing than its path."""
    return ApiError(
        400,
        f'validation: the path names {what} "{printable(path_id)}" and the body "{printable(body_id)}"; '
        "they must be the same",
    )
