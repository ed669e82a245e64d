"""`filter`, paging and unknown parameters on every list, through real requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

import msgspec
import pytest

from tests.http.conftest import SETTINGS, Api, serve, volume
from tests.http.guarded import EVERYWHERE, MANAGEMENT, VOLUMES, client, served, with_token
from tests.http.guarded import ids as ids_of
from tests.process.agents import until
from volstore.core.model import Capability, Volume
from volstore.core.state import State
from volstore.http.endpoints import filters
from volstore.http.endpoints.filter_shapes import LISTED_VOLUME, VOLUME
from volstore.http.endpoints.render import nobody, volume_item, volume_view
from volstore.http.endpoints.views import CapabilityView, VolumeItem, VolumeView
from volstore.http.json.parameters import PARAMETERS
from volstore.http.server.openapi import document
from volstore.http.server.router import API

LISTS = ["/v1/volumes?type=csi", "/v1/plugins?type=csi", "/v1/nodes", "/v1/allocations", "/v1/namespaces"]


async def fill(api: Api) -> None:
    for node in ("n1", "n2", "n3"):
        await api.report_node(node, plugin="ebs" if node != "n3" else "efs")
    await api.register("a", "b", PluginID="ebs", Parameters={"type": "gp3"}, Secrets={"pw": "s3cret"})
    await api.register("c", PluginID="efs", MountOptions={"FSType": "ext4", "MountFlags": ["s3cret"]})
    await api.allocate("w3", "w1", JobID="web")
    await api.allocate("w2", JobID="db", TaskStates={"t": {"State": "dead"}}, AllocatedResources={"Cpu": 1})
    for name in ("x", "y"):
        assert (await api.do("PUT", f"/v1/namespace/{name}", json={"Description": f"of {name}"}))[0] == 200


async def ids(api: Api, path: str, **query: str) -> list[str]:
    status, _, items = await api.get(f"{path}{'&' if '?' in path else '?'}{urlencode(query)}")
    assert status == 200, items
    return [item.get("ID") or item["Name"] for item in items]


@pytest.mark.parametrize(
    ("path", "expression", "expected"),
    [
        (LISTS[0], "PluginID == ebs", ["a", "b"]),
        (LISTS[0], 'Parameters.type == gp3 and ID != "a"', ["b"]),
        (LISTS[0], "Schedulable == true and NodesHealthy == 1", ["c"]),
        (LISTS[0], "MountOptions is not nil and MountOptions.FSType == ext4", ["c"]),
        (LISTS[0], "any RequestedCapabilities as r { r.AccessMode matches `^multi` }", None),
        (LISTS[0], "CreateIndex != 0 and CurrentReaders == 0", ["a", "b", "c"]),
        (LISTS[1], "NodesHealthy == 2", ["ebs"]),
        (LISTS[2], "efs in CSINodePlugins", ["n3"]),
        (LISTS[2], "any CSINodePlugins as k, p { p.Provider == ebs and p.Healthy == true and k != efs }", ["n1", "n2"]),
        (LISTS[2], "Status != ready", []),
        (LISTS[3], "JobID == web", ["w3", "w1"]),
        (LISTS[3], "t in TaskStates and TaskStates.t.State == dead", ["w2"]),
        (LISTS[4], "Description matches `^of`", ["x", "y"]),
        (LISTS[4], "", ["default", "x", "y"]),
    ],
)
async def test_a_filter_chooses_rows_of_every_list(
    api: Api, path: str, expression: str, expected: list[str] | None
) -> None:
    await fill(api)
    if expected is not None:
        assert sorted(await ids(api, path, filter=expression)) == sorted(expected)
    else:
        assert set(await ids(api, path, filter=expression)) <= {"a", "b", "c"}


@pytest.mark.parametrize("path", [*LISTS, "/v1/volumes", "/v1/volumes?type=host", "/v1/plugins"])
async def test_a_text_that_is_no_filter_is_refused_in_nomads_words(api: Api, path: str) -> None:
    await fill(api)
    status, _, text = await api.get(f"{path}{'&' if '?' in path else '?'}filter={quote('Name = x')}")
    assert status == 400
    assert text.startswith(
        "failed to create result paginator: failed to read filter expression: 1:6 (5): no match found, expected: "
    )


@pytest.mark.parametrize("path", LISTS)
async def test_an_unknown_field_is_refused_in_nomads_words(api: Api, path: str) -> None:
    await fill(api)
    status, _, text = await api.get(f"{path}{'&' if '?' in path else '?'}filter={quote('name == x')}")
    assert (status, text) == (
        400,
        "failed to read result page: error finding value in datum: /name at part 0: couldn't find key: struct field "
        'with name "name"',
    )


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (LISTS[0], "Secrets.pw"),
        (LISTS[0], "MountOptions.MountFlags.0"),
        (LISTS[0], '"/Secrets/pw"'),
        (LISTS[2], "SecretID"),
        (LISTS[4], "Hash"),
    ],
)
async def test_nobody_asks_for_a_secret_by_a_filter(api: Api, path: str, field: str) -> None:
    await fill(api)
    answers = set()
    for pattern in ("^s3", "^nothing"):
        query = urlencode({"filter": f"{'Name == c and ' if 'Mount' in field else ''}{field} matches `{pattern}`"})
        status, _, text = await api.get(f"{path}{'&' if '?' in path else '?'}{query}")
        answers.add((status, text))
    ((status, text),) = answers
    assert (status, "couldn't find key: struct field" in text) == (400, True), text


TOKEN_PATHS = [("/v1/acl/tokens", "AccessorID"), ("/v1/acl/policies", "Name")]


async def test_tokens_and_policies_are_filtered_and_paged_too() -> None:
    async for api in served():
        await policies_and_tokens(api)


async def policies_and_tokens(api: Api) -> None:
    for number in (1, 2, 3):
        client(api, number, 'namespace "default" { policy = "read" }')
    root = with_token(MANAGEMENT)
    for path, key in TOKEN_PATHS:
        _, _, whole = await api.get(path, **root)
        names = [item[key] for item in whole]
        assert len(names) >= 3
        walked: list[str] = []
        token = ""
        while True:
            more = f"&next_token={quote(token)}" if token else ""
            _, headers, page = await api.get(f"{path}?per_page=1{more}", **root)
            walked += [item[key] for item in page]
            token = headers.get("X-Nomad-NextToken", "")
            if not token:
                break
        assert walked == names
        _, _, turned = await api.get(f"{path}?reverse=true", **root)
        assert [item[key] for item in turned] == names[::-1]
        _, _, begun = await api.get(f"{path}?prefix={names[0]}", **root)
        assert [item[key] for item in begun] == names[:1]
    query = urlencode({"filter": '"p-00000002" in Policies'})
    _, _, found = await api.get(f"/v1/acl/tokens?{query}", **root)
    assert [item["Policies"] for item in found] == [["p-00000002"]]
    for field in ("SecretID", "Hash"):
        assert (await api.get(f"/v1/acl/tokens?{urlencode({'filter': f'{field} matches `.`'})}", **root))[0] == 400


async def test_who_may_only_list_filters_by_what_a_list_shows() -> None:
    async for api in served():
        lists = client(api, 1, 'namespace "default" { capabilities = ["csi-list-volume"] }')
        reads = client(api, 2, 'namespace "default" { capabilities = ["csi-read-volume"] }')
        both = client(
            api,
            3,
            'namespace "default" { capabilities = ["csi-list-volume"] }\n'
            'namespace "prod" { capabilities = ["csi-read-volume"] }',
        )
        by_list = f"{VOLUMES}&{urlencode({'filter': 'ID matches `^of`'})}"
        by_read = f"{VOLUMES}&{urlencode({'filter': 'Parameters is empty'})}"
        assert await ids_of(api, by_list, lists) == await ids_of(api, by_read, reads) == ["of-default"]
        status, _, text = await api.get(by_read, **with_token(lists))
        assert (status, 'struct field with name "Parameters"' in text) == (400, True)
        in_prod = urlencode({"filter": "Namespace == prod and Parameters is empty"})
        assert await ids_of(api, f"{EVERYWHERE}&{in_prod}", both) == ["of-prod"]
        assert (await api.get(f"{EVERYWHERE}&{urlencode({'filter': 'Parameters is empty'})}", **with_token(both)))[
            0
        ] == 400


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("more", ["", "&reverse=true", "&filter=ModifyIndex%20!=%200"])
async def test_pages_one_after_the_other_are_the_whole_list(api: Api, path: str, more: str) -> None:
    await fill(api)
    base = f"{path}{'&' if '?' in path else '?'}{more}"
    _, headers, whole = await api.get(base)
    assert "X-Nomad-NextToken" not in headers
    for size in (1, 2, len(whole)):
        walked, token = [], ""
        while True:
            _, headers, page = await api.get(f"{base}&per_page={size}" + (f"&next_token={token}" if token else ""))
            assert 0 < len(page) <= size
            walked += page
            token = headers.get("X-Nomad-NextToken", "")
            if not token:
                break
        assert walked == whole


async def test_allocations_come_as_they_were_made_and_under_a_prefix_by_id(api: Api) -> None:
    await fill(api)
    _, headers, items = await api.get("/v1/allocations?per_page=2")
    last = (await api.get("/v1/allocation/w2"))[2]
    assert [item["ID"] for item in items] == ["w1", "w3"]  # of one write: by ID
    assert headers["X-Nomad-NextToken"] == f"{last['CreateIndex']}.w2"
    _, headers, items = await api.get("/v1/allocations?prefix=w&per_page=1")
    assert ([item["ID"] for item in items], headers["X-Nomad-NextToken"]) == (["w1"], "w2")
    status, _, text = await api.get("/v1/allocations?next_token=w2")
    assert (status, text[:24]) == (400, 'Invalid next_token: "w2"')


async def test_fields_of_allocations_are_chosen(api: Api) -> None:
    await fill(api)
    (item,) = (await api.get("/v1/allocations?prefix=w2"))[2]
    assert (item["TaskStates"], item["AllocatedResources"]) == ({"t": {"State": "dead"}}, None)
    (item,) = (await api.get("/v1/allocations?prefix=w2&resources=true&task_states=false"))[2]
    assert (item["TaskStates"], item["AllocatedResources"]) == (None, {"Cpu": 1})
    for name in ("resources", "task_states"):
        assert (await api.get(f"/v1/allocations?{name}=maybe"))[::2] == (
            400,
            f'Failed to parse value of "{name}" (maybe) as a bool: strconv.ParseBool: parsing "maybe": invalid syntax',
        )
    for name in ("os", "resources"):
        assert (await api.get(f"/v1/nodes?{name}=true"))[0] == 200
        assert (await api.get(f"/v1/nodes?{name}=maybe"))[::2] == (
            400,
            f'Failed to parse node list fields: Failed to parse value of "{name}" (maybe) as a bool: '
            'strconv.ParseBool: parsing "maybe": invalid syntax',
        )


async def test_a_stub_of_other_types_is_no_defect(api: Api) -> None:
    await fill(api)
    await api.allocate("w4", EvalID="e", AllocatedResources=[1, {"Cpu": "x"}, None])
    everything = " or ".join(f"{name} is empty" for name in ("EvalID", "JobType", "TaskStates", "PreemptedAllocations"))
    assert len(await ids(api, LISTS[3], filter=everything)) == 4
    assert await ids(api, LISTS[3], filter="AllocatedResources is not nil and JobVersion == 0") == ["w2", "w4"]


async def test_a_prefix_holds_for_plugins_too(api: Api) -> None:
    await fill(api)
    assert await ids(api, "/v1/plugins?type=csi", prefix="nope") == []
    assert await ids(api, "/v1/plugins?type=csi", prefix="eb") == ["ebs"]


async def test_a_filtered_list_wakes_as_one_without_and_is_asked_again(api: Api) -> None:
    await fill(api)
    path = f"{LISTS[0]}&{urlencode({'filter': 'Name == new'})}"
    _, headers, items = await api.get(path)
    assert items == []
    waiting = asyncio.create_task(api.get(f"{path}&index={headers['X-Nomad-Index']}&wait=30s"))
    await until(lambda: len(api.registry.watch) == 1)
    await api.register("d", Name="new", PluginID="ebs")
    assert [item["ID"] for item in (await waiting)[2]] == ["d"]


def operations() -> list[tuple[str, str, frozenset[str]]]:
    """As a client finds them: in the document that is served."""
    paths = document(API, "1")["paths"]
    return [
        (method.upper(), path, frozenset(one["name"] for one in operation["parameters"] if one["in"] == "query"))
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


async def test_a_parameter_that_a_route_does_not_know_is_refused_by_name(api: Api) -> None:
    for method, path, known in operations():
        for name in ("nonsense", "Prefix", "FILTER", "wiat", *sorted(PARAMETERS.keys() - known)):
            status, _, text = await api.do(method, f"{path.replace('{id}', 'v')}?{name}=1")
            assert status == 400, (method, path, name, status, text)
            assert f'the query parameter "{name}" means nothing here' in text, (method, path, text)


async def test_what_clients_send_everywhere_is_taken_everywhere(api: Api) -> None:
    for method, path, _ in operations():
        query = "region=global&namespace=default&pretty" + ("&stale=false&consistent" if method == "GET" else "")
        status, _, text = await api.do(method, f"{path.replace('{id}', 'v')}?{query}")
        assert "means nothing here" not in str(text), (method, path, status)


async def test_an_idempotency_token_is_an_idempotency_key(api: Api) -> None:
    await api.report_node()
    body = {"Volumes": [volume("v")]}
    path = "/v1/volume/csi/v?idempotency_token=k1"
    _, first, _ = await api.do("PUT", path, json=body)
    _, again, _ = await api.do("PUT", path, json=body)
    assert first["X-Nomad-Index"] == again["X-Nomad-Index"]
    other = {"Volumes": [volume("v", Name="other")]}
    assert (await api.do("PUT", path, json=other))[0] == 409
    assert (await api.do("PUT", path, json=body, headers={"Idempotency-Key": "k1"}))[0] == 200
    assert (await api.do("PUT", path, json=body, headers={"Idempotency-Key": "k2"}))[0] == 400


def test_what_is_had_without_a_view_is_what_the_view_shows() -> None:
    capability = Capability("multi-node-multi-writer", "file-system")
    row = Volume(
        id="v", name="n", external_id="e", plugin_id="p", parameters={"a": "b"}, context={"c": "d"}, capacity=7,
        requested_capabilities=(capability,), requested_capacity_min=1, requested_capacity_max=9, clone_id="x",
        snapshot_id="y", provider="q", create_index=3, modify_index=4,
    )  # fmt: skip
    state = State()
    shown = {"MountOptions"}
    for view, type_ in ((volume_view(state, row, None, nobody), VolumeView), (volume_item(row, None), VolumeItem)):
        for field in msgspec.structs.fields(type_):
            if field.encode_name not in filters.HIDDEN | shown:
                get = VOLUME.fields[field.encode_name][1]
                had = get((row, None, state))
                if field.name == "requested_capabilities":
                    had = [CapabilityView(one.access_mode, one.attachment_mode) for one in had]
                assert had == getattr(view, field.name), field.name
    assert LISTED_VOLUME.fields.keys() == {field.encode_name for field in msgspec.structs.fields(VolumeItem)}


@pytest.fixture
async def large() -> AsyncIterator[Api]:
    async for api in serve(SETTINGS):
        await api.report_node()
        for start in range(0, 20_000, 1000):
            rows = tuple(
                Volume(id=f"vol-{number:06}", name=f"n{number % 100}", plugin_id="plugin-id1", access_mode="a",
                       attachment_mode="b")
                for number in range(start, start + 1000)
            )  # fmt: skip
            for row in rows:
                api.registry.state.advance(0)
                api.registry.state.put_volume(msgspec.structs.replace(row, touch_index=api.registry.state.index))
        yield api


async def test_the_loop_goes_on_while_a_filter_is_asked_of_many(large: Api) -> None:
    """By turns, not by time: a busy machine makes any turn long."""
    turns, done = 0, False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    began = time.perf_counter()
    _, _, items = await large.get(f"{LISTS[0]}&{urlencode({'filter': 'ID matches `-00..99$` and Name == n99'})}")
    took = time.perf_counter() - began
    done = True
    await counting
    assert len(items) == 100
    assert turns > took / 0.1


async def test_a_filter_that_would_take_too_much_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(api)
    monkeypatch.setattr(filters, "MOST_COMPARISONS", 32)
    monkeypatch.setattr(filters, "BETWEEN_LOOKS", 1)
    text = " or ".join(f"Name == x{number}" for number in range(20))
    status, _, told = await api.get(f"{LISTS[0]}&{urlencode({'filter': text})}")
    assert (status, "a filter may take 32 comparisons, and this one takes 20 for each of 3 rows" in told) == (400, True)
