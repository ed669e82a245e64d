"""Nodes report themselves and their plugins, and plugins are what their nodes make them."""

from __future__ import annotations

from typing import Any

from tests.http.conftest import Api

SECRET = "00000000-aaaa-bbbb-cccc-000000000000"
FINGERPRINT: dict[str, Any] = {
    "PluginID": "p",
    "AllocID": "alloc",
    "Healthy": True,
    "HealthDescription": "well",
    "UpdateTime": "2023-11-14T22:13:20.5+01:00",
    "Provider": "ebs",
    "ProviderVersion": "1.0",
    "RequiresControllerPlugin": True,
    "RequiresTopologies": True,
}
CONTROLLER = {
    **FINGERPRINT,
    "ControllerInfo": {
        "SupportsAttachDetach": True,
        "SupportsListVolumes": False,
        "SupportsListVolumesAttachedNodes": True,
        "SupportsReadOnlyAttach": False,
    },
}
NODE = {
    **FINGERPRINT,
    "NodeInfo": {
        "ID": "inside",
        "MaxVolumes": 64,
        "AccessibleTopology": {"Segments": {"zone": "a"}},
        "RequiresNodeStageVolume": True,
    },
}
REPORT = {
    "ID": "n1",
    "Name": "first",
    "Datacenter": "dc1",
    "NodeClass": "fast",
    "SecretID": SECRET,
    "Status": "ready",
    "CSIControllerPlugins": {"p": CONTROLLER},
    "CSINodePlugins": {"p": NODE},
}


async def test_a_report_is_given_back_field_by_field_but_for_its_secret(api: Api) -> None:
    for body in (REPORT, {"Node": REPORT}):
        status, headers, answer = await api.do("PUT", "/v1/node/n1", json=body)
        assert status == 200
        index = int(headers["X-Nomad-Index"])
        ttl = answer.pop("HeartbeatTTL")
        assert 10e9 <= ttl < 20e9
        assert answer == {"Index": index, "NodeModifyIndex": index, "NumNodes": 1}
        _, _, node = await api.get("/v1/node/n1")
        assert {key: node[key] for key in REPORT} == {**REPORT, "SecretID": ""}
    _, _, (item,) = await api.get("/v1/nodes")
    assert (item["ID"], item["Status"], item["NodeClass"], item["Datacenter"]) == ("n1", "ready", "fast", "dc1")
    assert SECRET not in str((await api.get("/v1/nodes"))[2]) + str(node)


async def test_a_plugin_shows_its_instances_by_node(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json=REPORT)
    _, _, plugin = await api.get("/v1/plugin/csi/p")
    assert plugin["Controllers"] == {"n1": CONTROLLER}
    assert plugin["Nodes"] == {"n1": NODE}
    counts = ("ControllersHealthy", "ControllersExpected", "NodesHealthy", "NodesExpected")
    assert [plugin[count] for count in counts] == [1, 1, 1, 1]
    assert (plugin["Version"], plugin["ControllerRequired"]) == ("1.0", True)
    status, _, answer = await api.do("PUT", "/v1/node/n1/status", json={"Status": "down"})
    assert (status, answer["NumNodes"]) == (200, 1)
    _, _, plugin = await api.get("/v1/plugin/csi/p")
    assert plugin["Nodes"] == {"n1": {**NODE, "Healthy": False}}
    assert [plugin[count] for count in counts] == [0, 1, 0, 1]


async def test_what_a_report_leaves_out_has_the_value_that_clients_expect(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json={"CSINodePlugins": {"p": {}}})
    _, _, plugin = await api.get("/v1/plugin/csi/p")
    seen = plugin["Nodes"]["n1"]
    assert (seen["UpdateTime"], seen["PluginID"], seen["Healthy"]) == ("0001-01-01T00:00:00Z", "p", False)
    assert "NodeInfo" not in seen
    assert (await api.get("/v1/node/n1"))[2]["Status"] == "initializing"


async def test_another_secret_is_refused(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json=REPORT)
    for secret in ("other", "", None):
        status, _, text = await api.do("PUT", "/v1/node/n1", json={**REPORT, "SecretID": secret})
        assert (status, text) == (403, "node secret ID does not match. Not registering node.")


async def test_a_node_leaves_with_its_plugins(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json=REPORT)
    status, headers, answer = await api.do("DELETE", "/v1/node/n1")
    assert (status, answer, headers["X-Nomad-Index"]) == (200, "", "3")
    assert (await api.get("/v1/node/n1"))[::2] == (404, "node not found")
    assert (await api.get("/v1/plugin/csi/p"))[::2] == (404, "plugin not found")
    assert (await api.do("DELETE", "/v1/node/n1"))[::2] == (404, "node not found")
    assert (await api.do("PUT", "/v1/node/n1/status", json={"Status": "down"}))[::2] == (404, "node not found")


async def test_a_thing_without_an_id_is_a_mistake(api: Api) -> None:
    assert (await api.get("/v1/node/"))[::2] == (400, "missing node ID")
    assert (await api.do("PUT", "/v1/node/", json=REPORT))[::2] == (400, "missing node ID")
    assert (await api.get("/v1/plugin/csi/"))[::2] == (400, "missing plugin ID")
    assert (await api.get("/v1/volume/csi/"))[::2] == (400, "missing volume ID")


async def test_nodes_are_listed_by_prefix(api: Api) -> None:
    for id in ("b1", "a1", "a2"):
        await api.report_node(id)
    assert [node["ID"] for node in (await api.get("/v1/nodes"))[2]] == ["a1", "a2", "b1"]
    assert [node["ID"] for node in (await api.get("/v1/nodes?prefix=a"))[2]] == ["a1", "a2"]
    assert (await api.get("/v1/nodes?prefix=zz"))[2] == []


async def test_a_heartbeat_is_answered_as_a_report_is_and_writes_nothing(api: Api) -> None:
    _, _, reported = await api.do("PUT", "/v1/node/n1", json=REPORT)
    for method in ("PUT", "POST"):
        status, headers, answer = await api.do(method, "/v1/node/n1/heartbeat")
        assert (status, answer) == (200, reported)
        assert "X-Nomad-Index" not in headers
    assert api.registry.state.index == reported["Index"]


async def test_a_heartbeat_makes_a_node_ready_that_was_down(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json=REPORT)
    _, _, down = await api.do("PUT", "/v1/node/n1/status", json={"Status": "down"})
    assert down["HeartbeatTTL"] == 0
    status, _, answer = await api.do("PUT", "/v1/node/n1/heartbeat")
    assert (status, answer["NodeModifyIndex"]) == (200, down["Index"] + 1)
    assert (await api.get("/v1/node/n1"))[2]["Status"] == "ready"
    assert (await api.get("/v1/plugin/csi/p"))[2]["NodesHealthy"] == 1


async def test_a_heartbeat_of_an_unknown_node_tells_it_to_report_itself(api: Api) -> None:
    assert (await api.do("PUT", "/v1/node/n1/heartbeat"))[::2] == (
        404,
        "node not found: report it again, with PUT /v1/node/ID",
    )
    assert (await api.do("PUT", "/v1/node//heartbeat"))[::2] == (400, "missing node ID")


async def test_a_heartbeat_without_a_leader_did_not_count(api: Api) -> None:
    await api.do("PUT", "/v1/node/n1", json=REPORT)
    api.registry.cut_off = True
    status, headers, text = await api.do("PUT", "/v1/node/n1/heartbeat")
    assert (status, text, headers["Retry-After"]) == (503, "No cluster leader", "1")
