"""Who sees what over a real socket: lists and searches leave out what the token may not see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http.conftest import Api, stub, volume
from tests.http.guarded import (
    DENIED,
    EVERYWHERE,
    NODE_SECRET,
    NOT_FOUND,
    SEES_PROD,
    VOLUMES,
    client,
    ids,
    served,
    with_token,
)
from volstore.http.server.declaration import Endpoint, Operation, Write
from volstore.http.server.router import API


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async for one in served():
        yield one


# Who sees what.


async def test_a_list_of_all_namespaces_leaves_out_what_the_token_may_not_see(api: Api) -> None:
    assert await ids(api, EVERYWHERE) == ["of-default", "of-prod", "of-test"]
    secret = client(api, 1, SEES_PROD)
    assert await ids(api, EVERYWHERE, secret) == ["of-prod"]
    assert await ids(api, "/v1/allocations?namespace=*", secret) == ["alloc-prod"]
    assert [one["Name"] for one in (await api.get("/v1/namespaces", **with_token(secret)))[2]] == ["prod"]
    for path in (VOLUMES, "/v1/allocations", "/v1/allocation/alloc-default", "/v1/namespace/test", "/v1/nodes"):
        status, _, text = await api.get(path, **with_token(secret))
        assert (status, text) == DENIED, path
    assert (await api.get("/v1/allocation/alloc-prod", **with_token(secret)))[0] == 200


async def test_pages_of_a_list_leave_out_what_the_token_may_not_see(api: Api) -> None:
    secret = client(api, 1, 'namespace "*t" { policy = "read" }')
    seen, token = [], ""
    while True:
        path = f"{EVERYWHERE}&per_page=1" + (f"&next_token={token}" if token else "")
        _, headers, listed = await api.get(path, **with_token(secret))
        seen += [one["ID"] for one in listed]
        token = headers.get("X-Nomad-NextToken", "")
        if not token:
            break
    assert seen == ["of-default", "of-test"]


async def test_a_kept_list_is_not_shown_to_another(api: Api) -> None:
    first, second = client(api, 1, SEES_PROD), client(api, 2, 'namespace "test" { policy = "read" }')
    for _ in range(2):
        assert await ids(api, EVERYWHERE, first) == ["of-prod"]
        assert await ids(api, EVERYWHERE, second) == ["of-test"]
        assert await ids(api, EVERYWHERE) == ["of-default", "of-prod", "of-test"]


@pytest.mark.parametrize(
    ("rules", "context", "found"),
    [
        ('namespace "prod" { policy = "read" }', "all", {"allocs": ["alloc-prod"], "volumes": ["of-prod"]}),
        ('node { policy = "read" }', "all", {"nodes": ["n1"]}),
        ('node { policy = "read" }', "volumes", {}),
        (SEES_PROD + ' plugin { policy = "list" }', "plugins", {"plugins": ["plugin-id1"]}),
        ('namespace "prod" { capabilities = ["read-job"] }', "all", {"allocs": ["alloc-prod"]}),
    ],
)
async def test_a_search_leaves_out_the_kinds_that_the_token_may_not_see(
    api: Api, rules: str, context: str, found: dict[str, list[str]]
) -> None:
    secret = client(api, 1, rules)
    for namespace in ("prod", "*"):
        path = f"/v1/search?namespace={namespace}"
        status, _, answer = await api.do("PUT", path, json={"Context": context}, **with_token(secret))
        assert status == 200, answer
        assert answer["Matches"] == found


async def test_policies_are_read_by_those_who_have_them(api: Api) -> None:
    secret = client(api, 1, SEES_PROD)
    client(api, 2, SEES_PROD)
    _, _, listed = await api.get("/v1/acl/policies", **with_token(secret))
    assert [one["Name"] for one in listed] == ["p-00000001"]
    assert (await api.get("/v1/acl/policy/p-00000001", **with_token(secret)))[0] == 200
    status, _, text = await api.get("/v1/acl/policy/p-00000002", **with_token(secret))
    assert (status, text) == DENIED


async def test_a_nodes_secret_reads_volumes_and_claims_for_its_own_allocations(api: Api) -> None:
    node = with_token(NODE_SECRET)
    status, _, read = await api.get("/v1/volume/csi/of-prod?namespace=prod", **node)
    assert (status, read["Secrets"]) == (200, None)
    claim = {"AllocationID": "alloc-prod", "Mode": "write"}
    status, _, claimed = await api.do("PUT", "/v1/volume/csi/of-prod/claim?namespace=prod", json=claim, **node)
    assert (status, claimed["Secrets"]) == (200, {"key": "hush"})
    assert (await api.do("PUT", "/v1/node/n1/heartbeat", **node))[0] == 200
    for method, path in (("GET", VOLUMES), ("GET", "/v1/nodes"), ("DELETE", "/v1/volume/csi/of-prod?namespace=prod")):
        status, _, text = await api.do(method, path, **node)
        assert (status, text) == DENIED, path
    assert (await api.do("PUT", "/v1/node/n2", json={"Name": "n2"}, **node))[0] == 403


async def test_a_node_reports_again_with_the_secret_in_its_report_alone(api: Api) -> None:
    report = {"Name": "n1", "Status": "ready", "SecretID": NODE_SECRET}
    assert (await api.do("PUT", "/v1/node/n1", json=report))[0] == 200
    status, _, text = await api.do("PUT", "/v1/node/n1", json={**report, "SecretID": "another"})
    assert (status, text) == DENIED
    status, _, text = await api.do("PUT", "/v1/node/n9", json=report)
    assert (status, text) == DENIED


BODIES: dict[str, Any] = {
    "registerVolumes": {"Volumes": [volume("of-default")]},
    "claimVolume": {"AllocationID": "alloc-default", "Mode": "write"},
    "reportNode": {"Name": "n1", "SecretID": "another", "CSINodePlugins": {"plugin-id1": {"Healthy": True}}},
    "setNodeStatus": {"Status": "down"},
    "reportAllocation": stub("x"),
    "reportAllocations": {"Allocations": [stub("x")]},
    "putNamespace": {"Name": "x"},
    "putNamedNamespace": {"Name": "x"},
    "putAclPolicy": {"Name": "x", "Rules": 'node { policy = "write" }'},
    "makeAclToken": {"Type": "management"},
    "changeAclToken": {"AccessorID": "x", "Type": "management"},
}
WRITES = [
    (method, route.path.replace("csi/{id}", "csi/of-default").replace("node/{id}", "node/n1").replace("{id}", "x"), one)
    for route in API
    for method, one in route.endpoints.items()
    if isinstance(one, Write | Operation) and one.name != "bootstrapAcl"
]


@pytest.mark.parametrize(("method", "path", "endpoint"), WRITES, ids=lambda value: getattr(value, "name", str(value)))
async def test_whoever_has_no_right_is_refused_every_write_and_changes_nothing(
    api: Api, method: str, path: str, endpoint: Endpoint
) -> None:
    reader = client(api, 1, 'namespace "*" { policy = "read" } plugin { policy = "read" } node { policy = "read" }')
    query = "?node=n1" if endpoint.name == "detachVolume" else ""
    tables = [table.sum for table in api.registry.state._tables()]
    for options, refusal in (({}, DENIED), (with_token("unknown"), NOT_FOUND), (with_token(reader), DENIED)):
        status, _, text = await api.do(method, path + query, json=BODIES.get(endpoint.name), **options)
        assert (status, text) == refusal
        assert [table.sum for table in api.registry.state._tables()] == tables
