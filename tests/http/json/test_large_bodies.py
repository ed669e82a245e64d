"""Large bodies: read in turns they mean what they mean read at once, none costs much, and strangers' aren't read."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.http.conftest import SETTINGS, Api, serve, stub, volume
from tests.http.guarded import DENIED, MANAGEMENT, NODE_SECRET, NOT_FOUND, make_token, served, with_token
from tests.http.json.hostile_bodies import FULL, SHAPES
from tests.process.agents import until
from volstore.core.errors import ApiError
from volstore.http.endpoints.allocation_body import MANY, read_allocation, read_allocations
from volstore.http.endpoints.volume_body import REGISTER, read_volumes
from volstore.http.json import reader as json_input
from volstore.http.json.reader import BODY_WEIGHT, PIECE_BYTES, InvalidBody, read_batch
from volstore.http.json.scan import DEEPEST, Outline, outline, weight_at_most
from volstore.http.json.shape import MOST_MEMBERS, Batch
from volstore.http.server.bodies import MUCH, SMALL, Bodies, Turns
from volstore.http.server.connection import Connection
from volstore.http.server.declaration import Write
from volstore.http.server.rights import management
from volstore.http.server.router import API

T = TypeVar("T")


def at_once(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def outcome(body: bytes, kind: Batch[Any]) -> object:
    try:
        return at_once(read_batch(body, kind))
    except InvalidBody as error:
        return error.text


# What is read.

SPACES = st.text(" \t\r\n", max_size=3).map(str.encode)
MEMBERS = st.sampled_from(
    [
        b"{}",
        b'{"ID":"a"}',
        b'{"ID":"b","Parameters":{"k":"v"}}',
        b'{"ID":"c","x":[[{}],"]},{"]}',
        b'{"ID":"\\"]","Name":"\\\\"}',
        b'{"ID":"a","ID":"a"}',
        b'{"ID":5}',
        b'{"ID":"a"',
        b'{"ID":"a"]',
        b"null",
        b'"{}"',
        b"5",
        b"[]",
        b"",
        b"{} {}",
        b"\\",
    ]
)
ENVELOPES = st.sampled_from(
    [
        (b'{"Volumes":[', b"]}"),
        (b'{"a":"[","Volumes" : [', b'],"b":{"Volumes":[1]}}'),
        (b'{"x":{"Volumes":[]},"Volumes":[', b"]}"),
        (b'{"Volumes":[', b'],"Volumes":[]}'),
        (b'{"Volumes":[],"Volumes":[', b"]}"),
        (b'{"Vol\\u0075mes":[', b"]}"),
        (b'{"x\\"Volumes":[],"Volumes":[', b"]}"),
        (b'{"Volumes":[', b"]} {}"),
        (b'{"Volumes":[', b"]"),
        (b'{"Volumes":[', b"}}"),
        (b'["Volumes",[', b"]]"),
        (b'{"Volumes":[', b"]]}"),
        (b'\\{"Volumes":[', b"]}"),
    ]
)


@given(
    ENVELOPES, st.lists(MEMBERS, max_size=5), st.sampled_from([b",", b" ,\n", b"", b",,"]), SPACES, st.integers(7, 40)
)
@example((b'{"Volumes":[', b"]}"), [b'{"ID":"a"}', b'{"ID":"b"}'], b",", b" ", 8)
@settings(max_examples=400, deadline=None)
def test_in_turns_is_read_what_is_read_at_once_and_nothing_else(
    envelope: tuple[bytes, bytes], members: list[bytes], comma: bytes, space: bytes, chunk: int
) -> None:
    body = envelope[0] + space + comma.join(members) + space + envelope[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volstore.http.json.scan.CHUNK", chunk)
        in_turns = outcome(body, REGISTER)
    try:
        whole: object = read_volumes(body)
    except ApiError:
        whole = None
    if whole is None:
        # A list without members is refused behind it, with the words that clients know.
        assert isinstance(in_turns, str) or in_turns == (), body
    else:
        assert in_turns == whole, body


VALUES = st.recursive(
    st.text(max_size=5) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(VALUES, st.integers(5, 30))
def test_the_outline_weighs_what_is_there(value: object, chunk: int) -> None:
    def weight(one: object) -> int:
        """Without the first value of its list or object."""
        if not isinstance(one, dict | list):
            return 0
        members = list(one.values()) if isinstance(one, dict) else one
        return 3 + max(0, len(members) - 1) + sum(map(weight, members))

    body, found = json.dumps(value).encode(), Outline()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volstore.http.json.scan.CHUNK", chunk)
        for _ in outline(body, found, 10**9):
            pass
    assert found.weight == 1 + weight(value)
    assert found.weight <= weight_at_most(body)


def test_a_thousand_volumes_are_taken_and_one_more_is_not() -> None:
    def body(count: int, **fields: Any) -> bytes:
        return json.dumps({"Volumes": [volume(f"v{n}", **fields) for n in range(count)]}).encode()

    assert len(read_volumes(body(1000))) == 1000
    rich = {"Parameters": {str(n): "x" for n in range(20)}}
    assert len(at_once(read_batch(body(1000, **rich), REGISTER))) == 1000
    for more in (body(1001), body(1001, **rich)):
        assert outcome(more, REGISTER) == (
            "validation: Volumes: more than 1000 elements are too many, at most 1000 are taken"
        )
    with pytest.raises(InvalidBody, match="Volumes: 1001 elements are too many, at most 1000 are taken"):
        read_volumes(body(1001))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"Volumes":[{"ID":"v"},{"ID":"' + b"x" * PIECE_BYTES + b'"}]}', "Volumes[1]: 262153 bytes are too long"),
        (
            b'{"Volumes":[{"ID":"v"}],"x":"' + b"x" * PIECE_BYTES + b'"}',
            "bytes are too long, at most 262144 are taken beside the array Volumes",
        ),
        (b'{"Volumes":[{"ID":"v","x":[' + b"1," * 9_999 + b"1]}]}", "Volumes[0]: too many values: at most 10000"),
        (b'{"Volumes":[' + b"{}," * 70_000 + b"{}]}", "Volumes: more than 1000 elements are too many, at most 1000"),
        (b'{"x":[' + b"{}," * 70_000 + b"{}]}", f"too many values: at most {BODY_WEIGHT} are taken"),
        (b'{"Volumes":[{"ID":"v"},5]}', "Volumes[1]: expected objects with commas between them"),
        (b'{"Volumes":[{"ID":"v"},{"ID":7}]}', "Volumes[1].ID: expected a string, got a number"),
        (b'{"Volumes":[{"ID":"v"},{"ID":"w","ID":"w"}]}', 'Volumes[1]: the key "ID" is there twice'),
        (b'{"Volumes":[],"Volumes":[]}', 'the body: the key "Volumes" is there twice'),
        (b'{"Volumes":[{"ID":"v"}', "the JSON document ends early, in Volumes"),
    ],
)
def test_what_is_wrong_in_a_large_body_is_told_with_its_place(body: bytes, text: str) -> None:
    assert text in str(outcome(body, REGISTER))


@pytest.mark.parametrize("levels", [DEEPEST, DEEPEST + 1])
def test_depth_has_one_bound_everywhere(levels: int) -> None:
    deep = b"[" * (levels - 1) + b"]" * (levels - 1)
    member = b"[" * (levels - 3) + b"]" * (levels - 3)
    read: list[Callable[[], object]] = [
        lambda: read_allocation(b'{"NodeID":"n","Unknown":' + deep + b"}"),
        lambda: read_volumes(b'{"ID":"v","ReadAllocs":' + deep + b"}"),
        lambda: read_allocations(b'{"Allocations":[{"Unknown":' + member + b"}]}"),
        lambda: at_once(read_batch(b'{"Allocations":[{"Unknown":' + member + b"}]}", MANY)),
    ]
    for one in read:
        if levels <= DEEPEST:
            one()
        else:
            with pytest.raises(InvalidBody, match="nested too deeply: at most 32 levels"):
                one()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"Parameters": {str(n): "x" for n in range(MOST_MEMBERS + 1)}}, "Volumes[0].Parameters: 1001 keys"),
        ({"Secrets": {str(n): "x" for n in range(MOST_MEMBERS + 1)}}, "Volumes[0].Secrets: 1001 keys"),
        ({"Topologies": [{}] * (MOST_MEMBERS + 1)}, "Volumes[0].Topologies: 1001 elements"),
        ({"MountOptions": {"MountFlags": ["f"] * (MOST_MEMBERS + 1)}}, "Volumes[0].MountOptions.MountFlags: 1001 el"),
    ],
)
def test_what_is_stored_of_a_volume_has_bounds(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        read_volumes(json.dumps({"Volumes": [volume("v", **fields)]}).encode())
    assert place in refused.value.text
    assert "at most 1000 are taken" in refused.value.text


def test_what_is_kept_unread_of_an_allocation_has_bounds() -> None:
    with pytest.raises(InvalidBody, match=r"Unknown.a: 1001 members are too many, at most 1000 are taken"):
        read_allocation(json.dumps(stub("a", Unknown={"a": [0] * 1001})).encode())
    with pytest.raises(InvalidBody, match=r"too many values: at most 10000 are taken"):
        read_allocation(json.dumps(stub("a", Unknown=[[0] * 900] * 12)).encode())


# What it costs: memory is exact, time is for `tests.bench.costs`.


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_no_body_takes_more_memory_than_four_times_the_largest(shape: str) -> None:
    body = SHAPES[shape](FULL)
    kind: Batch[Any] = MANY if "allocation" in shape else REGISTER
    tracemalloc.start()
    outcome(body, kind)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 4 * FULL


def test_a_repeated_key_is_found_without_remembering_where_everything_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of each of many deep elements was 15 GiB for 4 MiB once: here without the bounds."""
    monkeypatch.setattr(json_input, "PIECE_WEIGHT", 10**9)
    monkeypatch.setattr(json_input, "LONGEST_TEXT", 10**9)
    monkeypatch.setattr("volstore.http.json.scan.DEEPEST", 10**9)
    body = SHAPES["900 levels, and a key twice behind"](60_000)
    tracemalloc.start()
    with pytest.raises(InvalidBody, match="is there twice"):
        json_input.read_json(body, REGISTER)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_a_text_about_a_body_is_short() -> None:
    key = "\\u0001" * 64
    deep = '{"x":{"' + '":{"'.join([key] * 28) + '":{"a":1,"a":2}' + "}" * 29 + "}"
    with pytest.raises(InvalidBody) as refused:
        read_allocation(deep.encode())
    assert len(refused.value.text) < 1100


