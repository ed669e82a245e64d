"""What is known of a request afterwards: no more than its answer, or its silence, says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.process.agents import free_ports
from volstore.drill.exchange import Answer, Exchange, outcome_of
from volstore.drill.record import Kind, Outcome
from volstore.drill.target import Access

SILENT = Answer(None, error="no answer")
NEVER_SENT = Answer(None, error="refused", sent=False)
HEADERS = {"X-Nomad-Index": "7"}


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        (Kind.REGISTER, Answer(200), Outcome.DONE),
        (Kind.REGISTER, Answer(400, b"validation: no"), Outcome.REFUSED),
        (Kind.REGISTER, Answer(429, b"too many"), Outcome.REFUSED),
        (Kind.REGISTER, Answer(503, b"No cluster leader: the write was not applied"), Outcome.REFUSED),
        (Kind.REGISTER, Answer(503, b"No cluster leader: the write may still be applied"), Outcome.UNKNOWN),
        (Kind.REGISTER, Answer(503, b"a proxy is busy"), Outcome.UNKNOWN),
        (Kind.REGISTER, Answer(500, b"internal error"), Outcome.UNKNOWN),
        (Kind.REGISTER, Answer(301), Outcome.UNKNOWN),
        (Kind.REGISTER, SILENT, Outcome.UNKNOWN),
        (Kind.REGISTER, NEVER_SENT, Outcome.REFUSED),
        (Kind.DEREGISTER, Answer(404, b"volume not found: a"), Outcome.REFUSED),
        (Kind.READ_DEFAULT, Answer(200, headers=HEADERS), Outcome.DONE),
        (Kind.READ_DEFAULT, Answer(404, headers=HEADERS), Outcome.DONE),
        (Kind.READ_DEFAULT, Answer(404), Outcome.REFUSED),
        (Kind.READ_STALE, Answer(503), Outcome.REFUSED),
        (Kind.READ_CONSISTENT, SILENT, Outcome.UNKNOWN),
    ],
)
def test_an_answer_proves_no_more_than_it_says(kind: Kind, answer: Answer, outcome: Outcome) -> None:
    assert outcome_of(kind, answer) is outcome


@pytest.mark.parametrize(
    ("contact", "known", "staleness"), [("1500", "true", 1.5), ("0", "true", 0.0), ("1500", "false", None)]
)
def test_an_answer_that_knows_no_leader_claims_no_age(contact: str, known: str, staleness: float | None) -> None:
    answer = Answer(200, headers={"X-Nomad-LastContact": contact, "X-Nomad-KnownLeader": known})
    assert answer.staleness == staleness


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[tuple[Exchange, str]]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    exchange = Exchange(Access("secret"))
    try:
        yield exchange, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await exchange.close()
        server.close()


async def test_a_request_that_was_never_sent_is_told_from_one_without_an_answer() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with served(swallow) as (exchange, url):
        swallowed = await exchange.ask("PUT", url, "/", body=b"{}", within=5)
        refused = await exchange.ask("PUT", f"http://127.0.0.1:{free_ports(1)[0]}", "/", body=b"{}", within=5)
    assert (swallowed.status, swallowed.sent) == (None, True)
    assert (refused.status, refused.sent) == (None, False)
    assert "Connect call failed" in refused.error


async def test_a_connection_that_fails_only_at_the_second_try_may_have_carried_the_request() -> None:
    """The first try went over a connection kept open, which then broke; at the second one nobody listens any more."""
    seen: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        server.close()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    exchange = Exchange(Access())
    try:
        assert (await exchange.ask("GET", url, "/", within=5)).status == 200
        answer = await exchange.ask("PUT", url, "/", body=b"{}", key="k", within=5)
    finally:
        await exchange.close()
        server.close()
    assert len(seen) == 2
    assert (answer.status, answer.sent) == (None, True)


async def test_a_silent_node_is_waited_for_no_longer_than_was_said_and_gets_token_and_key() -> None:
    heads: list[bytes] = []
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await over.wait()
        writer.close()

    async with served(silent) as (exchange, url):
        answer = await exchange.ask("DELETE", url, "/v1/x", {"stale": "true"}, key="k1", within=0.2)
        over.set()
    assert answer.error == "no answer within 0.2 s"
    (head,) = heads
    assert head.startswith(b"DELETE /v1/x?stale=true HTTP/1.1\r\n")
    assert b"X-Nomad-Token: secret" in head
    assert b"Idempotency-Key: k1" in head
