"""Replays recorded exchanges (tests/reference) against a running server, by the rules of the README there.

`Replay(url).file(path)` gives the differences found, each in words. Deviations are those that the recordings declare;
what holds instead of a declared one is in `INSTEAD`. Steps that a server doesn't know yet are left out by `covers`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

REFERENCE = Path(__file__).parent / "reference"

# contract.md, "honest codes": what the reference answers as 500, by its text.
HONEST = (
    (r"No cluster leader", 503),
    (r"validation: |missing volume |no CSI plugin named|context must be one of|No path to region", 400),
    (r"volume .* is in nonexistent namespace", 400),
    (r"(volume|plugin|node|alloc) not found", 404),
    (r"volume exists|volume in use", 409),
    (r"plugin (does not support|has no controller)", 501),
)

# What the cli- files don't declare, as there the requests are what counts.
OF_COMMANDS = {
    ("GET", "/v1/volume/csi/volu"): 404,  # the full ID is required
    ("GET", "/v1/nodes?prefix=n1"): 200,  # a prefix that is none of an ID's finds nothing
}

# Texts that are Go's decoder's own; ours name the field instead (contract.md, "Broken or wrong-typed JSON").
OF_GO = re.compile(r"json: cannot unmarshal|invalid character|\(connection closed")

INDEXES = ("CreateIndex", "ModifyIndex", "Index")

Covers = Callable[[str, str], bool]


def nothing(recorded: Any) -> Any:
    """Nothing of the recorded JSON holds here: the step's status and headers are all that is compared."""
    return None


def without(*ids: str) -> Callable[[Any], Any]:
    return lambda recorded: [item for item in recorded if item["ID"] not in ids]


# (why of the deviation, path) → what our answer is, made of the recorded one; without an entry nothing is compared.
INSTEAD: dict[str, Callable[[Any], Any]] = {
    "the two volumes that we refused above (unknown mode, another path) aren't there": without(
        "volume-id1-acc", "volume-id1-body"
    ),
    'Topologies [{"foo":"bar"}]': lambda recorded: {**recorded, "Topologies": [{"foo": "bar"}]},
    "indexes in the body are ignored": lambda recorded: {
        key: value for key, value in recorded.items() if key not in INDEXES
    },
    "not woken: another volume": lambda recorded: recorded,
    "every type but csi gives []": lambda recorded: [],
}