# The budget.


def test_what_is_under_way_has_a_budget_of_which_a_part_is_for_the_small() -> None:
    bodies = Bodies(4 * SMALL)
    large, other, small = bodies.share(), bodies.share(), bodies.share()
    large.grow(2 * SMALL)
    large.grow(3 * SMALL)
    with pytest.raises(ApiError) as refused:
        other.grow(SMALL + 1)
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert "max_bodies_bytes" in refused.value.text
    small.grow(SMALL)
    with pytest.raises(ApiError):
        other.grow(1)
    large.give_back()
    other.grow(2 * SMALL)
    for share in (large, other, small, small):
        share.give_back()
    assert bodies.held == 0


async def test_work_in_turns_is_done_one_after_the_other_and_lets_others_run_between() -> None:
    bodies, seen = Bodies(1), list[str]()

    def work(name: str) -> Generator[None, None, str]:
        for _ in range(3):
            seen.append(name)
            end = asyncio.get_running_loop().time() + 0.002
            while asyncio.get_running_loop().time() < end:
                pass
            yield
        return name

    async def others() -> None:
        while seen.count("b") < 3:
            seen.append(".")
            await asyncio.sleep(0)

    results = await asyncio.gather(bodies.in_turns(work("a")), bodies.in_turns(work("b")), others())
    assert tuple(results[:2]) == ("a", "b")
    text = "".join(seen)
    assert text.replace(".", "") == "aaabbb"
    assert "aa" not in text
    assert "bb" not in text


