"""Replays a recorded story (tests/reference) against a running server, step by step.

`await Replay([url]).file(name)` gives the differences found, in words (`comparison.py` says what is one). A story's
steps of kinds that aren't known here are given to `others`, or left out.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.comparison import Answer, Comparison

REFERENCE = Path(__file__).parent / "reference"

Step = dict[str, Any]
Covers = Callable[[str, str], bool]
"""Whether a request (method, path) is one that the server knows already."""

Other = Callable[["Replay", aiohttp.ClientSession, Step], Awaitable[None]]
"""Plays a step of another kind (`claim`, `allocation`, `kill`, …)."""


def covered_by(prefixes: tuple[str, ...]) -> Covers:
    """Only what is under these paths."""
    return lambda method, path: path.split("?")[0].startswith(prefixes)


def everything(method: str, path: str) -> bool:
    return True


@dataclass
class Replay:
    """One story against one server, or against several: a step's `server` is a place in `urls`.

    `waiting` returns once a blocking request that was just sent waits at the server; `longest` bounds, in seconds,
    waits that nothing is to end.
    """

    urls: list[str]
    covers: Covers = everything
    comparison: Comparison = field(default_factory=Comparison)
    others: Mapping[str, Other] = field(default_factory=dict)
    waiting: Callable[[], Awaitable[None]] | None = None
    longest: float = 0.8
    _answer_before: tuple[int, int] = (0, 0)
    _writes: dict[int, int] = field(default_factory=dict)
    _pending: dict[str, tuple[asyncio.Task[Answer], float, float]] = field(default_factory=dict)

    async def file(self, name: str) -> list[str]:
        """Play tests/reference/NAME to its end; the differences."""
        steps = [json.loads(line) for line in (REFERENCE / name).read_text().splitlines()]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            for place, step in enumerate(steps):
                self.comparison.step = place + 1
                await self._play(session, step, steps[place + 1 :])
        self.comparison.order()
        return self.comparison.differences

    async def _play(self, session: aiohttp.ClientSession, step: Step, rest: list[Step]) -> None:
        match step["step"]:
            case "node" if step["ok"]:
                await self.must(session, "PUT", f"/v1/node/{step['spec']['NodeID']}", report(step["spec"]))
            case "node_status":
                await self.must(session, "PUT", f"/v1/node/{step['NodeID']}/status", {"Status": step["Status"]})
            case "http":
                await self._exchange(session, step, step)
            case "begin":
                end = next(later for later in rest if later["step"] == "end" and later["id"] == step["id"])
                await self._begin(session, step, must_wake=_must_wake(end))
            case "end":
                await self._end(step)
            case "cli":
                for exchange in step["http"]:
                    await self._exchange(session, step, exchange)
            case other if other in self.others:
                await self.others[other](self, session, step)

    async def _exchange(self, session: aiohttp.ClientSession, step: Step, exchange: Step) -> None:
        request = exchange["request"]
        if self.covers(request["method"], request["path"]):
            url = self.urls[step.get("server", 0)] if step["step"] == "http" else self.urls[0]
            if "body" in step.get("deviation", {}):
                request = {**request, "body": step["deviation"]["body"]}
            self._take(exchange, await _send(session, url + self._path(exchange), request))

    async def must(self, session: aiohttp.ClientSession, method: str, path: str, body: Any) -> None:
        """A step that has no recorded answer: it has to succeed."""
        answer = await _send(session, self.urls[0] + path, {"method": method, "body": body})
        if answer.status != 200:
            self.comparison.differ(f"{method} {path}: {answer.status} {answer.text}")

    async def _begin(self, session: aiohttp.ClientSession, step: Step, *, must_wake: bool) -> None:
        # What must be woken waits long, what must not be woken waits briefly.
        wait = 25.0 if must_wake else self.longest
        path = re.sub(r"(?<=[?&])wait=[0-9]+s", f"wait={wait * 1000:.0f}ms", self._path(step))
        task = asyncio.create_task(_send(session, self.urls[0] + path, step["request"]))
        if self.waiting is not None:
            await self.waiting()
        self._pending[step["id"]] = task, time.monotonic(), wait

    async def _end(self, step: Step) -> None:
        task, began, wait = self._pending.pop(step["id"])
        if not _must_wake(step) and task.done() and time.monotonic() - began < wait / 2:
            self.comparison.differ(f"{step['request']['path']} was answered, though nothing moved")
        answer = await task
        if _must_wake(step) and time.monotonic() - began >= wait:
            self.comparison.differ(f"{step['request']['path']} was not woken")
        self._take(step, answer)

    def _take(self, step: Step, answer: Answer) -> None:
        self.comparison.answer(step, answer)
        if "X-Nomad-Index" in answer.headers:
            recorded = int(step["response"]["headers"].get("x-nomad-index", self._answer_before[0]))
            self._answer_before = recorded, int(answer.headers["X-Nomad-Index"])
            if step["request"]["method"] in ("PUT", "DELETE"):
                self._writes[recorded] = self._answer_before[1]

    def _path(self, step: Step) -> str:
        """The request's path, with its index moved along: it is relative to the index of the answer before it."""
        recorded, ours = self._answer_before

        def moved(found: re.Match[str]) -> str:
            index = int(found[1])
            by = index - recorded
            if by > 0 and index in self._writes:
                return f"index={self._writes[index]}"  # a write's index, that the answer before it didn't show
            if step.get("step") == "begin":
                # Each of the reference's tables has an index of its own; with us an older one is answered at once.
                by = max(by, 0)
            return f"index={ours + by if index else 0}"

        return re.sub(r"(?<=[?&])index=(\d+)", moved, step["request"]["path"])


async def _send(session: aiohttp.ClientSession, url: str, request: Step) -> Answer:
    body: bytes | None = None
    if "raw_body" in request:
        body = request["raw_body"].encode()
    elif request.get("body") is not None:
        body = json.dumps(request["body"]).encode()
    async with session.request(
        request["method"],
        URL(url, encoded=True),
        data=body,
        headers={"Accept-Encoding": "identity"},
        allow_redirects=False,
    ) as response:
        return Answer(response.status, dict(response.headers), await response.text())


def _must_wake(end: Step) -> bool:
    why = end.get("deviation", {}).get("why", "")
    if why.startswith("wakes"):
        return True
    return bool(end["woken_by_the_steps_between"]) and not why.startswith("not woken")


def report(spec: Step) -> dict[str, Any]:
    """A `node` step's report, as the recorder made it: one instance of one plugin, of a new allocation each time."""
    body: dict[str, Any] = {"ID": spec["NodeID"], "Name": spec["Name"], "Status": spec["Status"]}
    seen = {
        "PluginID": spec["Plugin"],
        "AllocID": str(uuid.uuid4()),
        "Provider": spec["Provider"],
        "ProviderVersion": spec["Version"],
        "RequiresControllerPlugin": spec.get("Required", False),
        "UpdateTime": "2023-11-14T22:13:20Z",
    }
    if spec.get("Node"):
        info = {"ID": spec["NodeID"], "MaxVolumes": 64, "RequiresNodeStageVolume": True}
        body["CSINodePlugins"] = {spec["Plugin"]: {**seen, "Healthy": spec.get("NodeOK", False), "NodeInfo": info}}
    if spec.get("Controller"):
        supports = {"SupportsAttachDetach": True, "SupportsListVolumes": True, "SupportsReadOnlyAttach": True}
        healthy = spec.get("CtrlOK", False)
        body["CSIControllerPlugins"] = {spec["Plugin"]: {**seen, "Healthy": healthy, "ControllerInfo": supports}}
    return body