@dataclass
class Replay:
    """One story against one server (or several: `urls` by the step's `server`).

    `waiting` returns once a blocking request that was just sent waits at the server; `longest` bounds, in seconds,
    waits that nothing is to end. `compares` says of which paths the bodies are compared, besides their statuses.
    """

    urls: list[str]
    covers: Covers = lambda method, path: True
    waiting: Callable[[], Awaitable[None]] | None = None
    compares: Callable[[str], bool] = lambda path: True
    longest: float = 0.8
    differences: list[str] = field(default_factory=list)
    compared: int = 0
    _step: int = 0
    _answer_before: tuple[int, int] = (0, 0)
    _pending: dict[str, tuple[asyncio.Task[Any], float, float]] = field(default_factory=dict)
    _moments: dict[str, dict[int, int]] = field(default_factory=dict)
    _writes: dict[int, int] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    async def file(self, name: str) -> list[str]:
        """Play tests/reference/NAME; the differences."""
        steps = [json.loads(line) for line in (REFERENCE / name).read_text().splitlines()]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            for self._step, step in enumerate(steps, start=1):
                await self._play(session, step)
        self._compare_order()
        return self.differences

    async def _play(self, session: aiohttp.ClientSession, step: dict[str, Any]) -> None:
        match step["step"]:
            case "node":
                await self._report(session, step["spec"], step["ok"])
            case "node_status":
                url = f"/v1/node/{step['NodeID']}/status"
                await self._must(session, "PUT", url, {"Status": step["Status"]})
            case "http" if self._is_covered(step):
                self._compare(step, await self._send(session, step, self._path(step)))
            case "begin":
                await self._begin(session, step)
            case "end":
                await self._end(step)
            case "cli":
                for exchange in step["http"]:
                    if self._is_covered(exchange):
                        self._compare(exchange, await self._send(session, exchange, exchange["request"]["path"]))

    def _is_covered(self, step: dict[str, Any]) -> bool:
        return self.covers(step["request"]["method"], step["request"]["path"])

    # Sending.

    def _path(self, step: dict[str, Any], wait: str = "") -> str:
        """The request's path, with its index moved along: it is relative to the index of the answer before it."""
        path: str = step["request"]["path"]
        recorded, ours = self._answer_before

        def moved(found: re.Match[str]) -> str:
            index = int(found[1])
            by = index - recorded
            if by > 0 and index in self._writes:
                return f"index={self._writes[index]}"  # a write's index, that the answer before it didn't show
            if step["step"] == "begin":
                # Each of the reference's tables has an index of its own; with us an older one is answered at once.
                by = max(by, 0)
            return f"index={ours + by if index else 0}"

        path = re.sub(r"(?<=[?&])index=(\d+)", moved, path)
        return re.sub(r"(?<=[?&])wait=[0-9]+s", f"wait={wait}", path) if wait else path

    async def _send(self, session: aiohttp.ClientSession, step: dict[str, Any], path: str) -> _Answer:
        request = step["request"]
        body: bytes | None = None
        if "raw_body" in request:
            body = request["raw_body"].encode()
        elif request.get("body") is not None:
            body = json.dumps(request["body"]).encode()
        base = self.urls[step.get("server", 0)]
        url = URL(base + path, encoded=True)
        async with session.request(
            request["method"], url, data=body, headers={"Accept-Encoding": "identity"}, allow_redirects=False
        ) as response:
            return _Answer(response.status, dict(response.headers), await response.text())

    async def _must(self, session: aiohttp.ClientSession, method: str, path: str, body: Any) -> None:
        async with session.request(method, self.urls[0] + path, json=body) as response:
            if response.status != 200:
                self._differ(f"{method} {path}: {response.status} {await response.text()}")

    async def _report(self, session: aiohttp.ClientSession, spec: dict[str, Any], ok: bool) -> None:
        if not ok:
            return
        body: dict[str, Any] = {"ID": spec["NodeID"], "Name": spec["Name"], "Status": spec["Status"]}
        if spec.get("Node"):
            body["CSINodePlugins"] = {spec["Plugin"]: _fingerprint(spec, controller=False)}
        if spec.get("Controller"):
            body["CSIControllerPlugins"] = {spec["Plugin"]: _fingerprint(spec, controller=True)}
        await self._must(session, "PUT", f"/v1/node/{spec['NodeID']}", body)

    async def _begin(self, session: aiohttp.ClientSession, step: dict[str, Any]) -> None:
        end = self._end_of(step)
        # What must be woken waits long, what must not be woken waits briefly.
        wait = 25.0 if _must_wake(end) else self.longest
        path = self._path(step, wait=f"{wait * 1000:.0f}ms")
        task = asyncio.create_task(self._send(session, step, path))
        if self.waiting is not None:
            await self.waiting()
        self._pending[step["id"]] = task, time.monotonic(), wait

    def _end_of(self, step: dict[str, Any]) -> dict[str, Any]:
        lines = (REFERENCE / "blocking.jsonl").read_text().splitlines()[self._step :]
        return next(found for line in lines if (found := json.loads(line))["step"] == "end")

    async def _end(self, step: dict[str, Any]) -> None:
        task, began, wait = self._pending.pop(step["id"])
        early = task.done() and time.monotonic() - began < wait / 2
        if not _must_wake(step) and early:
            self._differ(f"{step['request']['path']} was answered, though nothing moved")
        answer = await task
        if _must_wake(step) and time.monotonic() - began >= wait:
            self._differ(f"{step['request']['path']} was not woken")
        self._compare(step, answer)

    # Comparing.

    def _compare(self, step: dict[str, Any], answer: _Answer) -> None:
        self.compared += 1
        recorded, deviation = step["response"], step.get("deviation", {})
        what = f"{step['request']['method']} {step['request']['path']}"
        status = _status(step)
        bodies = self.compares(step["request"]["path"])
        if answer.status != status:
            self._differ(f"{what}: status {answer.status}, expected {status}: {answer.text[:200]}")
            return
        if recorded["status"] in (200, 404) and status == recorded["status"]:
            self._compare_headers(what, step, answer)
        if "X-Nomad-Index" in answer.headers:
            seen = int(recorded["headers"].get("x-nomad-index", self._answer_before[0]))
            self._answer_before = seen, int(answer.headers["X-Nomad-Index"])
            if step["request"]["method"] in ("PUT", "DELETE"):
                self._writes[seen] = self._answer_before[1]
        if not bodies:
            return
        if status >= 400:
            self._compare_text(what, step, answer)
        elif _body(recorded) is not None:
            expected = _body(recorded)
            if "why" in deviation:
                expected = INSTEAD.get(deviation["why"], nothing)(expected)
            if expected is not None:
                self._compare_value(what, expected, json.loads(answer.text))
                _check_layout(step, answer.text, lambda text: self._differ(f"{what}: {text}"))

    def _compare_headers(self, what: str, step: dict[str, Any], answer: _Answer) -> None:
        recorded = step["response"]["headers"]
        ours = {name.lower(): value for name, value in answer.headers.items()}
        registers = step["request"]["method"] in ("PUT", "POST") and not _body(step["response"])
        if "why" in step.get("deviation", {}) and "x-nomad-index" not in recorded:
            return
        for name in ("x-nomad-index", "x-nomad-knownleader", "x-nomad-lastcontact", "content-type"):
            if name == "content-type" and registers:
                continue  # ours answers the volumes
            if (name in recorded) != (name in ours):
                self._differ(f"{what}: {name} is {ours.get(name)}, recorded {recorded.get(name)}")
        for name in ("x-nomad-knownleader", "content-type"):
            if name in recorded and name in ours and recorded[name] != ours[name] and not registers:
                self._differ(f"{what}: {name} is {ours[name]}, recorded {recorded[name]}")
        if recorded.get("x-nomad-lastcontact") == "0" and ours.get("x-nomad-lastcontact") != "0":
            self._differ(f"{what}: x-nomad-lastcontact is {ours.get('x-nomad-lastcontact')}")

    def _compare_text(self, what: str, step: dict[str, Any], answer: _Answer) -> None:
        deviation = step.get("deviation", {})
        text = step["response"].get("text", "").removeprefix("rpc error: ")
        if step["response"]["status"] < 400 or OF_GO.match(text):
            return
        if "why" in deviation and not answer.text.startswith(text):
            text = ""
        if not answer.text.startswith(text):
            self._differ(f"{what}: text {answer.text!r}, recorded {text!r}")

    def _compare_value(self, what: str, recorded: Any, ours: Any, path: str = "") -> None:
        match recorded:
            case dict():
                if not isinstance(ours, dict):
                    self._differ(f"{what}: {path} is {ours!r}, recorded an object")
                    return
                if ours and path.endswith(("ReadAllocs", "WriteAllocs")):
                    recorded, ours = dict.fromkeys(recorded), dict.fromkeys(ours)
                kind = "plugin" if "/v1/plugin" in what else "volume"
                for key, value in recorded.items():
                    if key not in ours:
                        self._differ(f"{what}: {path}.{key} is missing")
                    elif key in INDEXES:
                        if key == "ModifyIndex":
                            self._note_moment(what, kind, value, ours[key])
                    elif key == "AllocID":
                        if self._names.setdefault(value, ours[key]) != ours[key]:
                            self._differ(f"{what}: {path}.{key} is another one than before")
                    else:
                        self._compare_value(what, value, ours[key], f"{path}.{key}")
                for key in ("Controllers", "Nodes", "ReadClaims", "WriteClaims", "PastClaims"):
                    if isinstance(recorded.get(key), dict) and recorded[key].keys() != ours[key].keys():
                        self._differ(f"{what}: {path}.{key} has {list(ours[key])}, recorded {list(recorded[key])}")
            case list():
                if not isinstance(ours, list) or len(ours) != len(recorded):
                    self._differ(f"{what}: {path} is {str(ours)[:300]}, recorded {str(recorded)[:300]}")
                    return
                for place, (one, other) in enumerate(zip(recorded, ours, strict=True)):
                    self._compare_value(what, one, other, f"{path}[{place}]")
            case _:
                if recorded != ours:
                    self._differ(f"{what}: {path} is {ours!r}, recorded {recorded!r}")

    def _note_moment(self, what: str, kind: str, recorded: int, ours: int) -> None:
        known = self._moments.setdefault(kind, {})
        if known.setdefault(recorded, ours) != ours:
            self._differ(f"{what}: index {ours} where {known[recorded]} was before (recorded {recorded})")

    def _compare_order(self) -> None:
        """What was changed later has the greater index."""
        for kind, moments in self._moments.items():
            ordered = [ours for _, ours in sorted(moments.items())]
            if ordered != sorted(set(ordered)):
                self._differ(f"the {kind}s' indexes {ordered} are in another order than recorded {sorted(moments)}")

    def _differ(self, text: str) -> None:
        self.differences.append(f"step {self._step}: {text}")


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    text: str


