"""A cluster's health in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from volstore.http.cluster_admin import NodeView, PeerView
from volstore.http.health import ClusterHealth, Report, judge
from volstore.http.registry import ServerView

NAMES = ("s1", "s2", "s3")


def server(name: str, **changes: Any) -> ServerView:
    plain = ServerView(name, f"{name}-disk", f"{name}:4647", f"{name}:4646", "0.1.0", name == "s1", True, "alive")
    return replace(plain, **changes)


PEERS = tuple(PeerView(server(name), 9, 0, 0.01) for name in NAMES)


def node(name: str, **changes: Any) -> NodeView:
    plain = NodeView(
        name=name,
        cluster_id="c",
        version="0.1.0",
        role="leader" if name == "s1" else "follower",
        term=2,
        leader="s1",
        first_index=1,
        last_index=9,
        commit_index=9,
        applied_index=9,
        snapshot_index=0,
        fsm_index=7,
        digest="aa",
        last_contact=0.0,
        last_sync_seconds=0.001,
        disk_free_bytes=80 << 30,
        fault="",
        peers=PEERS,
    )
    return replace(plain, **changes)


def judged(*nodes: NodeView | str, asked: int = 0) -> ClusterHealth:
    """Of these; a name stands for a member that doesn't answer."""
    reports = [Report(one, None, "no answer") if isinstance(one, str) else Report(one.name, one) for one in nodes]
    first = reports[asked].node
    assert first is not None
    return judge(first, reports)


def test_a_whole_cluster_is_well_and_may_lose_one() -> None:
    assert judged(node("s1"), node("s2"), node("s3")) == ClusterHealth(True, 1, ())


def test_a_single_node_is_well_and_may_lose_none() -> None:
    assert judged(node("s1", peers=PEERS[:1])) == ClusterHealth(True, 0, ())


def test_a_member_that_does_not_answer_leaves_no_room() -> None:
    assert judged(node("s1"), node("s2"), "s3").problems == (
        "s3 does not answer: no answer",
        "no other voter may be lost: 2 of 3 can be asked, 2 are needed",
    )


def test_without_a_leader_the_missing_majority_is_named() -> None:
    alone = node("s2", role="candidate", leader="")
    found = judged("s1", alone, "s3", asked=1)
    assert found.problems[0] == "no node leads: 1 of 3 voters can be asked, 2 are needed"
    assert (found.healthy, found.tolerance) == (False, 0)


def changed(name: str, **changes: Any) -> list[NodeView | str]:
    return [node(one, **changes) if one == name else node(one) for one in NAMES]


def with_peer(**changes: Any) -> list[NodeView | str]:
    """As the leader sees its last peer."""
    return changed("s1", peers=(*PEERS[:2], replace(PEERS[2], **changes)))


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (changed("s2", fault="the disk is full"), "s2 acknowledges nothing: the disk is full"),
        (changed("s2", log_fault="Broken pipe"), "the log of s2 can't be written to stderr as it comes: Broken pipe"),
        (changed("s2", last_sync_seconds=0.25), "the disk of s2 is slow: its last sync took 250ms"),
        (changed("s3", disk_free_bytes=5 << 20), "the disk of s3 is nearly full: 5 MiB are free"),
        (changed("s3", digest="bb"), "the state at index 7 of s1 and s2 from s3 differs"),
        (changed("s3", version="0.2.0"), "the nodes run different versions: 0.1.0, 0.2.0"),
        (changed("s3", cluster_id="d"), "the nodes say that they belong to different clusters: c, d"),
        (with_peer(lag=1001), "s3 is 1001 log entries behind"),
        (with_peer(snapshot_progress=0.25), "s3 is being sent a snapshot: 25%"),
        (with_peer(server=server("s3", voter=False), lag=12), "s3 has no vote yet: it lacks 12 entries"),
    ],
)
def test_each_trouble_has_its_words(nodes: list[NodeView | str], text: str) -> None:
    found = judged(*nodes)
    assert not found.healthy
    assert any(problem.startswith(text) for problem in found.problems), found.problems


def test_states_at_different_indexes_say_nothing_of_each_other() -> None:
    assert judged(*changed("s3", digest="bb", fsm_index=6)).healthy
