"""`GET /v1/metrics`: a node's figures, as Nomad's JSON or as Prometheus' text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from volstore.core.acl.check import Rights
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.views import encode
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import printable
from volstore.http.server.call import Call
from volstore.http.server.declaration import Local
from volstore.http.server.metrics import CONTENT_TYPE_LATEST, Family, as_json, as_text
from volstore.http.server.router import Route


def _may_read(call: Call, state: State, rights: Rights) -> bool:
    return not call.service.settings.metrics_require_token or rights.acl.allows_area("agent", "read")


def metrics_route(families: Callable[[], Iterable[Family]]) -> Route:
    def reply(call: Call) -> Reply:
        kind = call.query.text("format")
        if kind == "prometheus":
            return Reply(content=as_text(families()), headers={"Content-Type": CONTENT_TYPE_LATEST})
        if kind:
            raise ApiError(400, f'Invalid format: "{printable(kind, 32)}"; expected prometheus, or none for JSON')
        return Reply(json=Json(encode(as_json(families(), time.time()))))

    endpoint = Local(
        name="metrics",
        need=_may_read,
        summary="This node's figures since it started",
        answer=dict[str, Any],
        parameters=("format",),
        reply=reply,
    )
    return Route("/v1/metrics", {"GET": endpoint})