def _status(step: dict[str, Any]) -> int:
    if "status" in step.get("deviation", {}):
        return int(step["deviation"]["status"])
    recorded, text = step["response"]["status"], step["response"].get("text", "")
    method, path = step["request"]["method"], step["request"]["path"]
    if (method, path) in OF_COMMANDS:
        return OF_COMMANDS[method, path]
    if method == "HEAD":
        return 200
    why = step.get("deviation", {}).get("why", "")
    if why.startswith("a plugin appears with its first fingerprint") and path.startswith("/v1/plugin/"):
        return 200
    if why.startswith("POST registers as PUT does"):
        return {"POST": 200, "OPTIONS": 204}.get(method, 405)
    if recorded == 500:
        text = text.removeprefix("rpc error: ")
        return next((status for pattern, status in HONEST if re.match(pattern, text)), 500)
    return int(recorded)


def _body(response: dict[str, Any]) -> Any:
    """The recorded JSON; of `pretty` answers the text was recorded."""
    if "json" in response:
        return response["json"]
    text = response.get("text", "")
    return json.loads(text) if text[:1] in ("{", "[") else None


def _must_wake(end: dict[str, Any]) -> bool:
    why = end.get("deviation", {}).get("why", "")
    if why.startswith("wakes"):
        return True
    return bool(end["woken_by_the_steps_between"]) and not why.startswith("not woken")


