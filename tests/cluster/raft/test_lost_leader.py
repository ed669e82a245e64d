"""Whoever doesn't hear its leader for an election time-out knows none: it must not be shown for ever."""

from __future__ import annotations

from cluster.api import Role
from tests.cluster.raft.engines import TIMING, Conversation


def known_leaders(talk: Conversation) -> list[str | None]:
    return [talk[name].leader for name in talk.names]


async def test_a_follower_that_is_left_alone_knows_no_leader() -> None:
    talk = Conversation("abc")
    await talk.elect("a")
    assert known_leaders(talk) == ["a", "a", "a"]
    term = talk["c"].term
    talk.cut = {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}
    await talk.pass_time(2 * TIMING.election_max)
    assert known_leaders(talk) == ["a", "a", None]
    # It asks before it stands (PreVote), so its term is still the others', and it follows again at once.
    assert (talk["c"].term, talk["c"].role) == (term, Role.FOLLOWER)
    talk.cut = set()
    await talk.pass_time(TIMING.heartbeat * 3)
    assert (known_leaders(talk), talk["c"].term) == (["a", "a", "a"], term)
    assert talk.leaders() == ["a"]
