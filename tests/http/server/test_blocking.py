"""Blocking queries over HTTP: no change is missed, nobody waits for nothing, nothing is left behind."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import pytest

from tests.http.conftest import Api
from volstore.core.commands import DeleteNode, SetNodeStatus

READ = "/v1/volume/csi/v"
LIST = "/v1/volumes?type=csi"


async def waiting(api: Api, path: str, *, count: int = 1) -> asyncio.Task[Any]:
    """The request of `path`, once it waits."""
    before = len(api.registry.watch)
    separator = "&" if "?" in path else "?"
    task = asyncio.create_task(api.get(f"{path}{separator}index={api.registry.state.index}&wait=1m"))
    await until(lambda: len(api.registry.watch) == before + count or task.done())
    assert not task.done(), task.result()
    return task


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is awaited happens in a server, that has no event for it
            await asyncio.sleep(0.002)


async def test_a_removed_volume_wakes_its_reader_with_404_and_the_new_index(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    task = await waiting(api, READ)
    await api.do("DELETE", READ)
    status, headers, text = await task
    assert (status, text, headers["X-Nomad-Index"]) == (404, "volume not found", str(api.registry.state.index))


async def test_a_read_of_an_unknown_volume_waits_until_it_appears(api: Api) -> None:
    await api.report_node()
    task = await waiting(api, READ)
    await api.register("w")
    await api.register("v")
    status, headers, read = await task
    assert (status, read["ID"], headers["X-Nomad-Index"]) == (200, "v", str(read["ModifyIndex"]))


@pytest.mark.parametrize("path", [READ, LIST, f"{LIST}&plugin_id=plug", f"{LIST}&prefix=v", f"{LIST}&namespace=*"])
async def test_the_plugins_health_wakes_who_reads_its_volumes(api: Api, path: str) -> None:
    await api.report_node()
    await api.register("v")
    task = await waiting(api, path)
    api.registry.apply(SetNodeStatus("node-1", "down"))
    _, _, read = await task
    assert (read if isinstance(read, dict) else read[0])["Schedulable"] is False
    task = await waiting(api, path)
    api.registry.apply(DeleteNode("node-1"))
    _, _, read = await task
    assert (read if isinstance(read, dict) else read[0])["NodesExpected"] == 0


async def test_a_list_is_not_answered_for_what_it_does_not_list(api: Api) -> None:
    """Plugins' changes are told to all lists; those that have none of its volumes go on waiting."""
    await api.report_node()
    await api.report_node("node-2", plugin="other")
    await api.register("v")
    tasks = [
        await waiting(api, f"{LIST}&prefix=w"),
        await waiting(api, f"{LIST}&plugin_id=other"),
        await waiting(api, f"{LIST}&namespace=nope"),
        await waiting(api, f"{LIST}&node_id=node"),
    ]
    api.registry.apply(SetNodeStatus("node-1", "down"))
    await api.register("v", Context={"changed": "yes"})
    await until(lambda: len(api.registry.watch) == 4)
    assert not any(task.done() for task in tasks)
    await api.register("w1")
    assert [item["ID"] for item in (await tasks[0])[2]] == ["w1"]
    assert not any(task.done() for task in tasks[1:])
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)


async def test_plugins_and_nodes_wake_their_readers(api: Api) -> None:
    await api.report_node()
    for path in ("/v1/plugins?type=csi", "/v1/plugin/csi/plugin-id1", "/v1/nodes", "/v1/node/node-1"):
        for command in (SetNodeStatus("node-1", "down"), SetNodeStatus("node-1", "ready")):
            task = await waiting(api, path)
            api.registry.apply(command)
            status, headers, _ = await task
            assert (status, headers["X-Nomad-Index"]) == (200, str(api.registry.state.index)), path
    tasks = [await waiting(api, path) for path in ("/v1/plugin/csi/plugin-id1", "/v1/node/node-1")]
    api.registry.apply(DeleteNode("node-1"))
    assert [(await task)[0] for task in tasks] == [404, 404]


async def test_a_change_between_two_polls_is_answered_at_once(api: Api) -> None:
    await api.report_node()
    index = await api.register("v")
    await api.do("DELETE", READ)
    await api.register("w")
    for path in (f"{READ}?", f"{LIST}&", f"{LIST}&prefix=v&"):
        status, _, _ = await api.get(f"{path}index={index}&wait=10m")
        assert status in (200, 404), path


