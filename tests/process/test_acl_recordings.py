"""The recorded story of access control, its whole matrix of rights against routes, and no secret left behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.comparison import Answer, Comparison
from tests.process.agents import Agent, agents, leader
from tests.replay import REFERENCE, report

Step = dict[str, Any]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PROBED = "volume-id1-t"
"""The volume that the matrix registers and deregisters; the recorder saw to it that it is there before each."""

# Recorded as 500, by the rule of honest codes or by contract.md's own words.
OF_THE_MATRIX = {"/v1/acl/token/self": 403, "/v1/operator/autopilot/health": 200}


class Story:
    """Plays the recorded steps with our own IDs and secrets in the place of the recorded ones."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.ours: dict[str, str] = {}
        self.by_name: dict[str, str] = {"(none)": ""}
        self.management = ""
        self.comparison = Comparison()
        self.secrets: set[str] = set()
        self.answers: list[str] = []

    async def play(self, steps: list[Step]) -> None:
        for number, step in enumerate(steps):
            self.comparison.step = number + 1
            match step["step"]:
                case "http":
                    await self._exchange(step)
                case "node":
                    body = report(step["spec"])
                    answer = await self._send("PUT", f"/v1/node/{step['spec']['NodeID']}", body, self.management)
                    assert answer.status == 200, answer.text
                case "matrix":
                    await self._probe(step)
                    if steps[number + 1]["step"] != "matrix":
                        await self._register_probed()
                case "about":
                    pass
                case other:
                    raise AssertionError(f"a step of kind {other} is not known here")

    async def _exchange(self, step: Step) -> None:
        request = self._translated(step["request"])
        headers = request.get("headers", {})
        answer = await self._send(request["method"], request["path"], request.get("body"), headers=headers)
        made = step["response"].get("json")
        if isinstance(made, dict) and "SecretID" in made and answer.status == 200:
            self._learn(step, made, json.loads(answer.text))
        self.comparison.answer(_as_ours(self._translated(step)), _in_order_of_names(answer))

    def _learn(self, step: Step, recorded: Step, ours: Step) -> None:
        """IDs and secrets that the server made up map one to one; a secret is shown to its maker alone."""
        makes = step["request"]["method"] == "POST" and recorded["AccessorID"] not in self.ours
        assert ("SecretID" in ours) == makes, step["request"]["path"]
        self.ours.setdefault(recorded["AccessorID"], ours["AccessorID"])
        if makes:
            self.ours[recorded["SecretID"]] = ours["SecretID"]
            self.by_name[recorded["Name"]] = ours["SecretID"]
            self.secrets.add(ours["SecretID"])
            self.management = self.management or ours["SecretID"]

    def _translated(self, step: Step) -> Any:
        text = UUID.sub(lambda found: self.ours.get(found[0], found[0]), json.dumps(step))
        return json.loads(text)

    async def _probe(self, step: Step) -> None:
        if step["method"] in ("PUT", "DELETE"):
            await self._register_probed()
        answer = await self._send(step["method"], step["path"], step["body"], self.by_name[step["token"]])
        expected = OF_THE_MATRIX.get(step["path"], 0) if step["status"] == 500 else step["status"]
        what = f"{step['method']} {step['path']} with {step['policies']}"
        if answer.status != expected:
            self.comparison.differ(f"{what}: {answer.status} {answer.text[:100]}, recorded {step['status']}")
        elif step["status"] == 403 and answer.text != step["text"]:
            self.comparison.differ(f"{what}: {answer.text!r}, recorded {step['text']!r}")
        self.comparison.compared += 1

    async def _register_probed(self) -> None:
        body = {
            "Volumes": [
                {
                    "ID": PROBED,
                    "Name": PROBED,
                    "ExternalID": PROBED,
                    "AccessMode": "multi-node-multi-writer",
                    "AttachmentMode": "file-system",
                    "PluginID": "plugin-id1",
                }
            ]
        }
        answer = await self._send("PUT", f"/v1/volume/csi/{PROBED}", body, self.management)
        assert answer.status == 200, answer.text

    async def _send(
        self, method: str, path: str, body: Any = None, token: str = "", headers: dict[str, str] | None = None
    ) -> Answer:
        shown = {"X-Nomad-Token": token} if token else dict(headers or {})
        data = None if body is None else json.dumps(body).encode()
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=shown) as response:
            answer = Answer(response.status, dict(response.headers), await response.text())
        self.answers.append(answer.text)
        return answer


