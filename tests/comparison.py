"""How an answer of ours compares with a recorded one, by the rules of tests/reference/README.md.

The deviations are those that the recordings declare; what holds instead of a declared one is in `INSTEAD`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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


def nothing(recorded: Any) -> Any:
    """Nothing of the recorded JSON holds here: the step's status and headers are all that is compared."""
    return None


def without(*ids: str) -> Callable[[Any], Any]:
    return lambda recorded: [item for item in recorded if item["ID"] not in ids]


def newest_version(recorded: Any) -> Any:
    """Provider and version as the instance that reported last has them."""
    return _each(recorded, lambda item: {key: "1.1.0" for key in ("ProviderVersion", "Version") if key in item})


def one_node_down(recorded: Any) -> Any:
    """The same, with the instance of node 7 unhealthy, which moves the plugin's own index."""

    def fewer(item: dict[str, Any]) -> dict[str, Any]:
        if "plugin-id1" not in (item.get("PluginID"), item["ID"]):
            return {}
        changed: dict[str, Any] = {"NodesHealthy": item["NodesHealthy"] - 1}
        if "PluginID" not in item:
            changed["ModifyIndex"] = None
        if "Nodes" in item:
            changed["Nodes"] = {
                node: {**seen, "Healthy": not node.startswith("00000007")} for node, seen in item["Nodes"].items()
            }
        return changed

    return _each(newest_version(recorded), fewer)


def _each(recorded: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    items = recorded if isinstance(recorded, list) else [recorded]
    changed = [{**item, **change(item)} for item in items]
    return changed if isinstance(recorded, list) else changed[0]


IN_THE_ORDER_MADE = "by CreateIndex, then ID, as today's Nomad lists them: the recorded order is that of the IDs"
"""A replay makes one by one what was made at once; our answer is compared in the order of its IDs."""

# Why of a deviation → what our answer is, made of the recorded one; without an entry nothing is compared.
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
    "Provider and Version follow the latest fingerprint": newest_version,
    "the plugin instances of a node that is down are unhealthy": one_node_down,
    IN_THE_ORDER_MADE: lambda recorded: recorded,
    "its parameters stay as they are": lambda recorded: {
        key: value for key, value in recorded.items() if key != "Parameters"
    },
}


TODAY = {
    "AccessMode": "the mode in use: empty while nobody claims the volume, as since Nomad 1.1",
    "AttachmentMode": "as AccessMode",
    "ResourceExhausted": "Go's zero time for never, as since Nomad 1.0: typed clients take no null",
    "MountOptions": "shown with its flags redacted, as since Nomad 1.3",
}
"""What today's Nomad shows otherwise of every volume than 0.11.3 did, and why: contract-today.md, section 1."""


KEPT_NAMES = {"renamed": "volume id1", "changed": "volume-id1"}
"""What 0.11.3 renamed and today's Nomad refuses to: the steps that did so are sent without a new name."""


def as_today(volume: dict[str, Any]) -> dict[str, Any]:
    """A recorded volume as it is shown today; without what the recording doesn't tell."""
    if "PluginID" not in volume or "AccessMode" not in volume:
        return volume
    claims = ("ReadClaims", "WriteClaims", "PastClaims", "CurrentReaders", "CurrentWriters")
    used = any(volume.get(name) for name in claims)
    modes: dict[str, Any] = {
        name: volume[name] if used else "" for name in ("AccessMode", "AttachmentMode") if name in volume
    }
    shown = {name: value for name, value in volume.items() if name != "MountOptions"}
    if volume.get("Name") in KEPT_NAMES:
        shown["Name"] = KEPT_NAMES[volume["Name"]]
    if "ResourceExhausted" in volume:
        shown["ResourceExhausted"] = "0001-01-01T00:00:00Z"
    return {**shown, **modes}


