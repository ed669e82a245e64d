"""Lists, reads, registers and deregisters of volumes, as clients see them."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.conftest import Api, serve, volume

LIST = "/v1/volumes?type=csi"

ITEM = re.findall(
    r"\w+",
    """AccessMode AttachmentMode ControllerRequired ControllersExpected ControllersHealthy CreateIndex CreateTime
    CurrentReaders CurrentWriters ExternalID ID ModifyIndex ModifyTime Name Namespace NodesExpected NodesHealthy
    PluginID Provider ResourceExhausted Schedulable Topologies""",
)
READ = re.findall(
    r"\w+",
    """AccessMode Allocations AttachmentMode Capacity CloneID Context ControllerRequired ControllersExpected
    ControllersHealthy CreateIndex CreateTime ExternalID ID ModifyIndex ModifyTime MountOptions Name Namespace
    NodesExpected NodesHealthy Parameters PastClaims PluginID Provider ProviderVersion ReadAllocs ReadClaims
    RequestedCapabilities RequestedCapacityMax RequestedCapacityMin RequestedTopologies ResourceExhausted Schedulable
    Secrets SnapshotID Topologies Version WriteAllocs WriteClaims""",
)


async def test_items_and_volumes_have_the_union_of_the_documents_and_the_servers_fields(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    _, _, (item,) = await api.get(LIST)
    _, _, read = await api.get("/v1/volume/csi/v")
    assert list(item) == ITEM
    assert list(read) == READ
    assert read["Version"] == read["ProviderVersion"] == "1.0.1"
    assert read["RequestedCapabilities"] == [{"AccessMode": "multi-node-multi-writer", "AttachmentMode": "file-system"}]


async def test_a_register_answers_the_volumes_as_read(api: Api) -> None:
    await api.report_node()
    body = {"Volumes": [volume("b"), volume("a")]}
    status, headers, answer = await api.do("PUT", "/v1/volume/csi/many", json=body)
    assert (status, headers["X-Nomad-Index"], headers["X-Nomad-KnownLeader"]) == (200, "3", "true")
    reads = [(await api.get(f"/v1/volume/csi/{id}"))[2] for id in ("b", "a")]
    facts = {"Index": 3, "KnownLeader": True, "LastContact": 0, "NextToken": ""}
    assert answer == {**facts, "Volumes": reads, "Warnings": ""}


async def test_the_documents_flat_volume_is_registered_by_post_too(api: Api) -> None:
    await api.report_node()
    flat = {key: value for key, value in volume("v").items() if key != "ID"}
    status, _, answer = await api.do("POST", "/v1/volume/csi/v", json={**flat, "Topologies": [{"foo": "bar"}]})
    assert (status, answer["Volumes"][0]["ID"]) == (200, "v")
    assert answer["Volumes"][0]["Topologies"] == [{"foo": "bar"}]


async def test_secrets_and_mount_options_are_never_shown(api: Api) -> None:
    await api.report_node()
    secret = "hunter2-hunter2"
    fields = {"Secrets": {"key": secret}, "MountOptions": {"FSType": "ext4", "MountFlags": [secret]}}
    async with api.request("PUT", "/v1/volume/csi/v", json={"Volumes": [volume("v", **fields)]}) as response:
        texts = [await response.text()]
    for path in ("/v1/volume/csi/v", LIST, "/v1/nodes", "/v1/agent/self"):
        async with api.request("GET", path) as response:
            texts.append(await response.text())
    assert secret not in "".join(texts)
    assert json.loads(texts[1])["Secrets"] is None
    assert json.loads(texts[1])["MountOptions"] == {"FSType": "ext4", "MountFlags": ["[REDACTED]"]}
    stored = api.registry.state.volume("default", "v")
    assert stored is not None
    assert stored.secrets == {"key": secret}


async def test_modern_fields_are_kept_and_given_back(api: Api) -> None:
    await api.report_node()
    modern: dict[str, Any] = {
        "RequestedCapabilities": [
            {"AccessMode": "single-node-writer", "AttachmentMode": "block-device"},
            {"AccessMode": "multi-node-reader-only", "AttachmentMode": "file-system"},
        ],
        "RequestedCapacityMin": 5,
        "RequestedCapacityMax": 2**63 - 1,
        "Capacity": 7,
        "CloneID": "c",
        "RequestedTopologies": {"Required": [{"Segments": {"a": "b"}}], "Preferred": [{"a": "b"}]},
    }
    await api.register("v", **modern, AccessMode="", AttachmentMode="")
    _, _, read = await api.get("/v1/volume/csi/v")
    assert {key: read[key] for key in modern} == modern
    assert read["Topologies"] == modern["RequestedTopologies"]["Required"]
    assert (read["AccessMode"], read["AttachmentMode"]) == ("", "")
    assert read["CreateTime"] == read["ModifyTime"] > 0


async def test_only_the_full_id_finds_or_removes(api: Api) -> None:
    await api.report_node()
    await api.register("volume-id1", "größe")
    assert (await api.get("/v1/volume/csi/volume-id"))[0] == 404
    assert (await api.do("DELETE", "/v1/volume/csi/volume-id"))[::2] == (404, "volume not found: volume-id")
    assert (await api.do("DELETE", "/v1/volume/csi/"))[::2] == (400, "missing volume ID")
    assert (await api.get("/v1/volume/csi/gr%C3%B6%C3%9Fe"))[2]["ID"] == "größe"
    assert (await api.get("/v1/volume/csi%2Fvolume-id1"))[2]["ID"] == "volume-id1"
    assert (await api.get("/v1/volume/csi%2fvolume-id1"))[2]["ID"] == "volume-id1"
    assert api.registry.state.volume_count() == 2
    status, headers, answer = await api.do("DELETE", "/v1/volume/csi/volume-id1?force=false", data=b"whatever")
    assert (status, answer) == (200, "")
    assert "Content-Type" not in headers
    assert headers["X-Nomad-Index"] == str(api.registry.state.index)
    assert (await api.do("DELETE", "/v1/volume/csi/v?force=perhaps"))[0] == 400


async def test_a_volume_of_another_plugin_or_in_conflict_is_refused_with_409(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    status, _, text = await api.do("PUT", "/v1/volume/csi/v", json={"Volumes": [volume("v", ExternalID="other")]})
    assert status == 409
    assert text.startswith("volume exists: v")
    assert "cannot be updated" in text


async def test_what_volstore_does_not_do_says_so_with_501(api: Api) -> None:
    for method, path in (
        ("PUT", "/v1/volume/csi/v/create"),
        ("DELETE", "/v1/volume/csi/v/delete"),
        ("GET", "/v1/volumes/external?plugin_id=p"),
        ("GET", "/v1/volumes/snapshot"),
        ("POST", "/v1/volumes/snapshot"),
        ("DELETE", "/v1/volumes/snapshot"),
    ):
        status, _, text = await api.do(method, path, data=b"x" * 100 if method != "GET" else None)
        assert (status, "does not support creating volumes" in text) == (501, True), path


async def test_a_detach_finds_nothing_to_release_and_says_what_is_missing(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    nothing = "nothing to detach: nothing on node node-1 has a claim on volume v"
    assert (await api.do("DELETE", "/v1/volume/csi/v/detach?node=node-1"))[::2] == (404, nothing)
    assert (await api.do("DELETE", "/v1/volume/csi/w/detach?node=node-1"))[::2] == (404, "volume not found: w")
    assert (await api.do("DELETE", "/v1/volume/csi/v/detach"))[::2] == (400, "detach requires node ID")


async def test_a_list_shows_a_change_at_once_though_whole_answers_are_kept(api: Api) -> None:
    await api.report_node()
    await api.register("a", "b")
    assert [item["NodesHealthy"] for item in (await api.get(LIST))[2]] == [1, 1]
    await api.report_node("node-2")
    assert [item["NodesHealthy"] for item in (await api.get(LIST))[2]] == [2, 2]
    await api.do("DELETE", "/v1/volume/csi/a")
    assert [item["ID"] for item in (await api.get(LIST))[2]] == ["b"]
    before = (await api.get(LIST))[2][0]["ModifyTime"]
    await api.register("b", Secrets={"new": "one"})
    after = (await api.get(LIST))[2][0]["ModifyTime"]
    assert after > before
    api.registry.restore()
    assert [item["ModifyTime"] for item in (await api.get(LIST))[2]] == [after]
    await api.do("DELETE", "/v1/node/node-1")
    await api.do("DELETE", "/v1/node/node-2")
    ((item,)) = (await api.get(LIST))[2]
    assert (item["Schedulable"], item["NodesExpected"], item["Provider"]) == (False, 0, "ebs")


async def test_bad_pages_are_refused(api: Api) -> None:
    for query in ("per_page=x", "per_page=-1", "per_page=1.5", "per_page=99999999999", "per_page=²"):
        status, _, text = await api.get(f"{LIST}&{urllib.parse.quote(query, safe='=')}")
        assert (status, text) == (400, "Expect a number for `per_page` query string parameter"), query
    for query in ("reverse=1", "reverse=TRUE", "reverse=x"):
        assert (await api.get(f"{LIST}&{query}"))[::2] == (
            400,
            "Expect `true` or `false` for `reverse` query string parameter",
        )
    for query in ("stale=1", "stale=maybe", "stale=True"):
        assert (await api.get(f"{LIST}&{query}"))[::2] == (
            400,
            "Expect `true` or `false` for `stale` query string parameter",
        )


async def test_a_token_is_the_key_of_the_first_row_that_was_not_shown_and_is_compared(api: Api) -> None:
    await api.report_node()
    await api.register("a", "b", "c.d", "e")
    _, headers, items = await api.get(f"{LIST}&per_page=2")
    assert ([item["ID"] for item in items], headers["X-Nomad-NextToken"]) == (["a", "b"], "default.c.d")
    _, headers, items = await api.get(f"{LIST}&per_page=2&reverse=true")
    assert ([item["ID"] for item in items], headers["X-Nomad-NextToken"]) == (["e", "c.d"], "default.b")
    for token, forwards, backwards in (
        ("default.c.d", ["c.d", "e"], ["c.d", "b", "a"]),
        ("default.c", ["c.d", "e"], ["b", "a"]),
        ("default", ["a", "b", "c.d", "e"], []),
        ("default.x", [], ["e", "c.d", "b", "a"]),
        ("defaulu.a", [], ["e", "c.d", "b", "a"]),
        ("🙂", [], ["e", "c.d", "b", "a"]),
    ):
        query = f"{LIST}&next_token={urllib.parse.quote(token)}"
        assert [item["ID"] for item in (await api.get(query))[2]] == forwards, token
        assert [item["ID"] for item in (await api.get(f"{query}&reverse=true"))[2]] == backwards, token
    await api.do("DELETE", "/v1/volume/csi/c.d")
    assert [item["ID"] for item in (await api.get(f"{LIST}&next_token=default.c.d"))[2]] == ["e"]


async def test_a_node_filter_lists_what_is_claimed_on_such_nodes_in_pages_too(api: Api) -> None:
    await api.report_node()
    await api.register("a", "b", "c", "d")
    for id, node in (("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "m")):
        await api.allocate(f"alloc-{id}", NodeID=node)
        assert (await api.claim(id, f"alloc-{id}", "write"))[0] == 200
    _, _, items = await api.get(f"{LIST}&node_id=n")
    assert [(item["ID"], item["CurrentWriters"]) for item in items] == [("a", 1), ("b", 1), ("c", 1)]
    _, headers, items = await api.get(f"{LIST}&node_id=n1&per_page=1")
    assert [item["ID"] for item in items] == ["a"]
    _, headers, items = await api.get(f"{LIST}&node_id=n1&per_page=1&next_token={headers['X-Nomad-NextToken']}")
    assert [item["ID"] for item in items] == ["b"]
    assert "X-Nomad-NextToken" not in headers


IDS = st.lists(st.text("abAZ09.-ö", min_size=1, max_size=3).filter(lambda id: id.strip(".")), unique=True, max_size=12)
NAMESPACES = ["*", "default"]
PREFIX = st.text("abA0ö", max_size=1)


def test_pages_one_after_the_other_are_the_whole_list_under_any_filter() -> None:
    """One server for all examples: a server each costs more than the laws."""

    async def walk(api: Api, path: str, size: int) -> list[Any]:
        pages, token = [], ""
        while True:
            _, headers, page = await api.get(
                f"{path}&per_page={size}" + (f"&next_token={urllib.parse.quote(token)}" if token else "")
            )
            assert len(page) <= size
            pages += page
            token = headers.get("X-Nomad-NextToken", "")
            if not token:
                return pages

    async def check(ids: list[str], prefix: str, plugin: str, namespace: str, size: int) -> None:
        async for api in serve():
            for name in ("a-plugin", "b-plugin"):
                await api.report_node(f"node-{name}", plugin=name)
            for number, id in enumerate(ids):
                await api.register_one(id, PluginID="ab"[number % 2] + "-plugin")
            filters = {"prefix": prefix, "plugin_id": plugin, "namespace": namespace}
            path = f"{LIST}&{urllib.parse.urlencode(filters)}"
            _, _, whole = await api.get(path)
            expected = [
                id
                for number, id in enumerate(ids)
                if id.startswith(prefix) and ("ab"[number % 2] + "-plugin").startswith(plugin)
            ]
            assert [item["ID"] for item in whole] == sorted(expected, key=lambda id: id.encode())
            assert await walk(api, path, size) == whole

    @given(
        IDS, PREFIX, st.sampled_from(["", "a", "b-plugin", "c"]), st.sampled_from(["*", "default"]), st.integers(1, 4)
    )
    @settings(max_examples=40, deadline=None)
    def law(ids: list[str], prefix: str, plugin: str, namespace: str, size: int) -> None:
        asyncio.run(check(ids, prefix, plugin, namespace, size))

    law()
