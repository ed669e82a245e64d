"""The leader's time-outs of nodes, with time in the test's hands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volstore.agent.heartbeats import FAILOVER_PATIENCE, TICK, Heartbeats, HeartbeatSettings
from volstore.core.model import Node

SETTINGS = HeartbeatSettings(min_ttl=10.0, grace=10.0, most_per_second=50.0)


class Time:
    """Both clocks of a machine."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class Watched:
    """Heartbeats of a leader that began now, with nobody to wait for unless said so."""

    def __init__(self, *nodes: str, count: int = 1, kept_alive: tuple[str, ...] = ()) -> None:
        self.time = Time()
        self.beats = Heartbeats(
            SETTINGS, clock=lambda: self.time.now, wall=lambda: self.time.wall, kept_alive=kept_alive
        )
        self.beats.begin([Node(id=id) for id in nodes], count)

    def silent_within(self, seconds: float) -> list[str]:
        """Those found silent while the time passes tick by tick."""
        found = []
        for _ in range(round(seconds / TICK)):
            self.time.pass_(TICK)
            found += self.beats.silent()
        return found


@pytest.mark.parametrize(("count", "base"), [(0, 10.0), (1, 10.0), (500, 10.0), (1000, 20.0), (10_000, 200.0)])
def test_a_time_to_live_grows_with_the_nodes_so_that_all_together_stay_under_the_rate(count: int, base: float) -> None:
    ttls = [SETTINGS.ttl(f"node-{number}", count) for number in range(2000)]
    assert base <= min(ttls) < max(ttls) < 2 * base == SETTINGS.longest_ttl(count)
    assert sum(1 / ttl for ttl in ttls) * count / len(ttls) <= 50.0 or count == 0


def test_times_to_live_are_spread_so_that_nodes_do_not_come_in_step() -> None:
    tenths = [int(SETTINGS.ttl(f"node-{number}", 1) - 10.0) for number in range(2000)]
    assert all(150 < tenths.count(tenth) < 250 for tenth in range(10))


def test_a_node_is_silent_once_its_time_to_live_and_the_grace_are_over() -> None:
    watched = Watched()
    ttl = watched.beats.hear("a", 1)
    assert ttl == SETTINGS.ttl("a", 1)
    assert watched.silent_within(ttl + 10 - 2 * TICK) == []
    assert watched.silent_within(3 * TICK) == ["a"]
    assert watched.silent_within(1000) == []
    assert not watched.beats.waits_for("a")


def test_a_node_that_is_heard_in_time_is_never_silent() -> None:
    watched = Watched()
    for _ in range(50):
        watched.beats.hear("a", 1)
        assert watched.silent_within(19.0) == []


def test_a_new_leader_gives_those_whom_it_has_not_heard_five_minutes() -> None:
    watched = Watched("a", "b")
    watched.beats.hear("b", 1)
    assert watched.silent_within(FAILOVER_PATIENCE - 2 * TICK) == ["b"]
    assert watched.silent_within(3 * TICK) == ["a"]


def test_with_many_nodes_a_new_leader_waits_as_long_as_the_longest_time_to_live_and_the_grace() -> None:
    watched = Watched("a", count=10_000)
    assert watched.silent_within(400.0 + 10.0 - 2 * TICK) == []
    assert watched.silent_within(3 * TICK) == ["a"]


def test_a_leader_that_begins_again_remembers_the_longest_time_to_live_that_it_knew() -> None:
    watched = Watched(count=20_000)
    watched.beats.begin([Node(id="a")], 1)
    assert watched.silent_within(800.0 + 10.0 - 2 * TICK) == []
    assert watched.silent_within(3 * TICK) == ["a"]


def test_nodes_that_are_down_or_kept_alive_are_not_waited_for() -> None:
    watched = Watched("kept", kept_alive=("kept", "other"))
    watched.beats.begin([Node(id="down", status="down"), Node(id="kept"), Node(id="a")], 3)
    watched.beats.hear("other", 3)
    assert len(watched.beats) == 1
    assert watched.silent_within(400) == ["a"]


def test_a_report_is_heard_and_a_node_that_goes_or_is_called_down_is_not_waited_for() -> None:
    watched = Watched("a", "b", "c")
    watched.beats.follow(None, Node(id="a"), 3)
    watched.beats.follow(Node(id="b"), Node(id="b", status="down"), 3)
    watched.beats.follow(Node(id="c"), None, 3)
    watched.beats.follow(Node(id="never"), None, 3)
    assert len(watched.beats) == 1
    assert watched.silent_within(30.0) == ["a"]
    watched.beats.follow(Node(id="b", status="down"), Node(id="b"), 3)
    assert watched.silent_within(30.0) == ["b"]


def test_a_node_that_could_not_be_called_down_is_looked_at_again() -> None:
    watched = Watched()
    watched.beats.postpone("a", 5.0)
    assert watched.silent_within(5.0 - 2 * TICK) == []
    assert watched.silent_within(3 * TICK) == ["a"]


def test_a_process_that_was_stopped_and_a_machine_that_was_frozen_know_it() -> None:
    watched = Watched("a")
    watched.silent_within(10.0)
    seen = [watched.beats.was_paused]
    watched.time.pass_(4.9)
    seen.append(watched.beats.was_paused)
    watched.time.pass_(0.2)
    seen.append(watched.beats.was_paused)
    watched.beats.begin([Node(id="a")], 1)
    seen.append(watched.beats.was_paused)
    watched.time.wall += 5.1  # its monotonic clock stood still
    seen.append(watched.beats.was_paused)
    assert seen == [False, False, True, False, True]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("hear", "forget", "postpone", "wait")), st.sampled_from("abc"), st.floats(0.0, 40.0))
    )
)
def test_a_node_is_found_silent_just_when_its_last_deadline_has_passed(events: list[tuple[str, str, float]]) -> None:
    watched = Watched()
    deadlines: dict[str, float] = {}
    for kind, id, seconds in events:
        if kind == "hear":
            deadlines[id] = watched.time.now + watched.beats.hear(id, 1) + 10.0
        elif kind == "forget":
            watched.beats.follow(Node(id=id), None, 1)
            deadlines.pop(id, None)
        elif kind == "postpone":
            watched.beats.postpone(id, seconds)
            deadlines[id] = watched.time.now + seconds
        else:
            watched.time.pass_(seconds)
            found = sorted(watched.beats.silent())
            # The wheel's grain: nobody early, and nobody later than a bucket.
            assert all(deadlines[id] <= watched.time.now for id in found)
            late = sorted(id for id, deadline in deadlines.items() if deadline <= watched.time.now - TICK)
            assert set(late) <= set(found)
            for gone in found:
                del deadlines[gone]
        assert len(watched.beats) == len(deadlines)


def test_looking_for_the_silent_among_many_costs_what_is_due() -> None:
    watched = Watched(count=10_000)
    for number in range(10_000):
        watched.beats.hear(f"node-{number}", 10_000)
    assert watched.silent_within(200.0) == []
    assert len(watched.silent_within(210.0)) == 10_000
    assert len(watched.beats) == 0
    assert not watched.beats._buckets