def _as_ours(step: Step) -> Step:
    """The recorded answer without what is ours to make up, or to keep to ourselves."""
    if "text" in step["response"]:
        step["response"]["text"] = re.sub(r"(?<=reset index: )\d+\)", "", step["response"]["text"])
    if step["request"]["path"] == "/v1/status/leader":
        step["response"].pop("json")
    body = step["response"].get("json")
    shown = body if isinstance(body, list) else [body] if isinstance(body, dict) else []
    for thing in shown:
        if "AccessorID" in thing:
            thing.pop("CreateTime")
            thing.pop("SecretID", None)
    if isinstance(body, list):
        body.sort(key=lambda thing: str(thing["Name"]))
    return step


def _in_order_of_names(answer: Answer) -> Answer:
    """Tokens are listed by their accessors, which are others with us."""
    if answer.text.startswith('[{"AccessorID"'):
        listed = sorted(json.loads(answer.text), key=lambda thing: str(thing["Name"]))
        return Answer(answer.status, answer.headers, json.dumps(listed, separators=(",", ":"), sort_keys=True))
    return answer


@pytest.mark.timeout(120)
async def test_the_story_of_access_control_goes_as_recorded_and_no_secret_stays_behind(tmp_path: Path) -> None:
    steps = [json.loads(line) for line in (REFERENCE / "acl.jsonl").read_text().splitlines()]
    audit = tmp_path / "audit.jsonl"
    flags = (
        "--acl-enabled",
        "--log-level",
        "debug",
        "--snapshot-threshold",
        "50",
        "--audit-file",
        str(audit),
        "--audit-enforce",
    )
    with agents(tmp_path, 1, *flags) as (node,):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            node.start()
            await leader(session, [node])
            story = Story(node.url, session)
            await story.play(steps)
        assert node.stop() == 0
    story.comparison.order()
    assert story.comparison.differences == []
    assert story.comparison.compared > 650
    assert len(story.secrets) > 20
    _assert_shown_once(story)
    _assert_nowhere_in(tmp_path, story.secrets, node)
    _assert_audited(audit, steps)


def _assert_shown_once(story: Story) -> None:
    everything = "\n".join(story.answers)
    assert {secret: everything.count(secret) for secret in story.secrets} == dict.fromkeys(story.secrets, 1)


def _assert_nowhere_in(folder: Path, secrets: set[str], node: Agent) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert node.log in files
    assert any("snap" in path.name for path in files)
    assert sum(path.stat().st_size for path in files if path.is_relative_to(folder / node.name)) > 10_000
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            for form in (secret.encode(), bytes.fromhex(secret.replace("-", ""))):
                assert form not in content, path


def _assert_audited(audit: Path, steps: list[Step]) -> None:
    """Each denied probe of the matrix, and each write, before and after it was done."""
    entries = [json.loads(line) for line in audit.read_text().splitlines()]
    denied = [entry for entry in entries if entry["outcome"] == "denied"]
    assert len(denied) >= sum(step["step"] == "matrix" and step["status"] == 403 for step in steps) > 200
    assert {"action": "deregisterVolume", "object": PROBED, "namespace": "default", "status": 403}.items() <= next(
        entry for entry in denied if entry["method"] == "DELETE"
    ).items()
    attempted = [entry["request_id"] for entry in entries if entry["outcome"] == "attempted"]
    ended = [entry["request_id"] for entry in entries if entry["outcome"] in ("done", "refused", "denied", "failed")]
    assert set(attempted) <= set(ended)
    done = [entry["index"] for entry in entries if entry["outcome"] == "done"]
    assert done == sorted(done)
    assert len(done) > 60