@pytest.fixture
async def narrow() -> AsyncIterator[Api]:
    """A node with room for four bodies of SMALL."""
    async for api in serve(replace(SETTINGS, max_bodies_bytes=4 * SMALL, body_deadline=20.0)):
        yield api


async def _begun(api: Api, size: int, sent: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b" " * sent)
    await writer.drain()
    return reader, writer


async def test_unfinished_bodies_hold_no_more_than_the_budget_and_small_ones_pass(narrow: Api) -> None:
    await narrow.report_node()
    bodies = narrow.server._bodies
    held = [await _begun(narrow, FULL, 2 * SMALL) for _ in range(10)]
    refused: list[bytes] = []
    for reader, _ in held:
        try:
            async with asyncio.timeout(1 if refused else 5):
                refused.append(await reader.readuntil(b"\r\n\r\n"))
        except TimeoutError:
            continue
    assert len(refused) == 9
    for head in refused:
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in head
    assert 0 < bodies.held <= 3 * SMALL
    await narrow.register("small")
    for _, writer in held:
        writer.close()
    await until(lambda: not bodies.held)


# Who is refused before the body.


@pytest.fixture
async def guarded() -> AsyncIterator[Api]:
    async for api in served():
        yield api


BODIES = [
    ("PUT", "/v1/volume/csi/v"),
    ("PUT", "/v1/volume/csi/v/claim"),
    ("PUT", "/v1/node/n2"),
    ("PUT", "/v1/node/n1/status"),
    ("PUT", "/v1/allocation/a"),
    ("PUT", "/v1/allocations"),
    ("PUT", "/v1/search"),
    ("PUT", "/v1/acl/policy/p"),
    ("PUT", "/v1/acl/token"),
    ("PUT", "/v1/acl/token/t"),
    ("PUT", "/v1/namespace/n"),
    ("PUT", "/v1/namespace"),
]
PROMISED = 3 * 1024 * 1024


