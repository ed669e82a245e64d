"""The audit log: what is noted, before and after; a file that is moved away; a disk that takes no more."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import Api, volume
from tests.http.guarded import MANAGEMENT, NODE_SECRET, client, served, with_token
from volstore.http.server import audit
from volstore.http.server.audit import AuditEntry, AuditFailed, AuditLog


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async for one in served():
        one.server.audit = AuditLog(tmp_path / "audit.jsonl", enforce=False)
        yield one


async def noted(api: Api) -> list[dict[str, Any]]:
    """All entries, each written."""
    log = api.server.audit
    assert log is not None
    while log._batch is not None or log._writer is not None:
        if log._writer is not None:
            await log._writer
        log._writer = None
    return [json.loads(line) for line in log._path.read_text().splitlines()]


async def test_writes_and_denied_requests_are_noted_and_reads_are_not(api: Api) -> None:
    reader = client(api, 1, 'namespace "default" { policy = "read" }')
    options = {"headers": {"X-Nomad-Token": MANAGEMENT, "X-Request-Id": "r-1"}}
    _, headers, _ = await api.do("PUT", "/v1/volume/csi/v", json={"Volumes": [volume("v")]}, **options)
    await api.get("/v1/volumes?type=csi", **with_token(reader))
    await api.do("DELETE", "/v1/volume/csi/v", **with_token(reader))
    await api.do("DELETE", "/v1/volume/csi/none?namespace=prod", **with_token(MANAGEMENT))
    await api.get("/v1/nodes", **with_token("no token"))
    await api.do("PUT", "/v1/node/n1/heartbeat", **with_token(NODE_SECRET))
    await api.do("PUT", "/v1/search", json={}, **with_token(MANAGEMENT))
    written, denied, refused, unknown = await noted(api)
    assert written.pop("time").endswith("Z")
    assert written == {
        "accessor_id": "accessor-of-11111111",
        "action": "registerVolumes",
        "address": "127.0.0.1",
        "index": int(headers["X-Nomad-Index"]),
        "method": "PUT",
        "namespace": "default",
        "object": "v",
        "outcome": "done",
        "request_id": "r-1",
        "status": 200,
    }
    assert (denied["outcome"], denied["accessor_id"], denied["action"]) == (
        "denied",
        "accessor-of-00000001",
        "deregisterVolume",
    )
    assert (refused["outcome"], refused["status"], refused["namespace"]) == ("refused", 404, "prod")
    assert (unknown["outcome"], unknown["action"], "accessor_id" in unknown) == ("denied", "listNodes", False)


async def test_no_secret_is_noted(api: Api) -> None:
    body = {"Volumes": [volume("v", Secrets={"key": "hush-hush"})]}
    await api.do("PUT", "/v1/volume/csi/v", json=body, **with_token(MANAGEMENT))
    _, _, made = await api.do("PUT", "/v1/acl/token", json={"Type": "management"}, **with_token(MANAGEMENT))
    report = {"Name": "n1", "SecretID": NODE_SECRET}
    await api.do("PUT", "/v1/node/n1", json=report, **with_token(NODE_SECRET))
    text = json.dumps(await noted(api))
    assert text.count("outcome") == 3
    for secret in (MANAGEMENT, NODE_SECRET, made["SecretID"], "hush-hush"):
        assert secret not in text


async def test_a_write_whose_client_hung_up_is_noted_as_unknown(api: Api) -> None:
    submitted = asyncio.Event()

    async def never(*arguments: Any) -> Any:
        submitted.set()
        await asyncio.Event().wait()

    api.registry.submit = never  # type: ignore[method-assign, assignment]  # it never answers
    task = asyncio.create_task(api.do("DELETE", "/v1/volume/csi/of-default", **with_token(MANAGEMENT)))
    await submitted.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    log = api.server.audit
    assert log is not None
    while not log._path.stat().st_size:  # noqa: ASYNC110 - the server's loop notices the connection's end
        await asyncio.sleep(0.001)
    assert [entry["outcome"] for entry in await noted(api)] == ["unknown"]


async def test_a_write_that_can_not_be_noted_first_is_refused_where_that_must_be(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = api.server.audit
    assert log is not None
    log.enforce = True
    index = api.registry.state.index
    with monkeypatch.context() as patch:
        patch.setattr(log, "_append", full_disk)
        status, headers, text = await api.do("DELETE", "/v1/volume/csi/of-default", **with_token(MANAGEMENT))
        assert (status, headers["Retry-After"]) == (503, "5")
        assert text == "the audit log can't be written, so nothing may be changed"
        assert (await api.get("/v1/volume/csi/of-default", **with_token(MANAGEMENT)))[0] == 200
    assert api.registry.state.index == index
    assert (await api.do("DELETE", "/v1/volume/csi/of-default", **with_token(MANAGEMENT)))[0] == 200
    assert [entry["outcome"] for entry in await noted(api)] == ["attempted", "done"]


async def test_where_it_need_not_be_a_write_goes_on_and_what_is_lost_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = api.server.audit
    assert log is not None
    with monkeypatch.context() as patch:
        patch.setattr(log, "_append", full_disk)
        assert (await api.do("DELETE", "/v1/volume/csi/of-default", **with_token(MANAGEMENT)))[0] == 200
        await noted(api)
        assert log._failing
    await api.do("DELETE", "/v1/volume/csi/of-prod?namespace=prod", **with_token(MANAGEMENT))
    assert [entry["object"] for entry in await noted(api)] == ["of-prod"]
    assert not log._failing


def full_disk(data: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# The file.


def entry(number: int) -> AuditEntry:
    return AuditEntry(time="t", request_id=str(number), address="a", action="x", method="PUT", outcome="done")


async def test_entries_are_written_in_order_and_those_that_wait_together(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "a", enforce=True)
    await asyncio.gather(*(log.write(entry(number)) for number in range(500)))
    log.note(entry(500))
    await log.close()
    lines = (tmp_path / "a").read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [str(number) for number in range(501)]


async def test_a_file_that_was_moved_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    log = AuditLog(path, enforce=True)
    await log.write(entry(1))
    path.rename(tmp_path / "a.1")
    await log.write(entry(2))  # still the old one
    log.reopen()
    await log.write(entry(3))
    await log.close()
    assert len((tmp_path / "a.1").read_text().splitlines()) == 2
    assert [json.loads(line)["request_id"] for line in path.read_text().splitlines()] == ["3"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_where_no_new_file_can_be_opened_the_old_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log = AuditLog(folder / "a", enforce=True)
    folder.rename(tmp_path / "moved")
    log.reopen()
    await log.write(entry(1))
    await log.close()
    assert (tmp_path / "moved" / "a").read_text().count("\n") == 1


async def test_more_than_so_many_never_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_PENDING", 3)
    log = AuditLog(tmp_path / "a", enforce=True)
    for number in range(5):
        log.note(entry(number))
    with pytest.raises(AuditFailed, match="too many entries wait"):
        await log.write(entry(9))
    await log.close()
    assert (tmp_path / "a").read_text().count("\n") == 3


def test_a_file_that_can_not_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        AuditLog(tmp_path / "none" / "a", enforce=False)
