"""What a node says of itself and its cluster has the shapes that the nomad commands read."""

from __future__ import annotations

import json

from tests.http.conftest import Api


async def test_leader_peers_and_members_fit_together(api: Api) -> None:
    _, _, leader = await api.get("/v1/status/leader")
    _, _, peers = await api.get("/v1/status/peers")
    _, _, members = await api.get("/v1/agent/members")
    (member,) = members["Members"]
    assert peers == [leader] == [f"{member['Tags']['rpc_addr']}:{member['Tags']['port']}"]
    assert (members["ServerName"], members["ServerRegion"], members["ServerDC"]) == ("server1", "global", "dc1")
    assert (member["Name"], member["Status"], member["Tags"]["role"]) == ("server1.global", "alive", "nomad")
    _, _, own = await api.get("/v1/agent/self")
    assert own["member"] == member
    assert own["config"]["Version"]["Version"] == "0.1.0"
    assert own["stats"] == {"raft": {"term": "2"}}


async def test_health_is_the_servers(api: Api) -> None:
    for path in ("/v1/agent/health", "/v1/agent/health?type=server"):
        assert (await api.get(path))[::2] == (200, {"server": {"message": "ok", "ok": True}})
    status, _, text = await api.get("/v1/agent/health?type=client")
    assert (status, json.loads(text)) == (503, {"client": {"ok": False, "message": "client not enabled"}})
    assert (await api.get("/v1/agent/health?type=x"))[0] == 400


async def test_there_is_one_namespace_and_one_region(api: Api) -> None:
    _, headers, (namespace,) = await api.get("/v1/namespaces")
    assert (namespace["Name"], headers["X-Nomad-KnownLeader"]) == ("default", "true")
    assert (await api.get("/v1/regions"))[2] == ["global"]


async def test_a_search_finds_by_prefix_and_says_where_there_is_more(api: Api) -> None:
    await api.report_node("volume-node")
    await api.register(*(f"volume-{number:02}" for number in range(21)), "other")
    _, headers, found = await api.do("POST", "/v1/search", json={"Prefix": "volume", "Context": "all"})
    assert found["Matches"] == {
        "allocs": None,
        "nodes": ["volume-node"],
        "plugins": None,
        "volumes": [f"volume-{number:02}" for number in range(20)],
    }
    assert found["Truncations"] == {"allocs": False, "nodes": False, "plugins": False, "volumes": True}
    assert (str(found["Index"]), found["KnownLeader"], found["LastContact"]) == (headers["X-Nomad-Index"], True, 0)
    _, _, found = await api.do("PUT", "/v1/search", json={"Prefix": "plug", "Context": "plugins"})
    assert found["Matches"] == {"plugins": ["plugin-id1"]}
    _, _, found = await api.do("PUT", "/v1/search?namespace=nope", json={"Context": "volumes"})
    assert found["Matches"] == {"volumes": None}
    _, _, found = await api.do("PUT", "/v1/search?namespace=*", json={"Context": "volumes", "Prefix": "other"})
    assert found["Matches"] == {"volumes": ["other"]}
    await api.allocate("run-1")
    _, _, found = await api.do("PUT", "/v1/search", json={"Context": "allocs", "Prefix": "run"})
    assert found["Matches"] == {"allocs": ["run-1"]}


async def test_a_search_in_an_unknown_context_names_the_known_ones(api: Api) -> None:
    status, _, text = await api.do("PUT", "/v1/search", json={"Context": "nonsense"})
    assert status == 400
    assert text == "context must be one of [allocs nodes plugins volumes] or 'all' for all contexts; got \"nonsense\""
