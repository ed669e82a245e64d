"""Whatever a client sends, it gets an answer that the document allows: never a 500, never a hang, no state changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.http.conftest import SETTINGS, stub, volume
from tests.http.json.hostile_bodies import SHAPES, bodies
from tests.http.registry import InProcessRegistry
from volstore.core.queries import VolumeQuery
from volstore.http.server.openapi import document
from volstore.http.server.router import API
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

SCHEMA = schemathesis.openapi.from_dict(document(API, "0"))
SCHEMA.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])


class Served:
    """A server on a loop of its own, as what fuzzes it waits for answers."""

    def __init__(self, url: str, registry: InProcessRegistry, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.registry = registry
        self._loop = loop

    def tables(self) -> tuple[Any, ...]:
        """What is registered and reported, without the indexes that refused commands move too."""

        async def read() -> tuple[Any, ...]:
            state = self.registry.state
            volumes, allocations = state.volumes(VolumeQuery(None)), state.allocations()
            return tuple(volumes), tuple(state.nodes()), tuple(state.plugins()), tuple(allocations)

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result(10)


@contextmanager
def serving(http: HttpSettings = SETTINGS) -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[InProcessRegistry, HttpServer, str]:
        registry = InProcessRegistry()
        server = HttpServer(registry, http, draw=lambda: 0.0)
        return registry, server, await server.start("127.0.0.1", 0)

    registry, server, address = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield Served(f"http://{address}", registry, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as found:
        report = {"CSINodePlugins": {"plugin-id1": {"Healthy": True}}}
        assert requests.put(f"{found.url}/v1/node/node-1", json=report, timeout=10).status_code == 200
        register = {"Volumes": [volume("v")]}
        assert requests.put(f"{found.url}/v1/volume/csi/v", json=register, timeout=10).status_code == 200
        assert requests.put(f"{found.url}/v1/allocation/a", json=stub("a"), timeout=10).status_code == 200
        yield found


@SCHEMA.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_any_request_gets_a_documented_answer(case: Any, served: Served) -> None:
    if "index" in (case.query or {}):
        case.query["wait"] = "1ms"
    case.call_and_validate(
        base_url=served.url,
        timeout=10,
        checks=[
            not_a_server_error_but_501,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
        ],
    )


def not_a_server_error_but_501(context: Any, response: Any, case: Any) -> None:
    """501 is what some operations are there for."""
    if response.status_code not in (501, 503):
        not_a_server_error(context, response, case)


VALID = {
    "/v1/volume/csi/v": {"Volumes": [volume("v", Context={"changed": "yes"})]},
    "/v1/volume/csi/v/claim": {"AllocationID": "a", "NodeID": "node-1", "Mode": "write", "State": 0},
    "/v1/allocation/a": stub("a", ModifyTime=1, TaskStates={"t": {"Events": [{"Time": 2}]}}),
    "/v1/allocations": {"Allocations": [stub("a"), stub("b")]},
    "/v1/node/node-1": {"Node": {"Name": "n", "CSINodePlugins": {"plugin-id1": {"Healthy": True}}}},
    "/v1/node/node-1/status": {"Status": "ready"},
    "/v1/search": {"Prefix": "v", "Context": "all"},
}


def _damaged(valid: bytes) -> st.SearchStrategy[bytes]:
    return (
        st.binary(max_size=40)
        | st.text(max_size=40).map(lambda text: text.encode(errors="replace"))
        | st.builds(
            lambda at, junk: valid[:at] + junk + valid[at + len(junk) :],
            st.integers(0, len(valid)),
            st.binary(min_size=1, max_size=3),
        )
        | st.integers(0, len(valid) - 1).map(lambda at: valid[:at])
    )


REQUESTS = st.sampled_from(sorted(VALID)).flatmap(
    lambda path: st.tuples(st.just(path), _damaged(json.dumps(VALID[path]).encode()))
)


@given(REQUESTS)
@settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_refused_body_changes_nothing(served: Served, request_made: tuple[str, bytes]) -> None:
    path, body = request_made
    before = served.tables()
    response = requests.put(served.url + path, data=body, timeout=10)
    assert response.status_code in (200, 400, 404, 409), response.text
    if response.status_code != 200:
        assert served.tables() == before
        assert "X-Nomad-Index" not in response.headers


@given(st.sampled_from(sorted(VALID)), bodies)
@example("/v1/volume/csi/v", SHAPES["900 levels, and a key twice behind"](60_000))
@example("/v1/search", SHAPES["900 levels, and a key twice behind"](60_000))
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_body_that_is_made_to_cost_is_refused_in_few_words(served: Served, path: str, body: bytes) -> None:
    before = served.tables()
    response = requests.put(served.url + path, data=body, timeout=20)
    assert response.status_code in (200, 400, 404, 409, 413), response.text
    assert len(response.content) < 2000 or response.status_code == 200
    if response.status_code != 200:
        assert served.tables() == before


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30)
    | st.sampled_from(["..", "%2e%2e", "%2F", "%", "%zz", "%25", "?", "#", "a/b", "a//b", ";", "\\", "%C0%AF", "%F0"]),
    st.sampled_from(["GET", "DELETE", "HEAD", "OPTIONS"]),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_path_gets_an_answer(served: Served, segment: str, method: str) -> None:
    for path in ("/v1/volume/csi/", "/v1/node/", "/v1/", "/"):
        session = requests.Session()
        request = requests.Request(method, served.url).prepare()
        request.url = served.url + path + segment
        response = session.send(request, timeout=10)
        session.close()
        assert response.status_code in (200, 204, 400, 404, 405), (path, response.text)