async def _head_of_answer(api: Api, request: bytes) -> bytes:
    """Of a request whose body never comes."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        head += await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()
    return head


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("secret", ["", "33333333-3333-3333-3333-333333333333"])
async def test_a_stranger_is_refused_before_a_body_comes(guarded: Api, method: str, path: str, secret: str) -> None:
    token = f"X-Nomad-Token: {secret}\r\n" if secret else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {PROMISED}\r\n\r\n"
    answer = await _head_of_answer(guarded, head.encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith((NOT_FOUND if secret else DENIED)[1].encode())
    # Whole in one piece, as the fast path takes it: what is wrong with it is never looked for.
    whole = with_token(secret) if secret else {}
    status, _, text = await guarded.do(method, path, data=b"{" * 1000, **whole)
    assert (status, text) == (NOT_FOUND if secret else DENIED)


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_a_token_without_the_right_of_a_write_is_refused_before_its_body(
    guarded: Api, method: str, path: str
) -> None:
    if path == "/v1/search":
        return
    secret = "44444444-4444-4444-4444-444444444444"
    make_token(guarded, secret, 'namespace "*" { policy = "read" } node { policy = "read" } plugin { policy = "read" }')
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: {secret}\r\nContent-Length: {PROMISED}\r\n\r\n"
    assert (await _head_of_answer(guarded, head.encode())).startswith(b"HTTP/1.1 403 ")


async def test_whom_the_body_may_entitle_is_heard(guarded: Api) -> None:
    report = {"SecretID": NODE_SECRET, "Status": "ready", "CSINodePlugins": {"plugin-id1": {"Healthy": True}}}
    assert (await guarded.do("PUT", "/v1/node/n1", json=report))[0] == 200
    allocation = {"Allocations": [stub("a2", NodeID="n1")]}
    assert (await guarded.do("PUT", "/v1/allocations", json=allocation, **with_token(MANAGEMENT)))[0] == 200
    assert (await guarded.do("PUT", "/v1/allocations", json=allocation, **with_token(NODE_SECRET)))[0] == 200
    body = {"AllocationID": "a2", "NodeID": "n1", "Mode": "read"}
    status, _, text = await guarded.do("PUT", "/v1/volume/csi/of-default/claim", json=body, **with_token(NODE_SECRET))
    assert status == 200, text
    assert (await guarded.do("PUT", "/v1/namespace/new", data=b"{", **with_token(MANAGEMENT)))[0] == 400


async def test_what_follows_a_body_that_was_refused_unread_is_no_request(guarded: Api) -> None:
    """Its body is drained if it comes, and the connection is good for more; nothing in it is taken for a request."""
    host, port = guarded.url.removeprefix("http://").split(":")
    for size in (300, 100_000, 700_000):
        smuggled = b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n"
        body = smuggled * (size // len(smuggled))
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body + b"GET /v1/status/peers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            received = await reader.read()
        writer.close()
        assert received.count(b"HTTP/1.1 ") == 2, size
        assert received.startswith(b"HTTP/1.1 403 ")
        assert received.endswith(b'["127.0.0.1:4647"]')


async def test_a_body_that_was_announced_and_not_asked_for_ends_the_connection(guarded: Api) -> None:
    """With `Expect: 100-continue` the client may send it or not: what would come next can't be told apart."""
    host, port = guarded.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"PUT /v1/volume/csi/v HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 70\r\n\r\n"
        b"DELETE /v1/volume/csi/of-default HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    assert received.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in received
    assert b"Connection: close" in received
    assert received.count(b"HTTP/1.1 ") == 1


