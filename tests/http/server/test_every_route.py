"""What holds on every route: methods, headers, regions, layout, and that what is served is what is documented."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.http.conftest import Api, stub, volume
from volstore.http.server.declaration import Endpoint, Local, Operation, Read, Write
from volstore.http.server.openapi import statuses
from volstore.http.server.router import API, Route

DOCUMENT = "/v1/openapi.json"
PATHS = [*(route.path.replace("{id}", "v") for route in API), DOCUMENT]
FRESHNESS = ("X-Nomad-Index", "X-Nomad-KnownLeader", "X-Nomad-LastContact")

ALL_OPERATIONS = [(route, method, endpoint) for route in API for method, endpoint in route.endpoints.items()]
# With access control off, as it is here, its own routes do nothing: test_acl.py has them.
OPERATIONS = [one for one in ALL_OPERATIONS if not one[0].path.startswith("/v1/acl")]
BODIES: dict[str, Any] = {
    "registerVolumes": {"Volumes": [volume("v")]},
    "putVolumes": {"Volumes": [volume("v")]},
    "reportNode": {"Name": "v", "CSINodePlugins": {"plugin-id1": {"Healthy": True}}},
    "setNodeStatus": {"Status": "ready"},
    "search": {"Prefix": "v"},
    "putNamespace": {"Description": "d"},
    "putNamedNamespace": {"Name": "v"},
    "reportAllocation": stub("v"),
    "reportAllocations": {"Allocations": [stub("v"), stub("w")]},
    "claimVolume": {"AllocationID": "v", "Mode": "write"},
}


async def prepare(api: Api) -> None:
    await api.report_node()
    await api.report_node("v")
    await api.register("v")
    await api.allocate("v")
    assert (await api.do("PUT", "/v1/namespace/v", json={}))[0] == 200


def path_of(route: Route, endpoint: Endpoint) -> str:
    path = route.path.replace("{id}", "plugin-id1" if "plugin" in route.path else "v")
    query = {"listVolumes": "?type=csi", "listPlugins": "?type=csi", "detachVolume": "?node=gone"}
    return path + query.get(endpoint.name, "")


@pytest.mark.parametrize(("route", "method", "endpoint"), OPERATIONS)
async def test_every_operation_answers_as_documented(api: Api, route: Route, method: str, endpoint: Endpoint) -> None:
    await prepare(api)
    if endpoint.name == "detachVolume":  # one that frees nothing is refused
        await api.allocate("w", NodeID="gone")
        assert (await api.claim("v", "w"))[0] == 200
    async with api.request(method, path_of(route, endpoint), json=BODIES.get(endpoint.name)) as response:
        text = await response.text()
        assert response.status == (501 if 501 in statuses(endpoint) else 200), text
        fresh = [name in response.headers for name in FRESHNESS]
        if isinstance(endpoint, Write) and endpoint.index_only:
            assert fresh == [True, False, False]
        else:
            assert all(fresh) if isinstance(endpoint, Read | Write) else not any(fresh)
        assert response.headers["Server"] == "volstore"
        if response.status != 200:
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        elif endpoint.answer is None:
            assert (text, "Content-Type" in response.headers) == ("", False)
        else:
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if all(fresh):
        assert response.headers["X-Nomad-KnownLeader"] == "true"
        assert response.headers["X-Nomad-LastContact"] == "0"
    if any(fresh):
        assert response.headers["X-Nomad-Index"] == str(api.registry.state.index)


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method_is_405_and_names_the_right_ones(api: Api, path: str) -> None:
    status, headers, text = await api.do("OPTIONS", path)
    allowed = headers["Allow"].split(", ")
    assert (status, text) == (204, "")
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE"):
        if method not in allowed:
            status, headers, text = await api.do(method, path)
            assert (status, headers["Allow"]) == (405, ", ".join(allowed)), method
            assert text == ("" if method == "HEAD" else "Invalid method")
            assert not any(name in headers for name in FRESHNESS)


@pytest.mark.parametrize("path", [*PATHS, "/v1/volume/csi/none", "/v1/volumes?type=csi&index=x"])
async def test_head_answers_as_get_without_the_body(api: Api, path: str) -> None:
    await prepare(api)
    async with api.request("GET", path) as got, api.request("HEAD", path) as head:
        assert head.status == got.status
        assert await head.read() == b""
        assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


@pytest.mark.parametrize("path", PATHS)
async def test_another_region_is_refused_and_the_own_one_is_not(api: Api, path: str) -> None:
    _, headers, _ = await api.do("OPTIONS", path)
    method = next(method for method in headers["Allow"].split(", ") if method != "OPTIONS")
    status, _, text = await api.do(method, f"{path}?region=mars")
    assert (status, text[:17]) == (400, "No path to region")
    for region in ("", "global"):
        _, _, text = await api.do(method, f"{path}?region={region}")
        assert "No path to region" not in str(text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", ""),
        ("/v1", ""),
        ("/v1/", ""),
        ("/v1/nothing", ""),
        ("/v1/volumes/", ""),
        ("/v1/volumes/x", ""),
        ("/v1/volume/host/v", ""),
        ("/v2/volumes", ""),
        ("//v1/volumes", ""),
        ("/v1/volume/csi", "resource not found"),
        ("/v1/node", "resource not found"),
        ("/v1/volume/csi/v/x", "resource not found"),
        ("/v1/volume/csi/v/x/y", "resource not found"),
        ("/v1/volume/csi/v/create/y", "resource not found"),
        ("/v1/plugin/csi/p/x", "resource not found"),
        ("/v1/node/n/x", "resource not found"),
    ],
)
async def test_an_unknown_path_is_404(api: Api, path: str, text: str) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        status, headers, answer = await api.do(method, path)
        assert (status, answer) == (404, text)
        assert ("Content-Type" in headers) == bool(text)


@pytest.mark.parametrize(
    "path", ["/v1/volume/csi/{id}", "/v1/volume/csi/%7Bid%7D", "/v1/node/{id}", "/v1/plugin/csi/%00"]
)
async def test_no_id_is_special(api: Api, path: str) -> None:
    status, _, text = await api.get(path)
    assert (status, text.endswith(" not found")) == (404, True)


@pytest.mark.parametrize("path", ["/v1/volume/csi/%FF", "/v1/node/a%C3", "/v1/volumes?type=csi&prefix=%FF"])
async def test_what_is_not_utf8_in_a_path_or_query_is_refused(api: Api, path: str) -> None:
    status, _, text = await api.get(path)
    assert (status, text.endswith("is not UTF-8")) == (400, True)


async def test_pretty_indents_by_four_and_ends_the_line(api: Api) -> None:
    await prepare(api)
    for path, separator in (("/v1/volume/csi/v", "?"), ("/v1/volumes?type=csi", "&"), ("/v1/regions", "?")):
        _, _, value = await api.get(path)
        for query, pretty in (("pretty", True), ("pretty=1", True), ("pretty=false", True), ("pretty=0", False)):
            async with api.request("GET", f"{path}{separator}{query}") as response:
                layout: Any = {"indent": 4} if pretty else {"separators": (",", ":")}
                assert await response.text() == json.dumps(value, **layout) + ("\n" if pretty else "")


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("GZIP", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
    ],
)
async def test_a_large_answer_is_packed_for_who_takes_it(api: Api, accept: str, packed: bool) -> None:
    await api.report_node()
    await api.register(*(f"v{number}" for number in range(300)))
    for path in ("/v1/volumes?type=csi", "/v1/volumes?type=csi&pretty", DOCUMENT):
        async with api.session.get(api.url + path, headers={"Accept-Encoding": accept}) as response:
            assert response.headers.get("Content-Encoding") == ("gzip" if packed else None)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert await response.json()
    async with api.session.get(api.url + "/v1/regions", headers={"Accept-Encoding": accept}) as response:
        assert "Content-Encoding" not in response.headers


async def test_a_packed_answer_is_the_same_answer(api: Api) -> None:
    await prepare(api)
    host, port = api.url.removeprefix("http://").split(":")
    async with api.session.get(api.url + DOCUMENT, headers={"Accept-Encoding": "identity"}) as response:
        plain = await response.read()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {DOCUMENT} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
    head, _, packed = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert f"Content-Length: {len(packed)}".encode() in head
    assert gzip.decompress(packed) == plain


async def test_the_served_document_is_valid_and_names_every_route_and_status(api: Api) -> None:
    _, _, document = await api.get(DOCUMENT)
    validate(document)
    served = {(route.path, method.lower()): endpoint for route, method, endpoint in ALL_OPERATIONS}
    documented = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert documented.keys() == served.keys() | {(DOCUMENT, "get")}
    for key, endpoint in served.items():
        assert set(documented[key]["responses"]) == {str(status) for status in statuses(endpoint)}
        assert ("requestBody" in documented[key]) == (endpoint.body is not None)
    names = [operation["operationId"] for operation in documented.values()]
    assert len(names) == len(set(names))


def test_every_endpoint_is_of_a_kind_that_has_a_pipeline() -> None:
    assert all(isinstance(endpoint, Read | Write | Local | Operation) for _, _, endpoint in ALL_OPERATIONS)