async def test_a_restored_snapshot_wakes_nobody_for_nothing_and_misses_nothing(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    task = await waiting(api, READ)
    barriers = api.registry.barriers
    api.registry.restore()
    await until(lambda: api.registry.barriers > barriers and len(api.registry.watch) == 1)
    assert not task.done()
    await api.register("v", Context={"changed": "yes"})
    assert (await task)[2]["Context"] == {"changed": "yes"}


async def test_an_index_of_the_future_waits_out_its_time(api: Api) -> None:
    await api.report_node()
    index = await api.register("v")
    before = asyncio.get_running_loop().time()
    status, headers, _ = await api.get(f"{READ}?index=18446744073709551615&wait=100ms")
    assert (status, headers["X-Nomad-Index"]) == (200, str(index))
    assert asyncio.get_running_loop().time() - before >= 0.1


async def test_five_thousand_waiters_are_woken_by_one_write(api: Api) -> None:
    """Both ends of 5,000 connections are in this process: as many as its limit of open files allows."""
    await api.report_node()
    index = await api.register("v")
    host, port = api.url.removeprefix("http://").split(":")
    request = f"GET {READ}?index={index}&wait=5m HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 16_384, most))
    count = min(5000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 200)
    clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for start in range(0, count, 250):
        some = range(min(250, count - start))
        clients += await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in some))
    for _, writer in clients:
        writer.write(request)
    await until(lambda: len(api.registry.watch) == len(clients))
    barriers = api.registry.barriers
    await api.register("v", Context={"changed": "yes"})
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in clients))
    assert all(f"X-Nomad-Index: {index + 1}".encode() in answer for answer in answers)
    assert len(api.registry.watch) == 0
    assert api.registry.barriers - barriers == len(clients)  # each was woken once
    for _, writer in clients:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in clients))


async def test_a_waiter_whose_client_hung_up_is_freed(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/volume/csi/v?index=5&wait=10m HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: len(api.registry.watch) == 1)
    writer.close()
    await until(lambda: len(api.registry.watch) == 0)
    assert not api.registry.watch._groups


async def test_a_stopping_server_answers_who_waits_with_what_there_is(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    tasks = [await waiting(api, READ), await waiting(api, LIST), await waiting(api, "/v1/volume/csi/w")]
    await api.server.stop()
    assert [(await task)[0] for task in tasks] == [200, 200, 404]


async def test_one_waiter_too_many_is_told_to_come_again(small_api: Api) -> None:
    await small_api.report_node()
    tasks = [await waiting(small_api, READ), await waiting(small_api, LIST)]
    status, headers, text = await small_api.get(f"{READ}?index=5")
    assert (status, headers["Retry-After"], text[:29]) == (429, "1", "too many blocking queries: th")
    small_api.registry.watch.close()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("index=x", "Invalid index"),
        ("index=-1", "Invalid index"),
        ("index=+1", "Invalid index"),
        ("index=1.0", "Invalid index"),
        ("index=18446744073709551616", "Invalid index"),
        ("index=%C2%B2", "Invalid index"),
        ("wait=x", "Invalid wait time"),
        ("wait=5", "Invalid wait time"),
        ("wait=-5s", "Invalid wait time"),
        ("wait=5s5", "Invalid wait time"),
        ("wait=999999999h", "Invalid wait time"),
    ],
)
async def test_bad_indexes_and_waits_are_refused(api: Api, query: str, text: str) -> None:
    for path in ("/v1/volumes?type=csi&", "/v1/volumes?", f"{READ}?", "/v1/plugins?type=csi&", "/v1/nodes?"):
        status, headers, answer = await api.get(path + query)
        assert (status, answer[: len(text)]) == (400, text)
        assert "X-Nomad-Index" not in headers


@pytest.mark.parametrize(
    "query", ["index=", "index=0", "wait=", "wait=1m30s", "wait=500ms", "wait=0", "index=0&wait=9h"]
)
async def test_what_does_not_ask_to_wait_is_answered_at_once(api: Api, query: str) -> None:
    assert (await api.get(f"/v1/volumes?type=csi&{query}"))[0] == 200


async def test_waits_are_capped_and_jittered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def noted(topic: object, until: float, *concerned: object) -> None:
        waited.append(until - asyncio.get_running_loop().time())
        api.registry.watch.close()

    monkeypatch.setattr(api.registry.watch, "wait", noted)
    for draw, wait, expected in (
        (0.0, "", 300.0),
        (1.0, "", 318.75),
        (0.0, "&wait=9h", 600.0),
        (0.5, "&wait=32s", 33.0),
    ):
        monkeypatch.setattr(api.server._pipeline, "_random", lambda draw=draw: draw)
        monkeypatch.setattr(api.registry.watch, "_closed", False)
        await api.get(f"{READ}?index=5{wait}")
        assert waited[-1] == pytest.approx(expected, abs=0.5)