def _check_layout(step: dict[str, Any], text: str, differ: Callable[[str], None]) -> None:
    pretty = re.search(r"[?&]pretty(=(?!0)|&|$)", step["request"]["path"])
    value = json.loads(text)
    layout: dict[str, Any] = {"indent": 4} if pretty else {"separators": (",", ":")}
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, **layout) + ("\n" if pretty else "")
    if text != canonical:
        differ("keys aren't sorted, or the layout isn't the asked one")


def _fingerprint(spec: dict[str, Any], *, controller: bool) -> dict[str, Any]:
    """What the recorder reported of a node's instance; each report is of a new allocation."""
    common = {
        "PluginID": spec["Plugin"],
        "AllocID": str(uuid.uuid4()),
        "Provider": spec["Provider"],
        "ProviderVersion": spec["Version"],
        "RequiresControllerPlugin": spec.get("Required", False),
        "UpdateTime": "2023-11-14T22:13:20Z",
    }
    if controller:
        return common | {
            "Healthy": spec.get("CtrlOK", False),
            "ControllerInfo": {
                "SupportsAttachDetach": True,
                "SupportsListVolumes": True,
                "SupportsListVolumesAttachedNodes": False,
                "SupportsReadOnlyAttach": True,
            },
        }
    return common | {
        "Healthy": spec.get("NodeOK", False),
        "NodeInfo": {"ID": spec["NodeID"], "MaxVolumes": 64, "RequiresNodeStageVolume": True},
    }


def covered_by(prefixes: tuple[str, ...]) -> Covers:
    """Only what is under these paths."""
    return lambda method, path: path.split("?")[0].startswith(prefixes)


def stories() -> Iterator[str]:
    yield from sorted(path.name for path in REFERENCE.glob("*.jsonl"))