def test_every_write_with_a_body_says_who_may_send_one() -> None:
    """A new one is management's until somebody decides."""
    endpoints = [endpoint for route in API for endpoint in route.endpoints.values()]
    writes = [one for one in endpoints if isinstance(one, Write) and one.body is not None]
    assert {one.name for one in writes if one.before_body is management} == {
        "putAclPolicy",
        "makeAclToken",
        "changeAclToken",
        "putNamespace",
        "putNamedNamespace",
    }


async def test_a_body_is_read_of_everybody_who_may_have_it_done(guarded: Api) -> None:
    """What `core.acl.check` grants is never refused before."""
    grants = {
        'namespace "prod" { capabilities = ["csi-write-volume"] } plugin { policy = "read" }': "/v1/volume/csi/v",
        'namespace "prod" { capabilities = ["csi-mount-volume"] } plugin { policy = "read" }': "/v1/volume/csi/v/claim",
        'node { policy = "write" }': "/v1/allocations",
    }
    for number, (rules, path) in enumerate(grants.items()):
        secret = f"5555555{number}-5555-5555-5555-555555555555"
        make_token(guarded, secret, rules)
        status, _, text = await guarded.do("PUT", f"{path}?namespace=prod", data=b"{", **with_token(secret))
        assert (status, text.startswith("unexpected EOF")) == (400, True), (path, text)
        if "csi-mount-volume" in rules:  # of volumes, the body says where they are
            status, _, _ = await guarded.do("PUT", f"{path}?namespace=test", data=b"{", **with_token(secret))
            assert status == 403


async def test_large_pieces_of_many_connections_take_turns_of_the_loop_and_none_is_lost(
    guarded: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds that came at once were all taken in one turn of the loop, of 190 ms of processor."""
    took, together = [], [0]
    take, go_on = Connection._take, Turns._go_on

    def slow(self: Connection, data: bytes) -> None:
        end = time.perf_counter() + (0.002 if len(data) >= MUCH else 0)
        take(self, data)
        while time.perf_counter() < end:
            pass
        together[-1] += len(data) >= MUCH

    def turn(self: Turns) -> None:
        together.append(0)
        go_on(self)
        took.append(together[-1])
        together.append(0)

    monkeypatch.setattr(Connection, "_take", slow)
    monkeypatch.setattr(Turns, "_go_on", turn)
    body = b'{"Volumes":[]}' + b" " * (512 * 1024)
    request = b"PUT /v1/volume/csi/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def one() -> bytes:
        return await _head_of_answer(guarded, request)

    answers = await asyncio.gather(*(one() for _ in range(20)))
    assert all(answer.startswith(b"HTTP/1.1 403 ") for answer in answers), answers
    assert sum(took) >= 20
    assert max(took) == 1
    assert sum(together) == sum(took)
