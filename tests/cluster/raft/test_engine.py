"""Rules of an engine that need more than messages: clocks, disks, restarts. The others are in `transcripts/`."""

from __future__ import annotations

import pytest

from cluster.raft.log_matching import SafetyViolation
from tests.cluster.raft.engines import TIMING, Conversation, engine, entry
from tests.cluster.raft.memory_log import MemoryLog


async def test_a_lone_voter_leads_at_once_and_commits_only_what_is_on_its_disk() -> None:
    talk = Conversation("a")
    talk["a"].campaign_now(0.0)
    assert talk["a"].leads
    before = talk["a"].commit_index
    talk["a"].tick(0.1)
    assert talk["a"].commit_index == before
    await talk.sync()
    assert talk["a"].commit_index == talk["a"].journal.last_index


async def test_a_leader_does_not_count_itself_before_its_own_disk_has_the_entry() -> None:
    talk = Conversation("abc")
    leader = await talk.elect("a")
    talk.cut = {("a", "c"), ("c", "a")}
    index = leader.append(talk.now, entry("x"))
    # b has it and says so, while the leader's own sync is still under way.
    for message in leader.take_messages():
        if message.peer == "b":
            talk["b"].receive(talk.now, "a", message.frame)
    await talk.sync("b")
    for message in talk["b"].take_messages():
        leader.receive(talk.now, "b", message.frame)
    leader.tick(talk.now)
    assert leader.match_index("b") == index
    assert leader.commit_index == index - 1
    await talk.sync("a")
    assert leader.commit_index == index


async def test_a_heartbeat_commits_no_more_than_it_verified() -> None:
    """Hole 2: an old leader's own tail must not be committed on the strength of the new leader's commit index."""
    talk = Conversation("abc")
    leader = await talk.elect("a")
    base = leader.journal.last_index
    talk.cut = {("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")}
    leader.append(talk.now, entry("divergent"))
    await talk.deliver(1)
    talk.now += 2 * TIMING.election_max
    await talk.elect("b")
    for number in range(3):
        talk["b"].append(talk.now, entry(f"kept {number}"))
        await talk.deliver(3)
    commit = talk["b"].commit_index
    heartbeat = ["app", talk["b"].term, 99, base, talk["b"].journal.term_at(base), commit, [], None]
    talk["a"].receive(talk.now, "b", heartbeat)
    assert talk["a"].commit_index <= base


async def test_old_acknowledgements_that_come_late_do_not_renew_a_leadership() -> None:
    talk = Conversation("abc")
    leader = await talk.elect("a")
    talk.collect()
    talk.queue.clear()
    leader.tick(talk.now + TIMING.heartbeat)
    old_round = next(m.frame[2] for m in leader.take_messages() if m.frame[0] == "app")
    for step in range(1, 12):
        now = talk.now + TIMING.heartbeat + step * TIMING.heartbeat
        leader.receive(now, "b", ["ack", leader.term, old_round, True, 1])
        leader.tick(now)
    assert not leader.leads


async def test_stepping_down_starts_a_fresh_time_out() -> None:
    talk = Conversation("abc")
    leader = await talk.elect("a")
    talk.now += 10.0
    term = leader.term
    leader.step_down(talk.now)
    leader.tick(talk.now + TIMING.election_min / 2)
    assert leader.term == term
    assert all(message.frame[0] != "vote?" for message in leader.take_messages())


async def test_an_answer_to_what_was_asked_before_a_leadership_elects_nobody_after_it() -> None:
    talk = Conversation("abc")
    one = talk["a"]
    one.campaign_now(0.0)
    await talk.deliver(2)
    talk.now = TIMING.election_max
    one.tick(talk.now)  # Its votes take long: it asks whether it could win the term after.
    await talk.sync()
    talk.collect()
    questions = [message.frame for _, message in talk.queue if message.frame[0] == "vote?" and message.frame[4]]
    assert [frame[1] for frame in questions] == [2, 2]
    talk.queue = [(sender, message) for sender, message in talk.queue if message.frame not in questions]
    await talk.deliver(2)
    assert (one.leads, one.term) == (True, 1)
    one.step_down(talk.now)
    one.receive(talk.now, "b", ["vote", 2, True, True])
    assert one.term == 1


async def test_who_sends_a_snapshot_leads_its_term_whether_that_was_known_or_not() -> None:
    talk = Conversation("abc")
    one = talk["a"]
    assert one.heard_in_term(1.0, "b", 3)
    assert (one.term, one.last_contact) == (3, 1.0)
    assert not one.heard_in_term(2.0, "c", 2)
    await talk.elect("b")
    assert one.heard_in_term(talk.now, "b", one.term)
    assert not one.heard_in_term(talk.now, "c", one.term)


async def test_a_cluster_forms_only_with_all_its_first_members() -> None:
    talk = Conversation("abc")
    for one in talk.engines.values():
        one.peers_changed(0.0, {"a", "b"} - {one.name})
    await talk.pass_time(3.0, names="ab")
    assert talk.leaders() == []


async def test_a_node_that_can_not_write_neither_leads_nor_votes() -> None:
    talk = Conversation("abc")
    await talk.elect("a")
    for name in "bc":
        talk[name].unable = True
    talk["a"].step_down(talk.now)
    await talk.pass_time(2.0, names="bc")
    assert talk.leaders() == []


async def test_a_message_from_a_second_leader_of_the_term_stops_the_node() -> None:
    talk = Conversation("abc")
    leader = await talk.elect("a")
    with pytest.raises(SafetyViolation, match="two leaders in term"):
        leader.receive(talk.now, "b", ["app", leader.term, 1, 0, 0, 0, [], None])


async def test_a_restarted_node_remembers_its_term_and_vote() -> None:
    log = MemoryLog()
    first = engine("b", "abc", log=log)
    first.peers_changed(0.0, {"a", "c"})
    first.receive(0.0, "a", ["vote?", 4, 0, 0, False, False])
    log.sync()
    again = engine("b", "abc", log=log)
    again.peers_changed(0.0, {"a", "c"})
    again.receive(0.0, "c", ["vote?", 4, 0, 0, False, False])
    assert [m.frame for m in again.take_messages()] == [["vote", 4, False, False]]
    assert (log.term, log.voted_for) == (4, "a")