@dataclass(frozen=True)
class Answer:
    """What a server of ours answered."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Comparison:
    """The differences between one recorded story and its replay, in words.

    `compares` says of which paths the bodies are compared, besides their statuses.
    """

    compares: Callable[[str], bool] = lambda path: True
    differences: list[str] = field(default_factory=list)
    compared: int = 0
    step: int = 0
    _moments: dict[str, dict[int, int]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def answer(self, step: dict[str, Any], answer: Answer) -> None:
        self.compared += 1
        recorded, deviation = step["response"], step.get("deviation", {})
        what = f"{step['request']['method']} {step['request']['path']}"
        status = expected_status(step)
        bodies = self.compares(step["request"]["path"])
        if answer.status != status:
            self.differ(f"{what}: status {answer.status}, expected {status}: {answer.text[:200]}")
            return
        if recorded["status"] in (200, 404) and status == recorded["status"]:
            self._compare_headers(what, step, answer)
        if not bodies:
            return
        if status >= 400:
            self._compare_text(what, step, answer)
        elif _body(recorded) is not None:
            expected = _body(recorded)
            if "why" in deviation:
                expected = INSTEAD.get(deviation["why"], nothing)(expected)
            if expected is not None:
                ours = json.loads(answer.text)
                if deviation.get("why") == IN_THE_ORDER_MADE:
                    ours.sort(key=lambda row: row["ID"])
                self._compare_value(what, expected, ours)
                self._compare_layout(what, step, answer.text)

    def _compare_headers(self, what: str, step: dict[str, Any], answer: Answer) -> None:
        recorded = step["response"]["headers"]
        ours = {name.lower(): value for name, value in answer.headers.items()}
        registers = step["request"]["method"] in ("PUT", "POST") and not _body(step["response"])
        if "why" in step.get("deviation", {}) and "x-nomad-index" not in recorded:
            return
        for name in ("x-nomad-index", "x-nomad-knownleader", "x-nomad-lastcontact", "content-type"):
            if name == "content-type" and registers:
                continue  # ours answers the volumes
            if (name in recorded) != (name in ours):
                self.differ(f"{what}: {name} is {ours.get(name)}, recorded {recorded.get(name)}")
        for name in ("x-nomad-knownleader", "content-type"):
            if name in recorded and name in ours and recorded[name] != ours[name] and not registers:
                self.differ(f"{what}: {name} is {ours[name]}, recorded {recorded[name]}")
        if recorded.get("x-nomad-lastcontact") == "0" and ours.get("x-nomad-lastcontact") != "0":
            self.differ(f"{what}: x-nomad-lastcontact is {ours.get('x-nomad-lastcontact')}")

    def _compare_text(self, what: str, step: dict[str, Any], answer: Answer) -> None:
        deviation = step.get("deviation", {})
        text = step["response"].get("text", "").removeprefix("rpc error: ")
        if step["response"]["status"] < 400 or OF_GO.match(text):
            return
        if "why" in deviation and not answer.text.startswith(text):
            text = ""
        if not answer.text.startswith(text):
            self.differ(f"{what}: text {answer.text!r}, recorded {text!r}")

    def _compare_value(self, what: str, recorded: Any, ours: Any, path: str = "") -> None:
        match recorded:
            case dict():
                if not isinstance(ours, dict):
                    self.differ(f"{what}: {path} is {ours!r}, recorded an object")
                    return
                if ours and path.endswith(("ReadAllocs", "WriteAllocs")):
                    recorded, ours = dict.fromkeys(recorded), dict.fromkeys(ours)
                recorded = as_today(recorded)
                kind = "plugin" if "/v1/plugin" in what else "volume"
                for key, value in recorded.items():
                    if key not in ours:
                        self.differ(f"{what}: {path}.{key} is missing")
                    elif key in INDEXES:
                        if key == "ModifyIndex" and value is not None:
                            self._note_moment(what, kind, value, ours[key])
                    elif key == "AllocID":
                        if self._names.setdefault(value, ours[key]) != ours[key]:
                            self.differ(f"{what}: {path}.{key} is another one than before")
                    else:
                        self._compare_value(what, value, ours[key], f"{path}.{key}")
                for key in ("Controllers", "Nodes", "ReadClaims", "WriteClaims", "PastClaims"):
                    if isinstance(recorded.get(key), dict) and recorded[key].keys() != ours[key].keys():
                        self.differ(f"{what}: {path}.{key} has {list(ours[key])}, recorded {list(recorded[key])}")
            case list():
                if not isinstance(ours, list) or len(ours) != len(recorded):
                    self.differ(f"{what}: {path} is {str(ours)[:300]}, recorded {str(recorded)[:300]}")
                    return
                for place, (one, other) in enumerate(zip(recorded, ours, strict=True)):
                    self._compare_value(what, one, other, f"{path}[{place}]")
            case _:
                if recorded != ours:
                    self.differ(f"{what}: {path} is {ours!r}, recorded {recorded!r}")

    def _note_moment(self, what: str, kind: str, recorded: int, ours: int) -> None:
        known = self._moments.setdefault(kind, {})
        if known.setdefault(recorded, ours) != ours:
            self.differ(f"{what}: index {ours} where {known[recorded]} was before (recorded {recorded})")

    def order(self) -> None:
        """What was changed later has the greater index."""
        for kind, moments in self._moments.items():
            ordered = [ours for _, ours in sorted(moments.items())]
            if ordered != sorted(set(ordered)):
                self.differ(f"the {kind}s' indexes {ordered} are in another order than recorded {sorted(moments)}")

    def differ(self, text: str) -> None:
        self.differences.append(f"step {self.step}: {text}")

    def _compare_layout(self, what: str, step: dict[str, Any], text: str) -> None:
        pretty = re.search(r"[?&]pretty(=(?!0)|&|$)", step["request"]["path"])
        layout: dict[str, Any] = {"indent": 4} if pretty else {"separators": (",", ":")}
        canonical = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, **layout)
        if text != canonical + ("\n" if pretty else ""):
            self.differ(f"{what}: keys aren't sorted, or the layout isn't the asked one")


def expected_status(step: dict[str, Any]) -> int:
    """The status that ours has: the declared one, else the recorded one by the rule of honest codes."""
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
