"""What a real Nomad answered is what we answer, but for the declared deviations."""

from __future__ import annotations

import asyncio

import pytest

from tests.comparison import Comparison
from tests.http.conftest import Api
from tests.replay import Replay, covered_by
from tests.replay_claims import STEPS

STORIES = ("volumes.jsonl", "blocking.jsonl", "plugins.jsonl")

# What comes with later issues: access, the operator's routes.
OURS = (
    "/v1/volume",
    "/v1/plugin",
    "/v1/node",
    "/v1/status",
    "/v1/agent/health",
    "/v1/agent/members",
    "/v1/regions",
    "/v1/namespaces",
    "/v1/search",
    "/v1/nothing",
)


async def _waits(api: Api) -> None:
    for _ in range(2000):
        if len(api.registry.watch):
            return
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("story", STORIES)
async def test_a_story_goes_as_recorded(api: Api, story: str) -> None:
    replay = Replay([api.url], waiting=lambda: _waits(api))
    assert await replay.file(story) == []
    assert replay.comparison.compared > 25


# The recorder's nodes have classes and versions that its steps don't tell.
async def test_the_claims_story_goes_as_recorded(api: Api) -> None:
    comparison = Comparison(compares=lambda path: not path.startswith("/v1/nodes"))
    assert await Replay([api.url], comparison=comparison, others=STEPS).file("claims.jsonl") == []
    assert comparison.compared > 70


async def test_the_cluster_story_goes_as_recorded_until_servers_die(api: Api) -> None:
    replay = Replay([api.url] * 3, covers=covered_by(OURS))
    found = await replay.file("cluster.jsonl")
    after_the_kill = [text for text in found if int(text.split()[1].rstrip(":")) > 45]
    assert [text for text in found if text not in after_the_kill] == []


# Of the modern server's answers only the statuses: it leaves modes and counts empty, and words things differently.
# Of the old one's all bodies but those of members and nodes, which are the recorder's own.
@pytest.mark.parametrize(
    ("story", "bodies"), [("cli-0.11.3.jsonl", ("/v1/volume", "/v1/plugin")), ("cli-1.1.0.jsonl", ())]
)
async def test_what_the_nomad_commands_send_is_answered_as_they_need_it(
    api: Api, story: str, bodies: tuple[str, ...]
) -> None:
    comparison = Comparison(compares=lambda path: path.startswith(bodies))
    replay = Replay([api.url], covers=covered_by(OURS), comparison=comparison)
    assert await replay.file(story) == []
    assert replay.comparison.compared > 25
