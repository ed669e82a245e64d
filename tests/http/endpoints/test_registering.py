"""Registering as today's Nomad: namespaces of bodies, what is warned of, who may, and the modes in use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http.conftest import Api, volume
from tests.http.guarded import DENIED, client, served, with_token
from volstore.core.acl.commands import PutNamespace

TO_WRITE_PROD = 'namespace "prod" { capabilities = ["csi-write-volume", "csi-read-volume"] } plugin { policy = "read" }'


@pytest.fixture
async def guarded() -> AsyncIterator[Api]:
    async for api in served():
        yield api


async def put(api: Api, *volumes: dict[str, Any], path: str = "/v1/volumes", **options: Any) -> tuple[int, Any]:
    status, _, answer = await api.do("PUT", path, json={"Volumes": volumes}, **options)
    return status, answer


async def test_the_namespace_in_a_body_wins_and_otherwise_the_requests_counts(api: Api) -> None:
    await api.report_node()
    for name in ("prod", "test"):
        api.registry.apply(PutNamespace(name))
    given = volume("v", Namespace="prod", ExternalID="")
    path = "/v1/volume/csi/v?namespace=test"
    for body in ({"Volumes": [given], "Namespace": "", "Region": "", "SecretID": ""}, given):
        status, _, answer = await api.do("PUT", path, json=body)
        assert (status, answer["Volumes"][0]["Namespace"]) == (200, "prod")
    assert (await put(api, volume("w", Namespace=""), path="/v1/volume/csi/w?namespace=test"))[0] == 200
    for namespace, ids in (("default", []), ("prod", ["v"]), ("test", ["w"])):
        _, _, items = await api.get(f"/v1/volumes?type=csi&namespace={namespace}")
        assert [item["ID"] for item in items] == ids
    status, text = await put(api, volume("v", Namespace="none"))
    assert (status, text[:42]) == (400, "volume v is in nonexistent namespace none:")


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_the_lists_path_registers_volumes_of_several_namespaces_all_or_none(api: Api, method: str) -> None:
    await api.report_node()
    api.registry.apply(PutNamespace("prod"))
    both = [volume("a"), volume("a", Namespace="prod", ExternalID="b")]
    status, _, answer = await api.do(method, "/v1/volumes", json={"Volumes": [*both, volume("..")]})
    assert (status, api.registry.state.volume_count()) == (400, 0)
    status, _, answer = await api.do(method, "/v1/volumes", json={"Volumes": both})
    assert (status, [row["Namespace"] for row in answer["Volumes"]]) == (200, ["default", "prod"])


async def test_who_writes_in_one_namespace_registers_there_whatever_the_request_says(guarded: Api) -> None:
    token = with_token(client(guarded, 1, TO_WRITE_PROD))
    count = guarded.registry.state.volume_count()
    for path in ("/v1/volume/csi/new", "/v1/volume/csi/new?namespace=prod"):
        assert (await put(guarded, volume("new", Namespace="prod"), path=path, **token))[0] == 200
        assert await put(guarded, volume("new", Namespace="test"), path=path, **token) == DENIED
    assert await put(guarded, volume("new"), path="/v1/volume/csi/new", **token) == DENIED
    assert await put(guarded, volume("x", Namespace="prod"), volume("x"), **token) == DENIED
    assert guarded.registry.state.volume_count() == count + 1


async def test_who_writes_nowhere_is_refused_before_the_body(guarded: Api) -> None:
    reader = 'namespace "*" { policy = "read" } plugin { policy = "read" }'
    token = with_token(client(guarded, 2, reader))
    for path in ("/v1/volumes", "/v1/volume/csi/new"):
        status, _, text = await guarded.do("PUT", path, data=b"{", **token)
        assert (status, text) == DENIED


async def test_what_a_user_should_know_is_warned_of(api: Api) -> None:
    await api.report_node()
    assert (await put(api, volume("v")))[1]["Warnings"] == ""
    request = {"Required": [{"Segments": {"zone": "a"}}]}
    mode = {"AccessMode": "single-node-reader", "AttachmentMode": "file-system"}
    _, answer = await put(api, volume("w", ExternalID="v", RequestedCapabilities=[mode]))
    assert answer["Warnings"] == (
        '2 warning(s):\n\n* volume "w": volume "v" of namespace "default" of the same plugin has the external ID "v" '
        "too: two writers of one disk destroy each other's data, and claims on one volume don't count for the other\n"
        '* volume "w": access mode "single-node-reader" is none of CSI\'s, and is read as "single-node-reader-only"'
    )
    _, answer = await put(api, volume("v", ExternalID="", RequestedTopologies=request))
    assert '* volume "v": its topology request is ignored: a volume that exists stays where' in answer["Warnings"]
    await api.report_node(Healthy=False)
    _, answer = await put(api, volume("x"))
    assert answer["Warnings"] == (
        '1 warning(s):\n\n* volume "x": nothing of plugin "plugin-id1" is healthy yet, so it can\'t be claimed until '
        "that changes"
    )


async def test_a_volume_in_a_namespace_that_the_caller_may_not_see_is_not_named(guarded: Api) -> None:
    await put(guarded, volume("hidden", ExternalID="disk"), **with_token("11111111-1111-1111-1111-111111111111"))
    token = with_token(client(guarded, 3, TO_WRITE_PROD))
    _, answer = await put(guarded, volume("new", Namespace="prod", ExternalID="disk"), **token)
    assert 'volume "new": a volume of another namespace of the same plugin' in answer["Warnings"]
    assert "hidden" not in answer["Warnings"]


async def test_what_a_read_shows_can_be_registered_as_it_is(api: Api) -> None:
    await api.report_node()
    options = {"FSType": "ext4", "MountFlags": ["user=xyzzy"]}
    await api.register("v", MountOptions=options, RequestedTopologies={"Required": [{"Segments": {"zone": "a"}}]})
    await api.allocate("a1")
    assert (await api.claim("v", "a1", "write"))[0] == 200
    _, _, before = await api.get("/v1/volume/csi/v")
    status, answer = await put(api, before, path="/v1/volume/csi/v")
    assert (status, answer["Warnings"]) == (200, "")
    assert [stub["ID"] for stub in answer["Volumes"][0]["Allocations"]] == ["a1"]
    _, _, after = await api.get("/v1/volume/csi/v")
    moved = {"ModifyIndex", "ModifyTime"}
    assert {name for name in before if before[name] != after[name]} == moved
    row = api.registry.state.volume("default", "v")
    assert row is not None
    assert row.mount_options is not None
    assert row.mount_options.mount_flags == ("user=xyzzy",)


async def test_views_show_the_mode_in_use_and_none_while_nobody_holds_the_volume(api: Api) -> None:
    await api.report_node()
    capabilities = [
        {"AccessMode": mode, "AttachmentMode": "file-system"}
        for mode in ("single-node-reader-only", "multi-node-multi-writer")
    ]
    await api.register("v", AccessMode="", AttachmentMode="", RequestedCapabilities=capabilities)
    await api.allocate("a1", "a2")

    async def shown() -> set[tuple[str, str]]:
        _, _, (item,) = await api.get("/v1/volumes?type=csi")
        _, _, read = await api.get("/v1/volume/csi/v")
        return {(row["AccessMode"], row["AttachmentMode"]) for row in (item, read)}

    assert await shown() == {("", "")}
    status, answer = await api.claim("v", "a1", "write", AccessMode="multi-node-multi-writer")
    assert (status, answer["AccessMode"]) == (200, "multi-node-multi-writer")
    assert await shown() == {("multi-node-multi-writer", "file-system")}
    assert (await api.claim("v", "a2", "read", AccessMode="single-node-reader-only"))[0] == 409
    assert (await api.claim("v", "a2", "read", AttachmentMode="file-system"))[0] == 200
    _, released = await api.claim("v", "a2", "release")
    assert released["AccessMode"] == "multi-node-multi-writer"  # the other holds it
    _, released = await api.claim("v", "a1", "release")
    assert released["AccessMode"] == ""
    assert await shown() == {("", "")}
