"""Nothing is broken that would leave too few voters that are well."""

from __future__ import annotations

from typing import Any

import pytest

from volstore.drill.selection import too_few
from volstore.http.health import LAG


def health(count: int = 3, **changed: dict[str, Any]) -> dict[str, Any]:
    """GET /v1/operator/health of `count` nodes, s1 leads. A node's `changed`: fault, status, lag, voter, or gone."""
    names = [f"s{n + 1}" for n in range(count)]
    peers = [
        {
            "server": {
                "name": name,
                "voter": changed.get(name, {}).get("voter", True),
                "status": changed.get(name, {}).get("status", "alive"),
            },
            "lag": changed.get(name, {}).get("lag", 0),
        }
        for name in names
    ]
    nodes = []
    for name in names:
        change = changed.get(name, {})
        role = change.get("role", "leader" if name == "s1" else "follower")
        node = {"role": role, "fault": change.get("fault", ""), "peers": peers}
        nodes.append({"Name": name, "Node": None if change.get("gone") else node, "Why": "gone"})
    return {"Nodes": nodes}


@pytest.mark.parametrize(("count", "gone"), [(3, ["s1"]), (3, ["s3"]), (5, ["s1", "s2"]), (1, []), (4, ["s2"])])
def test_a_minority_may_go(count: int, gone: list[str]) -> None:
    assert too_few(health(count), gone) is None


@pytest.mark.parametrize(
    ("count", "gone"), [(3, ["s1", "s2"]), (5, ["s1", "s2", "s3"]), (1, ["s1"]), (4, ["s1", "s2"])]
)
def test_a_majority_may_not_go(count: int, gone: list[str]) -> None:
    assert too_few(health(count), gone) is not None


@pytest.mark.parametrize(
    "ill",
    [{"gone": True}, {"fault": "the disk is full"}, {"status": "failed"}, {"lag": LAG + 1}],
    ids=lambda ill: next(iter(ill)),
)
def test_a_voter_that_is_not_well_does_not_count(ill: dict[str, Any]) -> None:
    assert too_few(health(3, s3=ill), ["s2"]) == "of 3 voters, 2 are healthy and 2 must stay; s1 would be left"
    assert too_few(health(3, s3=ill), ["s3"]) is None


def test_a_member_without_a_vote_does_not_count() -> None:
    assert too_few(health(4, s4={"voter": False}), ["s2", "s3"]) is not None
    assert too_few(health(4, s4={"voter": False}), ["s2", "s4"]) is None


def test_without_a_leader_nothing_more_is_broken() -> None:
    assert too_few(health(3, s1={"role": "candidate"}), ["s3"]) == "no node leads now: heal the cluster first"
