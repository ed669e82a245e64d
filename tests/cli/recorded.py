"""A real HTTP server that answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

RECORDINGS = Path(__file__).parent.parent / "reference"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass(slots=True)
class RecordedServer:
    """Answers requests by method and path (with the query), each answer once and in order, others with 599."""

    answers: dict[tuple[str, str], deque[dict[str, Any]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    unexpected: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def will_answer(self, method: str, path: str, *, status: int = 200, **answer: Any) -> None:
        """`json` or `text`, and `headers`."""
        self.answers.setdefault((method, path), deque()).append({"status": status, **answer})

    def will_replay(self, exchanges: Iterable[dict[str, Any]]) -> None:
        for exchange in exchanges:
            request, response = exchange["request"], exchange["response"]
            self.will_answer(request["method"], request["path"], **response)

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [(asked.method, asked.path) for asked in self.asked]

    async def handle(self, request: web.BaseRequest) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, request.path_qs, body, dict(request.headers)))
        waiting = self.answers.get((request.method, request.raw_path))
        if not waiting:
            self.unexpected.append((request.method, request.raw_path))
            return web.Response(status=599, text=f"the test expected no {request.method} {request.raw_path}")
        answer = waiting.popleft()
        headers = {k: v for k, v in answer.get("headers", {}).items() if k != "content-type"}
        if "json" in answer:
            return web.json_response(answer["json"], status=answer["status"], headers=headers)
        return web.Response(text=answer.get("text", ""), status=answer["status"], headers=headers)


def steps(file: str) -> Iterator[dict[str, Any]]:
    with (RECORDINGS / file).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def meaning(value: Any) -> Any:
    """A body without what says nothing: null, empty, zero and Go's zero time, as Go's clients send them."""
    if isinstance(value, dict):
        kept = {key: meaning(one) for key, one in value.items()}
        return {
            key: one for key, one in kept.items() if one not in (None, "", 0, False, [], {}, "0001-01-01T00:00:00Z")
        }
    if isinstance(value, list):
        return [meaning(one) for one in value]
    return value
