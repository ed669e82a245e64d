"""A node agent's routes: its work and who sees it, its reports, outcomes, fences and drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http.conftest import Api
from tests.http.guarded import DENIED, MANAGEMENT, NODE_SECRET, client, served, waiting, with_token
from volstore.core.attach.commands import PutManagedNode
from volstore.core.model import Node

OTHER_SECRET = "33333333-2222-2222-2222-222222222222"


@pytest.fixture
async def fleet() -> AsyncIterator[Api]:
    """Node n1 with the volume of `default` claimed on it, its controller, and node n2; both have agents."""
    async for api in served():
        for id, secret in (("n1", NODE_SECRET), ("n2", OTHER_SECRET)):
            body = {
                "SecretID": secret,
                "Status": "ready",
                "ManagesVolumes": True,
                "CSINodePlugins": {"plugin-id1": {"Healthy": True, "NodeInfo": {"ID": f"storage-{id}"}}},
                "CSIControllerPlugins": {
                    "plugin-id1": {"Healthy": True, "ControllerInfo": {"SupportsAttachDetach": id == "n1"}}
                },
            }
            status, _, answer = await api.do("PUT", f"/v1/node/{id}", json=body, **with_token(MANAGEMENT))
            assert status == 200, answer
        body = {"AllocationID": "alloc-default", "Mode": "write", "Path": "/srv/v"}
        status, _, answer = await api.do("PUT", "/v1/volume/csi/of-default/claim", json=body, **with_token(NODE_SECRET))
        assert status == 200, answer
        yield api


async def work(api: Api, node_id: str = "n1", secret: str = NODE_SECRET, **query: Any) -> Any:
    path = f"/v1/node/{node_id}/work" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
    status, headers, answer = await api.get(path, **with_token(secret))
    assert status == 200, answer
    assert headers["Cache-Control"] == "no-store"
    return answer


async def put(api: Api, path: str, body: Any, secret: str = NODE_SECRET) -> tuple[int, Any]:
    status, _, answer = await api.do("PUT", path, json=body, **with_token(secret))
    return status, answer


async def test_work_is_all_that_a_node_needs_and_for_it_alone(fleet: Api) -> None:
    found = await work(fleet)
    (one,) = found["Attachments"]
    assert (one["State"], one["AccessMode"], one["Secrets"]) == ("attaching", "single-node-writer", {"key": "hush"})
    assert (one["MountFlags"], one["VolumeContext"], one["PublishContext"]) == ([], {}, {})
    (claim,) = one["Claims"]
    assert claim == {
        "AllocationID": "alloc-default",
        "Namespace": "default",
        "VolumeID": "of-default",
        "Mode": "write",
        "Path": "/srv/v",
        "Released": False,
        "Reported": False,
        "Force": False,
        "JobID": "web",
    }
    (operation,) = found["Operations"]
    assert (operation["Kind"], operation["Attempt"], operation["Secrets"]) == ("attach", 1, {"key": "hush"})
    assert operation["Args"]["node_id"] == "storage-n1"
    assert 80e9 < operation["LeaseNs"] <= 150e9
    assert (await work(fleet, "n2", OTHER_SECRET))["Attachments"] == []
    may_all_but_that = client(fleet, 9, 'node { policy = "write" } operator { policy = "write" }')
    for secret in (OTHER_SECRET, may_all_but_that, ""):
        status, _, text = await fleet.get("/v1/node/n1/work", **with_token(secret))
        assert (status, text) == DENIED


async def test_a_poll_waits_for_the_nodes_own_work(fleet: Api) -> None:
    found = await work(fleet)
    mine = asyncio.create_task(work(fleet, index=found["Index"], wait="20s"))
    await waiting(fleet, 1)
    other = await work(fleet, "n2", OTHER_SECRET)
    others = asyncio.create_task(work(fleet, "n2", OTHER_SECRET, index=other["Index"], wait="20s"))
    await waiting(fleet, 2)
    operation = found["Operations"][0]
    outcome = {"Attempt": 1, "Code": "OK", "Result": {"publish_context": {"device": "/dev/x"}}}
    assert (await put(fleet, f"/v1/operation/{operation['ID']}/outcome", outcome))[0] == 200
    moved = await mine
    assert moved["Attachments"][0]["PublishContext"] == {"device": "/dev/x"}
    assert moved["HeldNs"] > 0
    assert moved["Operations"] == []
    assert not others.done()
    others.cancel()


async def test_an_index_that_the_registry_has_not_reached_is_answered_at_once(fleet: Api) -> None:
    assert (await work(fleet, index=10**6, wait="20s"))["Index"] < 10**6


async def test_a_report_that_says_nothing_new_costs_no_entry(fleet: Api) -> None:
    index = (await work(fleet))["Index"]
    report = {"BootID": "b", "WorkIndex": index, "Attachments": [], "Unexpected": [{"Path": "/x"}]}
    assert (await put(fleet, "/v1/node/n1/attachments", report))[0] == 200
    before = fleet.registry.state.index
    assert await put(fleet, "/v1/node/n1/attachments", report) == (200, {"Index": before})
    assert fleet.registry.state.index == before
    status, _, shown = await fleet.get("/v1/node/n1/volumes", **with_token(MANAGEMENT))
    assert status == 200
    assert shown["Unexpected"][0]["Path"] == "/x"
    assert "hush" not in str(shown)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "validation: Input data was truncated"),
        (b'{"BootID": "b"}', "missing required field `WorkIndex`"),
        (b'{"BootID": "b", "WorkIndex": 1, "Attachments": [{"PluginID": 3}]}', "$.Attachments[0].PluginID"),
        (
            b'{"BootID": "b", "WorkIndex": 1, "Attachments": [{"PluginID": "p", "ExternalID": "e", "Staged": true, '
            b'"Targets": [{"AllocationID": "a", "State": "up"}]}]}',
            'unknown target state "up", one of: waiting, publishing, published, unpublishing',
        ),
    ],
)
async def test_a_malformed_report_is_refused_by_its_place(fleet: Api, body: bytes, text: str) -> None:
    before = fleet.registry.state.index
    status, _, answer = await fleet.do("PUT", "/v1/node/n1/attachments", data=body, **with_token(NODE_SECRET))
    assert status == 400
    assert text in answer
    assert fleet.registry.state.index == before


async def test_a_node_reports_only_itself_and_what_it_was_given(fleet: Api) -> None:
    index = (await work(fleet))["Index"]
    report = {"BootID": "b", "WorkIndex": index}
    assert await put(fleet, "/v1/node/n1/attachments", report, OTHER_SECRET) == DENIED
    operation = (await work(fleet))["Operations"][0]
    outcome = {"Attempt": 1, "Code": "OK"}
    assert await put(fleet, f"/v1/operation/{operation['ID']}/outcome", outcome, OTHER_SECRET) == DENIED
    status, text = await put(fleet, "/v1/operation/op-none/outcome", outcome, OTHER_SECRET)
    assert status == 409
    assert "drop its outcome" in text


async def test_fences_and_drains_are_managements(fleet: Api) -> None:
    writes = client(fleet, 8, 'node { policy = "write" }')
    for method, what in (("PUT", "fence"), ("DELETE", "fence"), ("PUT", "drain"), ("DELETE", "drain")):
        for secret in (NODE_SECRET, writes):
            status, _, text = await fleet.do(method, f"/v1/node/n1/{what}", **with_token(secret))
            assert (status, text) == DENIED
    status, text = await put(fleet, "/v1/node/n1/fence", {"Reason": "off"}, MANAGEMENT)
    assert status == 409
    assert "a fence says that the host is off" in text
    assert (await put(fleet, "/v1/node/n1/fence", {"Reason": "off", "Force": True}, MANAGEMENT))[0] == 200
    found = await work(fleet)
    assert found["Revoked"] == [{"PluginID": "plugin-id1", "ExternalID": ""}]
    assert found["Attachments"][0]["Secrets"] == {}
    assert (await put(fleet, "/v1/node/none/drain", {}, MANAGEMENT))[0] == 404


async def test_a_node_without_an_agent_has_no_work(fleet: Api) -> None:
    fleet.registry.apply(PutManagedNode(Node(id="n3")))
    status, _, _ = await fleet.get("/v1/node/n3/work", **with_token(MANAGEMENT))
    assert status == 200
    status, _, text = await fleet.get("/v1/node/n4/work", **with_token(MANAGEMENT))
    assert status == 404
    assert "none that manages its volumes" in text


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30, -1])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/operation/o1/outcome", '{"Attempt": %d, "Code": "OK"}'),
        ("/v1/node/n1/attachments", '{"BootID": "b", "WorkIndex": %d}'),
    ],
)
async def test_a_number_that_no_command_holds_is_refused(api: Api, path: str, body: str, number: int) -> None:
    """Beyond 64 bits it was answered with 500."""
    status, _, text = await api.do("PUT", path, data=(body % number).encode())
    assert (status, "int" in text) == (400, True), text
