"""Claims over HTTP: bodies, answers, who sees secrets, detaching, and what a volume shows of its claimants."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.http.conftest import Api
from tests.process.agents import until

NOTHING = "nothing to release: allocation a1 has no claim on volume v"
VOLUME = "/v1/volume/csi/v"
SECRETS = {"key": "s3cr3t", "other": ""}
OPTIONS = {"FSType": "ext4", "MountFlags": ["noatime", "password=s3cr3t"]}
REDACTED = {"FSType": "ext4", "MountFlags": ["[REDACTED]"]}


@pytest.fixture
async def claimable(api: Api) -> Api:
    """Volume v with secrets; allocations a1, a2 of job web and d1 of job db on node-1."""
    await api.report_node()
    await api.register("v", Secrets=SECRETS, MountOptions=OPTIONS)
    await api.allocate("a1", "a2")
    await api.allocate("d1", JobID="db")
    return api


async def test_a_claim_answers_the_volume_as_read_with_what_mounting_it_takes(claimable: Api) -> None:
    status, claimed = await claimable.claim("v", "a1", "write")
    assert status == 200
    _, headers, read = await claimable.get(VOLUME)
    assert claimed == {**read, "Secrets": SECRETS, "MountOptions": OPTIONS}
    assert (read["Secrets"], read["MountOptions"]) == (None, REDACTED)
    assert read["WriteClaims"] == {"a1": {"AllocationID": "a1", "Mode": 1, "NodeID": "node-1", "State": 0}}
    assert (read["WriteAllocs"], read["ReadAllocs"], read["PastClaims"]) == ({"a1": None}, {}, {})
    assert [stub["ID"] for stub in read["Allocations"]] == ["a1"]
    assert read["ModifyIndex"] == int(headers["X-Nomad-Index"])


async def of_one_job(claimable: Api) -> None:
    await claimable.register("v", AccessMode="single-node-writer", Secrets=SECRETS, MountOptions=OPTIONS)
    await claimable.claim("v", "a1", "write")


async def test_secrets_are_in_no_other_answer(claimable: Api) -> None:
    await of_one_job(claimable)
    _, refusal = await claimable.claim("v", "d1", "write")
    seen = [str(refusal)]
    for path in (VOLUME, "/v1/volumes?type=csi", "/v1/allocations", "/v1/plugin/csi/plugin-id1", "/v1/nodes"):
        seen.append(str((await claimable.get(path))[2]))
    seen.append(str((await claimable.do("DELETE", VOLUME))[2]))
    assert "claimed by allocation a1" in refusal
    assert "s3cr3t" not in "".join(seen)


async def test_a_claim_of_a_volume_without_mount_options_says_so(api: Api) -> None:
    await api.report_node()
    await api.register("v")
    await api.allocate("a1")
    _, claimed = await api.claim("v", "a1")
    assert (claimed["Secrets"], claimed["MountOptions"]) == ({}, None)


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("read", "ReadClaims"), (0, "ReadClaims"), ("write", "WriteClaims"), (1, "WriteClaims")],
)
async def test_a_mode_is_a_word_or_gos_number(claimable: Api, mode: Any, shown: str) -> None:
    _, claimed = await claimable.claim("v", "a1", mode)
    assert list(claimed[shown]) == ["a1"]


@pytest.mark.parametrize("mode", ["release", 2])
async def test_a_release_without_a_state_frees_and_a_repeated_one_finds_nothing(claimable: Api, mode: Any) -> None:
    await claimable.claim("v", "a1", "write")
    status, released = await claimable.claim("v", "a1", mode)
    assert (status, released["WriteClaims"], released["PastClaims"]) == (200, {}, {})
    assert (released["Secrets"], released["MountOptions"]) == (None, REDACTED)
    index = released["ModifyIndex"]
    assert await claimable.claim("v", "a1", mode) == (404, NOTHING)
    assert (await claimable.get(VOLUME))[2]["ModifyIndex"] == index


async def test_a_release_with_a_state_tells_how_far_it_has_come(claimable: Api) -> None:
    await claimable.claim("v", "a1", "write")
    for state in (0, 1, 2):
        _, released = await claimable.claim("v", "a1", "release", State=state, NodeID="node-1")
        assert released["PastClaims"] == {"a1": {"AllocationID": "a1", "Mode": 2, "NodeID": "node-1", "State": state}}
        assert list(released["WriteClaims"]) == ["a1"]
    _, released = await claimable.claim("v", "a1", "release", State=3)
    assert (released["WriteClaims"], released["PastClaims"]) == ({}, {})


async def test_readers_come_before_writers_among_the_allocations(claimable: Api) -> None:
    await claimable.claim("v", "a1", "write")
    await claimable.claim("v", "d1", "read")
    await claimable.claim("v", "a2", "read")
    _, _, read = await claimable.get(VOLUME)
    assert [stub["ID"] for stub in read["Allocations"]] == ["a2", "d1", "a1"]
    assert (read["ReadAllocs"], read["WriteAllocs"]) == ({"a2": None, "d1": None}, {"a1": None})
    _, _, (item,) = await claimable.get("/v1/volumes?type=csi")
    assert (item["CurrentReaders"], item["CurrentWriters"]) == (2, 1)


async def test_an_allocation_that_ends_is_gone_from_the_volume_at_once(claimable: Api) -> None:
    await claimable.claim("v", "a1", "write")
    await claimable.allocate("a1", ClientStatus="lost")
    assert list((await claimable.get(VOLUME))[2]["WriteClaims"]) == ["a1"]
    await claimable.allocate("a1", ClientStatus="complete")
    _, _, read = await claimable.get(VOLUME)
    assert (read["WriteClaims"], read["Allocations"]) == ({}, [])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF: validation: the body is empty"),
        (b"[]", "validation: expected an object, got an array"),
        (b"{}", "validation: missing claim mode, one of: read, write, release"),
        ({"Mode": "read"}, "validation: missing allocation id"),
        ({"AllocationID": "a1"}, "validation: missing claim mode"),
        ({"AllocationID": "a1", "Mode": "steal"}, 'validation: Mode: unknown claim mode "steal", one of: read, write'),
        ({"AllocationID": "a1", "Mode": 3}, "validation: Mode: unknown claim mode 3"),
        ({"AllocationID": "a1", "Mode": True}, "validation: Mode: "),
        ({"AllocationID": "a1", "Mode": 1.0}, "validation: Mode: expected a claim mode, got a number"),
        ({"AllocationID": "a1", "Mode": None}, "validation: Mode: expected a claim mode, got null"),
        ({"AllocationID": 1, "Mode": "read"}, "validation: AllocationID: expected a string, got a number"),
        ({"AllocationID": "a\n1", "Mode": "read"}, "validation: AllocationID: control character U+000A"),
        ({"AllocationID": "a" * 257, "Mode": "read"}, "validation: AllocationID: 257 bytes are too long"),
        ({"AllocationID": "a1", "Mode": "release", "State": 4}, "validation: State: 4 is out of range"),
        ({"AllocationID": "a1", "Mode": "release", "State": -1}, "validation: State: -1 is out of range"),
        ({"AllocationID": "a1", "Mode": "read", "State": 1}, "validation: claim state 1 is for releases"),
        ({"AllocationID": "a1", "Mode": "read", "NodeID": "x"}, 'validation: allocation a1 is on node "node-1", not'),
    ],
)
async def test_a_bad_claim_is_a_400_that_says_what_is_wrong_and_changes_nothing(
    claimable: Api, body: Any, text: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = await claimable.do("PUT", f"{VOLUME}/claim", data=data)
    assert (status, answer[: len(text)]) == (400, text)
    _, _, read = await claimable.get(VOLUME)
    assert (read["ReadClaims"], read["WriteClaims"]) == ({}, {})


async def test_what_is_not_there_is_a_404_and_what_another_holds_a_409(claimable: Api) -> None:
    assert (await claimable.claim("none", "a1")) == (404, "volume not found: none")
    assert (await claimable.claim("v", "none")) == (
        404,
        'Unknown allocation: none: none of this ID is in namespace "default", where the volume is',
    )
    assert (await claimable.claim("", "a1")) == (400, "missing volume ID")
    await of_one_job(claimable)
    status, text = await claimable.claim("v", "d1", "write")
    assert (status, text.split(":")[0]) == (409, "volume max claim reached")
    assert text.endswith("free it with: volstore volume release v a1)")


async def test_a_claim_under_a_key_is_taken_once(claimable: Api) -> None:
    key = {"Idempotency-Key": "k1"}
    body = {"AllocationID": "a1", "Mode": "write"}
    first = await claimable.do("PUT", f"{VOLUME}/claim", json=body, headers=key)
    await claimable.claim("v", "a1", "release")
    again = await claimable.do("PUT", f"{VOLUME}/claim", json=body, headers=key)
    assert (again[0], again[1]["X-Nomad-Index"]) == (200, first[1]["X-Nomad-Index"])
    assert again[2]["WriteClaims"] == {}
    await claimable.do("DELETE", VOLUME)
    assert (await claimable.do("PUT", f"{VOLUME}/claim", json=body, headers=key))[::2] == (404, "volume not found: v")


async def test_detaching_needs_a_node_and_frees_what_has_ended_there(claimable: Api) -> None:
    detach = f"{VOLUME}/detach"
    assert (await claimable.do("DELETE", detach))[::2] == (400, "detach requires node ID")
    assert (await claimable.do("DELETE", "/v1/volume/csi/none/detach?node=n"))[::2] == (404, "volume not found: none")
    await claimable.claim("v", "a1", "write")
    status, _, text = await claimable.do("DELETE", f"{detach}?node=node-1")
    assert (status, text.split(":")[0]) == (409, "volume in use")
    await claimable.do("DELETE", "/v1/allocation/a1")
    status, headers, text = await claimable.do("DELETE", f"{detach}?node=node-1")
    assert (status, text, "X-Nomad-Index" in headers) == (200, "", True)
    assert (await claimable.get(VOLUME))[2]["WriteClaims"] == {}


async def test_whoever_waits_for_a_volume_sees_it_claimed_and_freed(claimable: Api) -> None:
    async def waits(path: str, separator: str) -> asyncio.Task[Any]:
        _, headers, _ = await claimable.get(path)
        before = len(claimable.registry.watch)
        waiting = f"{path}{separator}index={headers['X-Nomad-Index']}&wait=60s"
        task = asyncio.create_task(claimable.get(waiting))
        await until(lambda: len(claimable.registry.watch) > before)
        return task

    on_node = "/v1/volumes?type=csi&node_id=node-1"
    reader, lister = await waits(VOLUME, "?"), await waits(on_node, "&")
    await claimable.claim("v", "a1")
    assert list((await reader)[2]["ReadClaims"]) == ["a1"]
    assert [item["ID"] for item in (await lister)[2]] == ["v"]
    reader, lister = await waits(VOLUME, "?"), await waits(on_node, "&")
    await claimable.allocate("a1", ClientStatus="failed")
    assert (await reader)[2]["ReadClaims"] == {}
    assert (await lister)[2] == []
