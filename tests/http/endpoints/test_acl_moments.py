"""When a request is authorized, and again; and how much one token may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.http.conftest import Api
from tests.http.guarded import (
    DENIED,
    EVERYWHERE,
    MANAGEMENT,
    NOT_FOUND,
    SEES_PROD,
    VOLUMES,
    client,
    ids,
    served,
    waiting,
    with_token,
)
from volstore.core.acl.commands import DeleteAclPolicy, DeleteAclToken, PutAclPolicy, PutAclToken, PutNamespace
from volstore.core.acl.policy import parse_policy
from volstore.core.commands import RegisterVolumes


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async for one in served():
        yield one


# When it is asked.


@pytest.mark.parametrize(
    ("take_away", "refusal"),
    [
        (lambda accessor: DeleteAclToken(accessor), NOT_FOUND),
        (lambda accessor: DeleteAclPolicy("p-00000001"), DENIED),
    ],
)
async def test_a_blocking_query_is_authorized_again_before_it_answers(
    api: Api, take_away: Callable[[str], Any], refusal: tuple[int, str]
) -> None:
    secret = client(api, 1, 'namespace "default" { policy = "read" }')
    path = f"/v1/volume/csi/of-default?index={api.registry.state.index}&wait=60s"
    asked = asyncio.create_task(api.get(path, **with_token(secret)))
    await waiting(api)
    assert api.registry.apply(take_away("accessor-of-00000001")).status == 200
    row = api.registry.state.volume("default", "of-default")
    assert row is not None
    api.registry.apply(RegisterVolumes("default", (row,)))
    status, _, text = await asked
    assert (status, text) == refusal


def put_policy(api: Api, name: str, text: str) -> None:
    assert api.registry.apply(PutAclPolicy(name, "", text, parse_policy(text))).status == 200


SEES_TEST = 'namespace "test" { policy = "read" }'
READER, READERS_POLICY = "accessor-of-00000001", "p-00000001"


def give_another_policy(api: Api) -> None:
    put_policy(api, "other", SEES_TEST)
    assert api.registry.apply(PutAclToken(READER, b"", "x", "client", ("other",))).status == 200


CHANGES_OF_SIGHT: dict[str, tuple[Callable[[Api], Any], list[str] | tuple[int, str]]] = {
    "sees more": (lambda api: put_policy(api, READERS_POLICY, SEES_PROD + SEES_TEST), ["of-prod", "of-test"]),
    "sees others": (lambda api: put_policy(api, READERS_POLICY, SEES_TEST), ["of-test"]),
    "sees nothing": (lambda api: put_policy(api, READERS_POLICY, 'node { policy = "read" }'), DENIED),
    "lost its policy": (lambda api: api.registry.apply(DeleteAclPolicy(READERS_POLICY)), DENIED),
    "got another policy": (give_another_policy, ["of-test"]),
    "is removed": (lambda api: api.registry.apply(DeleteAclToken(READER)), NOT_FOUND),
}


@pytest.mark.parametrize("between_polls", [False, True])
@pytest.mark.parametrize(("change", "seen"), CHANGES_OF_SIGHT.values(), ids=CHANGES_OF_SIGHT)
async def test_a_waiting_list_answers_when_its_reader_may_see_something_else(
    api: Api, change: Callable[[Api], Any], seen: list[str] | tuple[int, str], between_polls: bool
) -> None:
    secret = client(api, 1, SEES_PROD)
    index = api.registry.state.index
    if between_polls:
        change(api)
    asked = asyncio.create_task(api.get(f"{EVERYWHERE}&index={index}&wait=60s", **with_token(secret)))
    if not between_polls:
        await waiting(api)
        change(api)
    status, headers, answer = await asyncio.wait_for(asked, 30)
    if isinstance(seen, list):
        assert [one["ID"] for one in answer] == seen
        assert int(headers["X-Nomad-Index"]) > index
    else:
        assert (status, answer) == seen


async def test_who_has_no_token_is_woken_by_the_anonymous_policy(api: Api) -> None:
    put_policy(api, "anonymous", SEES_PROD)
    asked = asyncio.create_task(api.get(f"{EVERYWHERE}&index={api.registry.state.index}&wait=60s"))
    await waiting(api)
    put_policy(api, "anonymous", SEES_TEST)
    assert [one["ID"] for one in (await asyncio.wait_for(asked, 30))[2]] == ["of-test"]


async def test_a_waiting_list_does_not_answer_for_the_rights_of_others(api: Api) -> None:
    secret, other = client(api, 1, SEES_PROD), client(api, 2, SEES_PROD)
    asked = asyncio.create_task(
        api.get(f"{EVERYWHERE}&index={api.registry.state.index}&wait=60s", **with_token(secret))
    )
    await waiting(api)
    put_policy(api, "p-00000002", SEES_TEST)
    assert await ids(api, EVERYWHERE, other) == ["of-test"]
    assert (len(api.registry.watch), asked.done()) == (1, False)
    put_policy(api, READERS_POLICY, SEES_TEST)
    assert [one["ID"] for one in (await asyncio.wait_for(asked, 30))[2]] == ["of-test"]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v1/acl/policies", lambda api: client(api, 7, SEES_PROD)),
        ("/v1/acl/tokens", lambda api: client(api, 7, SEES_PROD)),
        ("/v1/acl/policy/p-00000007", lambda api: client(api, 7, SEES_PROD)),
        ("/v1/namespaces", lambda api: api.registry.apply(PutNamespace("new"))),
        ("/v1/namespace/new", lambda api: api.registry.apply(PutNamespace("new"))),
    ],
)
async def test_who_waits_for_policies_tokens_and_namespaces_is_woken(
    api: Api, path: str, change: Callable[[Api], Any]
) -> None:
    index = api.registry.state.index
    asked = asyncio.create_task(api.get(f"{path}?index={index}&wait=60s", **with_token(MANAGEMENT)))
    await waiting(api)
    change(api)
    status, headers, _ = await asked
    assert (status, int(headers["X-Nomad-Index"]) > index) == (200, True)


class Behind:
    """A node that has not applied yet what others know, until a barrier makes it."""

    def __init__(self, api: Api, late: Callable[[], Any]) -> None:
        registry = api.registry
        self.late: Callable[[], Any] | None = late
        self._barrier: Callable[..., Awaitable[Any]] = registry.barrier
        registry.barrier = self.barrier  # type: ignore[method-assign]  # replaced for one moment

    async def barrier(self, *, stale: bool, deadline: float) -> Any:
        if not stale and self.late is not None:
            late, self.late = self.late, None
            late()
        return await self._barrier(stale=stale, deadline=deadline)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/volume/csi/of-default"), ("GET", "/v1/agent/self"), ("GET", VOLUMES)]
)
async def test_a_token_that_another_node_made_a_moment_ago_is_good_here_too(api: Api, method: str, path: str) -> None:
    rules = 'namespace "default" { policy = "write" } agent { policy = "read" }'
    Behind(api, lambda: client(api, 1, rules))
    status, _, text = await api.do(method, path, **with_token("00000001-3333-3333-3333-333333333333"))
    assert status == 200, text


async def test_stale_reads_use_the_tables_of_this_node(api: Api) -> None:
    behind = Behind(api, lambda: client(api, 1, 'namespace "default" { policy = "read" }'))
    status, _, text = await api.get(f"{VOLUMES}&stale", **with_token("00000001-3333-3333-3333-333333333333"))
    assert (status, text) == NOT_FOUND
    assert behind.late is not None


async def test_a_node_that_can_not_tell_how_old_its_tables_are_denies_no_stale_read_for_good(api: Api) -> None:
    known = client(api, 1, 'namespace "default" { policy = "read" }')
    api.registry.cut_off = True
    assert (await api.get(f"{VOLUMES}&stale", **with_token(known)))[0] == 200
    status, headers, text = await api.get(f"{VOLUMES}&stale", **with_token("made while this node was away"))
    assert (status, text, headers["Retry-After"]) == (503, "No cluster leader", "1")


async def test_a_write_on_a_node_that_is_behind_is_refused_where_it_is_applied(api: Api) -> None:
    secret = client(api, 1, 'namespace "default" { policy = "write" }')
    submit = api.registry.submit

    async def removed_meanwhile(*arguments: Any) -> Any:
        api.registry.apply(DeleteAclToken("accessor-of-00000001"))
        return await submit(*arguments)

    api.registry.submit = removed_meanwhile  # type: ignore[method-assign, assignment]  # replaced
    status, _, text = await api.do("DELETE", "/v1/volume/csi/of-default", **with_token(secret))
    assert (status, text) == NOT_FOUND
    assert api.registry.state.volume("default", "of-default") is not None


async def test_a_denied_request_without_a_leader_is_denied_by_what_this_node_knows(api: Api) -> None:
    api.registry.cut_off = True
    status, _, text = await api.get("/v1/agent/self", **with_token("unknown"))
    assert (status, text) == NOT_FOUND


@pytest.mark.parametrize("path", ["/v1/agent/health", "/v1/status/leader", "/v1/status/peers", "/v1/regions"])
async def test_what_needs_nothing_is_answered_to_an_unknown_token_too(api: Api, path: str) -> None:
    assert (await api.get(path, **with_token("unknown")))[0] == 200


async def test_a_strangers_body_is_not_waited_for(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: unknown\r\nContent-Length: 4000000\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 403 ")
    writer.close()


# Limits.


async def test_a_token_that_asks_too_much_is_told_when_to_come_back_and_others_are_served() -> None:
    async for api in served(requests_per_second=0.01):
        secret = client(api, 1, 'namespace "default" { policy = "read" }')
        assert (await api.get(VOLUMES, **with_token(secret)))[0] == 200
        status, headers, text = await api.get(VOLUMES, **with_token(secret))
        assert (status, text) == (429, "too many requests: this node takes 0.01 a second of each token")
        assert 90 <= int(headers["Retry-After"]) <= 100
        assert (await api.get(VOLUMES, **with_token(client(api, 2, SEES_PROD))))[0] == 403


async def test_who_guesses_secrets_is_limited_by_address() -> None:
    async for api in served(requests_per_second=0.01):
        found = [(await api.get(VOLUMES, **with_token(f"guess {n}")))[0] for n in range(3)]
        assert found == [403, 429, 429]


async def test_waiters_of_one_token_are_limited_and_others_wait_on() -> None:
    async for api in served(waiters_per_token=2):
        secret = client(api, 1, 'namespace "default" { policy = "read" }')
        path = f"/v1/volume/csi/of-default?index={api.registry.state.index}&wait=60s"
        tasks = [asyncio.create_task(api.get(path, **with_token(secret))) for _ in range(2)]
        await waiting(api, 2)
        status, headers, text = await api.get(path, **with_token(secret))
        assert (status, headers["Retry-After"]) == (429, "1")
        assert text == "too many blocking queries: at most 2 of each token wait here at a time"
        other = asyncio.create_task(api.get(path, **with_token(MANAGEMENT)))
        await waiting(api, 3)
        row = api.registry.state.volume("default", "of-default")
        assert row is not None
        api.registry.apply(RegisterVolumes("default", (row,)))
        assert [(await task)[0] for task in (*tasks, other)] == [200, 200, 200]
        assert (await api.get(f"{VOLUMES}&index=1", **with_token(secret)))[0] == 200
