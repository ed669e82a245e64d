"""Tokens, policies and bootstrap over a real socket: what is answered once, and what impostors get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import SETTINGS, Api, serve, volume
from tests.http.guarded import (
    MANAGEMENT,
    NOT_FOUND,
    VOLUMES,
    client,
    make_token,
    served,
    with_token,
)
from volstore.core.acl.commands import PutAclToken
from volstore.http.endpoints.metrics import metrics_route
from volstore.http.endpoints.operator import operator_routes
from volstore.http.server.declaration import Local, Operation, Read, Write
from volstore.http.server.openapi import document_route, statuses
from volstore.http.server.rights import management, nothing
from volstore.http.server.router import API


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async for one in served():
        yield one


def test_what_every_endpoint_needs_is_decided() -> None:
    """Of those that management alone may do, and those that everybody may; those of an operated node are among them."""
    unused: Any = None
    routes = (*API, *operator_routes(unused), metrics_route(lambda: ()), document_route("", API))
    endpoints = [one for route in routes for one in route.endpoints.values()]
    assert {one.name for one in endpoints if one.need is management and not isinstance(one, Write)} == {
        "raftConfiguration",
        "addRaftPeer",
        "removeRaftPeer",
        "transferLeadership",
        "restoreSnapshot",
        "listAclTokens",
    }
    assert {one.name for one in endpoints if one.need is nothing} == {
        # What these show is only what the caller may see.
        "listNamespaces",
        "listAclPolicies",
        # These prove themselves in another way: bootstrapping works once, a token by its own secret.
        "bootstrapAcl",
        "readOwnAclToken",
        "leader",
        "peers",
        "regions",
        "health",
        "live",
        "ready",
        "leads",
        "openapi",
        # These are refused for everybody.
        "createVolume",
        "deleteVolume",
        "listExternalVolumes",
        "listSnapshots",
        "createSnapshot",
        "deleteSnapshot",
    }


@pytest.mark.parametrize(("kind", "member"), [(Read, "ask"), (Local, "reply"), (Operation, "reply")])
def test_an_endpoint_without_a_need_can_not_be_declared(kind: Any, member: str) -> None:
    with pytest.raises(TypeError, match="'need'"):
        kind(name="x", summary="x", **{member: None})


# Tokens.


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Nomad-Token": MANAGEMENT},
        {"X-Nomad-Token": f" {MANAGEMENT} "},
        {"Authorization": f"Bearer {MANAGEMENT}"},
        {"Authorization": f"bearer  {MANAGEMENT}"},
        {"X-Nomad-Token": MANAGEMENT, "Authorization": "Bearer other"},
        {"X-Nomad-Token": "", "Authorization": f"Bearer {MANAGEMENT}"},
    ],
)
async def test_a_token_is_taken_from_either_header(api: Api, headers: dict[str, str]) -> None:
    assert (await api.get(VOLUMES, headers=headers))[0] == 200


HOSTILE = (
    "00000000-0000-0000-0000-000000000000",
    MANAGEMENT[:-1],
    MANAGEMENT + "1",
    MANAGEMENT.upper().replace("1", "１"),
    "not-a-uuid",
    "' OR 1=1 --",
    "../../etc/passwd",
    "%00",
    "*",
    "anonymous",
    "accessor-of-11111111",
    sha256(MANAGEMENT.encode()).hexdigest(),
    "é" * 100,
    "\udcff\udc80",
    "x" * 8000,
)


@pytest.mark.parametrize("token", HOSTILE, ids=range(len(HOSTILE)))
async def test_whatever_is_no_token_is_refused_with_one_text(api: Api, token: str) -> None:
    raw = token.encode("utf-8", "surrogateescape")
    host, port = api.url.removeprefix("http://").split(":")
    for header in (b"X-Nomad-Token: ", b"Authorization: Bearer "):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /v1/volumes?type=csi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + raw + b"\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\nACL token not found")
    assert (await api.get(VOLUMES, **with_token(MANAGEMENT)))[0] == 200


async def test_a_token_in_the_query_or_under_an_accessor_is_none(api: Api) -> None:
    status, _, text = await api.get(f"{VOLUMES}&token={MANAGEMENT}&X-Nomad-Token={MANAGEMENT}")
    assert (status, 'the query parameter "X-Nomad-Token", "token" means nothing here' in text) == (400, True)
    assert MANAGEMENT not in text


async def test_an_expired_token_is_not_found_though_nothing_is_written_any_more(api: Api) -> None:
    secret = "33333333-3333-3333-3333-333333333333"
    accessor = make_token(api, secret, 'namespace "default" { policy = "read" }', ttl=1)
    status, _, text = await api.get(VOLUMES, **with_token(secret))
    assert (status, text) == NOT_FOUND
    assert (await api.get(f"/v1/acl/token/{accessor}", **with_token(MANAGEMENT)))[0] == 404
    assert accessor not in json.dumps((await api.get("/v1/acl/tokens", **with_token(MANAGEMENT)))[2])


async def test_a_secret_is_in_the_answer_to_its_maker_and_in_no_other(api: Api) -> None:
    body = {"Name": "x", "Type": "client", "Policies": ["p"], "SecretID": MANAGEMENT}
    status, _, made = await api.do("PUT", "/v1/acl/token", json=body, **with_token(MANAGEMENT))
    assert status == 200
    assert made["SecretID"] not in ("", MANAGEMENT)
    for path in ("/v1/acl/tokens", f"/v1/acl/token/{made['AccessorID']}", "/v1/acl/token/self"):
        text = json.dumps((await api.get(path, **with_token(made["SecretID"] if "self" in path else MANAGEMENT)))[2])
        assert made["SecretID"] not in text
        assert "SecretID" not in text
    change = {"AccessorID": made["AccessorID"], "Name": "y", "Type": "client", "Policies": ["p"]}
    _, _, changed = await api.do("POST", f"/v1/acl/token/{made['AccessorID']}", json=change, **with_token(MANAGEMENT))
    assert (changed["Name"], "SecretID" in changed) == ("y", False)
    assert (await api.get("/v1/acl/token/self", **with_token(made["SecretID"])))[2]["Name"] == "y"


async def test_a_repeat_under_a_key_makes_no_second_token_and_shows_no_secret(api: Api) -> None:
    options = {"headers": {"X-Nomad-Token": MANAGEMENT, "Idempotency-Key": "k"}}
    body = {"Name": "x", "Type": "client", "Policies": ["p"]}
    _, first_headers, first = await api.do("PUT", "/v1/acl/token", json=body, **options)
    count = len(api.registry.state.access.tokens)
    status, headers, again = await api.do("PUT", "/v1/acl/token", json=body, **options)
    assert (status, headers["X-Nomad-Index"]) == (200, first_headers["X-Nomad-Index"])
    assert again == {name: value for name, value in first.items() if name != "SecretID"}
    assert len(api.registry.state.access.tokens) == count


async def test_one_callers_key_is_not_anothers(api: Api) -> None:
    rules = 'namespace "default" { policy = "write" }\nplugin { policy = "read" }'
    for secret in (MANAGEMENT, client(api, 1, rules)):
        body = {"Volumes": [volume("v" + secret[:2], ExternalID="x")]}
        options = {"headers": {"X-Nomad-Token": secret, "Idempotency-Key": "same"}}
        status, _, answer = await api.do("PUT", f"/v1/volume/csi/v{secret[:2]}", json=body, **options)
        assert status == 200, answer


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body is empty"),
        (b"[]", "expected an object"),
        (b'{"Type":"client","Policies":"p"}', "Policies: expected an array"),
        (b'{"Type":"client","Policies":[1]}', "Policies[0]: expected a string"),
        (b'{"Type":"client","Policies":["a\\nb"]}', "Policies[0]: control character"),
        (b'{"Type":"client","Policies":["p"],"ExpirationTTL":"soon"}', "ExpirationTTL: 'soon' is not a duration"),
        (b'{"Type":"client","Policies":["p"],"ExpirationTTL":-1}', "ExpirationTTL: expected a duration"),
        (b'{"Type":"client","Policies":["p"],"ExpirationTTL":"2000000h"}', "at most 100 years"),
        (b'{"Type":"client","Policies":["p"],"Global":"yes"}', "Global: expected true or false"),
        (b'{"Type":"client","Policies":[' + b'"p",' * 256 + b'"p"]}', "a token has at most 256 policies"),
        (b'{"Type":' + b"[" * 100_000, "nested too deeply"),
    ],
)
async def test_a_malformed_token_is_refused_and_nothing_made(api: Api, body: bytes, error: str) -> None:
    index = api.registry.state.index
    status, _, text = await api.do("PUT", "/v1/acl/token", data=body, **with_token(MANAGEMENT))
    assert (status, error in text) == (400, True), text
    assert api.registry.state.index == index


# Bootstrap.


@pytest.mark.parametrize("content", ["", "x", "-1", "999999", "½", "7" * 30, "7" * 5000])
async def test_a_reset_file_that_names_no_right_index_resets_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "acl-bootstrap-reset"
    async for api in serve(replace(SETTINGS, acl_enabled=True, bootstrap_reset=file)):
        assert (await api.do("POST", "/v1/acl/bootstrap"))[0] == 200
        file.write_text(content, encoding="utf-8")
        status, _, text = await api.do("PUT", "/v1/acl/bootstrap")
        assert (status, "ACL bootstrap already done" in text) == (400, True)


async def test_with_access_control_off_its_routes_say_so_and_change_nothing() -> None:
    async for api in serve():
        for route in API:
            if route.path.startswith("/v1/acl"):
                for method in route.endpoints:
                    status, _, text = await api.do(method, route.path.replace("{id}", "x"), json={})
                    assert (status, text) == (400, "ACL support disabled: start the agents with --acl-enabled")
        assert api.registry.state.index == 1


async def test_every_operation_of_access_control_answers_as_documented(api: Api) -> None:
    bodies = {
        "putAclPolicy": {"Name": "x", "Rules": 'agent { policy = "read" }'},
        "makeAclToken": {"Type": "management"},
        "changeAclToken": {"AccessorID": "x", "Type": "management"},
    }
    order = {"PUT": 0, "POST": 1, "GET": 2, "DELETE": 3}
    api.registry.apply(PutAclToken("x", b"hash", "x", "management"))
    for route in API:
        if not route.path.startswith("/v1/acl"):
            continue
        for method, endpoint in sorted(route.endpoints.items(), key=lambda one: order[one[0]]):
            path, options = route.path.replace("{id}", "x"), with_token(MANAGEMENT)
            async with api.request(method, path, json=bodies.get(endpoint.name), **options) as response:
                text = await response.text()
                if endpoint.name == "bootstrapAcl" and method == "POST":
                    assert (response.status, 400 in statuses(endpoint)) == (400, True)
                    continue
                assert response.status == 200, (path, text)
                fresh = ["X-Nomad-" + name in response.headers for name in ("Index", "KnownLeader", "LastContact")]
                assert fresh == ([True] * 3 if isinstance(endpoint, Read) else [True, False, False])
                assert (text == "") == (endpoint.answer is None)
