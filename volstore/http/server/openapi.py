"""The OpenAPI 3.1 document, made of the same table of routes and the same kinds that serve the requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from volstore.http.json.parameters import PARAMETERS
from volstore.http.json.replies import JSON, Json, Reply
from volstore.http.server.declaration import Endpoint, Local, Read, Write
from volstore.http.server.rights import nothing
from volstore.http.server.router import Route

_REASONS = {
    200: "Done",
    400: "The request must be changed; the text says where",
    403: "Refused",
    404: "Not there",
    405: "Invalid method",
    408: "The body did not come in time",
    409: "In conflict with what is there",
    413: "The body is too large",
    429: "A limit of this node; nothing was done",
    501: "Not supported",
    503: "No leader before the deadline",
}
_FRESHNESS = {
    "X-Nomad-Index": ("integer", "The index of the state that the answer stands on, or of the write"),
    "X-Nomad-KnownLeader": ("string", "Whether this node knows a leader"),
    "X-Nomad-LastContact": ("integer", "Milliseconds since this node heard from the leader"),
}


def document_route(version: str, served: tuple[Route, ...]) -> Route:
    """The route that serves the document of all that is `served`, itself described in it."""
    held: list[Json] = []
    endpoint = Local(
        name="openapi",
        need=nothing,
        summary="This document",
        answer=dict[str, Any],
        reply=lambda call: Reply(json=held[0]),
    )
    route = Route("/v1/openapi.json", {"GET": endpoint})
    held.append(Json(msgspec.json.encode(document((*served, route), version), order="deterministic")))
    return route


def document(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    """The whole document as plain data."""
    answers = [endpoint.answer for _, _, endpoint in _operations(routes) if endpoint.answer is not None]
    schemas, components = msgspec.json.schema_components(answers, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip([repr(answer) for answer in answers], schemas, strict=True))
    paths: dict[str, Any] = {}
    for route, method, endpoint in _operations(routes):
        paths.setdefault(route.path, {})[method.lower()] = _operation(route, method, endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "volstore",
            "version": version,
            "summary": "A registry of CSI storage volumes that speaks Nomad's Volumes HTTP API",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operations(routes: tuple[Route, ...]) -> Iterator[tuple[Route, str, Endpoint]]:
    for route in routes:
        for method, endpoint in route.endpoints.items():
            yield route, method, endpoint


def _operation(route: Route, method: str, endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "query",
            "description": PARAMETERS[name].describe,
            "required": PARAMETERS[name].required,
            "schema": PARAMETERS[name].schema,
        }
        for name in endpoint.query
    ]
    if "{id}" in route.path:
        id_schema = {"type": "string", "minLength": 1, "maxLength": 256}
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": id_schema})
    if isinstance(endpoint, Write):
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A retry under the same key is done once, and has the first outcome.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }
        )
    # PUT and POST share an endpoint where both are taken; the operations' names must differ.
    name = f"{endpoint.name}ByPost" if method == "POST" and "PUT" in route.endpoints else endpoint.name
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {str(status): _response(status, endpoint, schema_of) for status in statuses(endpoint)},
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": endpoint.body.schema()}}}
    if endpoint.largest_body:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    return operation


def statuses(endpoint: Endpoint) -> tuple[int, ...]:
    """Every status that the endpoint may answer with (500 aside: that would be a defect)."""
    found = {400, 403, 429, *endpoint.statuses}
    if 501 not in found:
        found.add(200)
    if isinstance(endpoint, Read | Write):
        found.add(503)
    if isinstance(endpoint, Write):
        found.add(409)  # an Idempotency-Key of another request
    if endpoint.body is not None or endpoint.largest_body:
        found |= {408, 413}
    return tuple(sorted(found))


def _response(status: int, endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _REASONS[status]}
    if status == 200:
        if endpoint.answer is not None:
            response["content"] = {JSON: {"schema": schema_of[repr(endpoint.answer)]}}
        if isinstance(endpoint, Read | Write):
            response["headers"] = {
                # A list of no type of thing reads no state, and carries none of them.
                name: {"description": describe, "schema": {"type": kind}, "required": False}
                for name, (kind, describe) in _FRESHNESS.items()
            }
        return response
    response["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return response
