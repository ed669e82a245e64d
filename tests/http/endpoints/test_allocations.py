"""Allocations over HTTP: stubs as Nomad lists them, checked against Go's types, and given back field by field."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.http.conftest import Api, stub
from tests.process.agents import until
from tests.replay import REFERENCE
from volstore.core.queries import VolumeQuery

EVENT = {
    "Type": "Started",
    "Time": 1495755675956923000,
    "Message": "",
    "DisplayMessage": "Task started by client",
    "Details": {"a": "b"},
    "FailsTask": False,
    "ExitCode": 0,
    "Signal": 0,
    "KillTimeout": 5000000000,
    "DiskLimit": 0,
    "TaskSignal": "",
}
WHOLE: dict[str, Any] = {
    **stub("a1"),
    "EvalID": "5456bd7a",
    "Name": "example.cache[0]",
    "Namespace": "default",
    "JobType": "service",
    "JobVersion": 3,
    "TaskGroup": "cache",
    "DesiredDescription": "",
    "ClientDescription": "Tasks are running",
    "PreviousAllocation": "516d2753",
    "RescheduleTracker": {"Events": [{"PrevAllocID": "516d2753", "PrevNodeID": "9230cd3b", "Delay": 5000000000}]},
    "DeploymentStatus": {"Healthy": True, "Timestamp": "2021-05-01T10:00:00.123456789Z", "Canary": False},
    "PreemptedAllocations": ["x"],
    "TaskStates": {
        "redis": {
            "State": "running",
            "Failed": False,
            "Restarts": 0,
            "StartedAt": "2017-05-25T23:41:23.240184101Z",
            "FinishedAt": None,
            "Events": [EVENT],
        }
    },
    "CreateTime": 1495747371794276400,
    "ModifyTime": 1495747371794276400,
    "OfANewerNomad": {"kept": [1, 2.5, None, True, {"deep": "ö"}], "large": 2**64 - 1},
}


def recorded() -> list[dict[str, Any]]:
    lines = (REFERENCE / "claims.jsonl").read_text().splitlines()
    return [step["stub"] for step in map(json.loads, lines) if step["step"] == "allocation"]


async def put(api: Api, body: Any, id: str = "a1") -> tuple[int, Any]:
    status, _, answer = await api.do("PUT", f"/v1/allocation/{id}", json=body)
    return status, answer


@pytest.mark.parametrize("given", [WHOLE, *recorded()], ids=lambda given: given["ID"])
async def test_a_stub_is_given_back_field_by_field_under_our_indexes(api: Api, given: dict[str, Any]) -> None:
    assert await put(api, given, given["ID"]) == (200, "")
    index = api.registry.state.index
    expected = {**given, "CreateIndex": index, "ModifyIndex": index}
    assert (await api.get(f"/v1/allocation/{given['ID']}"))[2] == expected
    assert (await api.get("/v1/allocations"))[2] == [expected]
    await api.report_node(given["NodeID"])
    await api.register("v")
    await api.claim("v", given["ID"])
    assert (await api.get("/v1/volume/csi/v"))[2]["Allocations"] == [expected]


async def test_a_stub_comes_flat_or_named_and_the_path_fills_its_id(api: Api) -> None:
    without_id = {key: value for key, value in stub("a1").items() if key != "ID"}
    for body in (stub("a1"), {"Allocation": stub("a1")}, without_id, {"Allocation": without_id}):
        assert await put(api, body) == (200, "")
        _, _, found = await api.get("/v1/allocation/a1")
        assert {key: found[key] for key in stub("a1")} == stub("a1")
    status, text = await put(api, stub("other"))
    assert (status, text.startswith('validation: the path names allocation "a1" and the body "other"')) == (400, True)


async def test_many_come_all_or_none(api: Api) -> None:
    bodies = [stub("a1"), stub("a2", JobID="")]
    status, _, text = await api.do("PUT", "/v1/allocations", json={"Allocations": bodies})
    assert (status, text) == (400, "validation: missing job id")
    assert (await api.get("/v1/allocations"))[2] == []
    status, _, _ = await api.do("POST", "/v1/allocations", json={"Allocations": [stub("a2"), stub("a1")]})
    assert status == 200
    assert [row["ID"] for row in (await api.get("/v1/allocations"))[2]] == ["a1", "a2"]
    assert [row["ID"] for row in (await api.get("/v1/allocations?prefix=a2"))[2]] == ["a2"]


async def test_an_allocation_is_in_the_namespace_that_it_names_or_the_querys(api: Api) -> None:
    await api.do("PUT", "/v1/allocation/a1?namespace=q", json=stub("a1", Namespace="own"))
    await api.do("PUT", "/v1/allocation/a2?namespace=q", json=stub("a2"))
    await api.do("PUT", "/v1/allocation/a3", json=stub("a3", Namespace=""))
    _, _, everywhere = await api.get("/v1/allocations?namespace=*")
    assert [row["Namespace"] for row in everywhere] == ["own", "q", "default"]
    assert [row["ID"] for row in (await api.get("/v1/allocations?namespace=q"))[2]] == ["a2"]
    assert (await api.do("PUT", "/v1/allocation/a4?namespace=*", json=stub("a4")))[0] == 400


async def test_an_allocation_is_removed_once(api: Api) -> None:
    await api.allocate("a1")
    assert (await api.do("DELETE", "/v1/allocation/a1"))[::2] == (200, "")
    for method in ("GET", "DELETE"):
        assert (await api.do(method, "/v1/allocation/a1"))[::2] == (404, "alloc not found")
        assert (await api.do(method, "/v1/allocation/"))[::2] == (400, "missing allocation ID")


DEEP: Any = "x"
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ModifyTime": "2021"}, "ModifyTime: expected a number, got a string"),
        ({"modifytime": 1}, "modifytime: Go's clients would take it for ModifyTime"),
        ({"id": "other"}, "id: Go's clients would take it for ID"),
        ({"TaskStates": {"t": {"failed": True}}}, "TaskStates.t.failed: Go's clients would take it for Failed"),
        ({"CreateTime": 1.5}, "CreateTime: expected a whole number"),
        ({"JobVersion": -1}, "JobVersion: -1 is out of range"),
        ({"ModifyIndex": "x"}, "ModifyIndex: expected a number"),
        ({"JobID": 7}, "JobID: expected a string"),
        ({"TaskStates": []}, "TaskStates: expected an object, got an array"),
        ({"TaskStates": {"t": {"StartedAt": ""}}}, "TaskStates.t.StartedAt: expected a time like"),
        ({"TaskStates": {"t": {"FinishedAt": "yesterday"}}}, "TaskStates.t.FinishedAt: expected a time like"),
        ({"TaskStates": {"t": {"Failed": "no"}}}, "TaskStates.t.Failed: expected true or false"),
        ({"TaskStates": {"t": {"Events": [{"Time": "x"}]}}}, "TaskStates.t.Events[0].Time: expected a number"),
        (
            {"TaskStates": {"t": {"Events": [{"Details": {"a": 1}}]}}},
            "TaskStates.t.Events[0].Details.a: ",
        ),
        ({"RescheduleTracker": {"Events": [{"Delay": "5s"}]}}, "RescheduleTracker.Events[0].Delay: expected a number"),
        ({"PreemptedAllocations": [1]}, "PreemptedAllocations[0]: expected a string"),
        ({"Unknown": 2**64}, "Unknown: a number beyond 64 bits"),
        ({"Unknown": {"a": [-(2**63) - 1]}}, "Unknown.a[0]: a number beyond 64 bits"),
        ({"Unknown": DEEP}, "the JSON document is nested too deeply: at most 32 levels"),
        ({"NodeID": "n" * 257}, "NodeID: 257 bytes are too long"),
    ],
)
async def test_what_would_break_a_go_client_or_a_member_is_refused(
    api: Api, changes: dict[str, Any], text: str
) -> None:
    status, answer = await put(api, {**stub("a1"), **changes})
    assert (status, answer[: len(text) + 12]) == (400, f"validation: {text}")
    assert (await api.get("/v1/allocations"))[2] == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF: validation: the body is empty"),
        (b"null", "validation: expected an object, got null"),
        (b'{"Allocation": null}', "validation: Allocation: missing allocation definition"),
        (b'{"ID": "a1", "ID": "a1"}', 'validation: the body: the key "ID" is there twice'),
        (b'{"Unknown": 1e999}', "validation: Unknown: a number beyond what 64 bits can hold"),
        (b'{"Unknown": "\\ud800"}', "validation: Unknown: half a surrogate pair"),
        (b'{"\\ud800": 1}', "validation: "),
        (b"{}", "validation: missing node id, missing job id, missing client status, missing desired status"),
    ],
)
async def test_a_malformed_body_is_refused(api: Api, body: bytes, text: str) -> None:
    status, _, answer = await api.do("PUT", "/v1/allocation/a1", data=body)
    assert (status, answer[: len(text)]) == (400, text)


@pytest.mark.parametrize("body", [{}, {"Allocations": []}, {"Allocations": None}])
async def test_no_allocations_are_a_mistake(api: Api, body: Any) -> None:
    status, _, text = await api.do("PUT", "/v1/allocations", json=body)
    assert (status, text) == (
        400,
        'validation: missing allocation definition: expected {"Allocations": [...]}',
    )


async def test_the_place_of_a_flaw_among_many_is_named(api: Api) -> None:
    body = {"Allocations": [stub("a1"), stub("a2", ModifyTime="x")]}
    status, _, text = await api.do("PUT", "/v1/allocations", json=body)
    assert (status, text) == (400, "validation: Allocations[1].ModifyTime: expected a number, got a string")
    status, _, text = await api.do("PUT", "/v1/allocations", json={"Allocations": [None]})
    assert text == "validation: Allocations[0]: missing allocation definition: expected an object, got null"


async def test_a_plugin_shows_the_allocations_that_run_its_instances_and_its_readers_wake_for_them(api: Api) -> None:
    await api.report_node("node-1", AllocID="a1")
    await api.report_node("node-2", AllocID="unreported")
    path = "/v1/plugin/csi/plugin-id1"
    _, headers, plugin = await api.get(path)
    assert plugin["Allocations"] is None
    volumes = int((await api.get("/v1/volumes?type=csi"))[1]["X-Nomad-Index"])
    waiting = asyncio.create_task(api.get(f"{path}?index={headers['X-Nomad-Index']}&wait=60s"))
    await until(lambda: len(api.registry.watch))
    await api.allocate("a1", "a2")
    _, _, plugin = await waiting
    assert [row["ID"] for row in plugin["Allocations"]] == ["a1"]
    await api.allocate("a1", ClientStatus="failed")
    assert (await api.get(path))[2]["Allocations"][0]["ClientStatus"] == "failed"
    assert not api.registry.state.volumes_moved_since(VolumeQuery(), volumes)
    await api.do("DELETE", "/v1/allocation/a1")
    assert (await api.get(path))[2]["Allocations"] is None


async def test_a_report_of_many_answers_which_were_stored_and_which_not(api: Api) -> None:
    await api.report_node()
    await api.report_node("node-2")
    await api.register("v")
    await api.allocate("a1")
    assert (await api.claim("v", "a1"))[0] == 200
    body = {"Allocations": [stub("a1", NodeID="node-2"), stub("a2")]}
    status, _, answer = await api.do("PUT", "/v1/allocations", json=body)
    assert (status, answer["Stored"], [one["ID"] for one in answer["Refused"]]) == (200, ["a2"], ["a1"])
    assert "its node cannot be updated" in answer["Refused"][0]["Error"]
    status, _, answer = await api.do("PUT", "/v1/allocations", json={"Allocations": [stub("a2")]})
    assert answer == {"Refused": [], "Stored": ["a2"]}
