"""A leader's majority is counted by what each member gave and held, whatever has become of that member since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from cluster.node.node import Node
from tests.simulation.majorities import Majorities
from tests.simulation.server import Server
from tests.simulation.workload import Workload
from tests.simulation.world import Settings, World


class Formed:
    """Three members that are led; `other` lacks entry `index`, which is on the disks of the leader and `follower`."""

    def __init__(self) -> None:
        self.world = World(Settings(seed=11))
        for server in self.world.servers.values():
            server.start()
        Workload(self.world, Random(1)).start()
        self.run(3.0)
        leader = self.world.leader()
        assert leader is not None
        self.leader = leader
        self.follower, self.other = (server for server in self.world.servers.values() if server is not leader)
        self.cut(self.other)
        self.run(0.2)
        node = _node(leader)
        self.index, self.term = node.engine.commit_index, node.engine.term
        assert self.index > _node(self.other).journal.last_index

    def run(self, seconds: float) -> None:
        self.world.scheduler.run(self.world.scheduler.now + seconds)
        assert self.world.violation is None

    def cut(self, server: Server) -> None:
        for name in self.world.servers:
            if name != server.name:
                self.world.wire.block(name, server.name)
                self.world.wire.block(server.name, name)

    @property
    def majorities(self) -> Majorities:
        return self.world.observer.majorities


def _node(server: Server) -> Node:
    assert server.node is not None
    return server.node


@pytest.fixture
def formed() -> Iterator[Formed]:
    formed = Formed()
    yield formed
    for server in formed.world.servers.values():
        if server.loop is not None:
            server.loop.kill()
    formed.world.root.kill()


def _reads_its_disk(formed: Formed) -> None:
    formed.follower.crash()
    formed.follower.start()


def _is_replaced(formed: Formed) -> None:
    formed.follower.crash()
    formed.follower.wipe()


def _reads_another_disk(formed: Formed) -> None:
    _is_replaced(formed)
    formed.follower.start()


def _has_read_another_disk(formed: Formed) -> None:
    formed.cut(formed.follower)  # Nobody tells it.
    _reads_another_disk(formed)
    formed.run(0.05)
    assert _node(formed.follower).journal.last_index == 0


@pytest.mark.parametrize(
    "becomes",
    [
        lambda formed: formed.follower.crash(),
        _reads_its_disk,
        _is_replaced,
        _reads_another_disk,
        _has_read_another_disk,
    ],
)
def test_a_vote_and_an_entry_count_whatever_became_of_who_gave_and_held_them(
    formed: Formed, becomes: Callable[[Formed], None]
) -> None:
    """What it said was under way to the leader before."""
    becomes(formed)
    formed.majorities.check_election(formed.leader, _node(formed.leader))
    formed.majorities.check_commit(_node(formed.leader), formed.index, formed.term)
    assert formed.world.violation is None


def test_an_entry_that_a_minority_holds_is_not_committed(formed: Formed) -> None:
    formed.cut(formed.follower)
    formed.run(0.2)
    last = _node(formed.leader).journal.last_index
    assert last > _node(formed.follower).journal.last_index
    formed.majorities.check_commit(_node(formed.leader), last, formed.term)
    assert formed.world.violation == ("on a majority's disks", f"entry {last} is committed with 1 of 3 disks")


def test_an_entry_that_a_follower_dropped_again_is_not_held(formed: Formed) -> None:
    _node(formed.follower).journal.truncate_from(formed.index)
    formed.majorities.check_commit(_node(formed.leader), formed.index, formed.term)
    assert formed.world.violation == ("on a majority's disks", f"entry {formed.index} is committed with 1 of 3 disks")


def test_who_has_no_majority_of_votes_does_not_lead(formed: Formed) -> None:
    """Repeating one, or promising one, gives no other."""
    other, term = formed.other, formed.term
    for frame in (["vote", term, True, True], ["vote", term, False, False], ["vote", term - 1, True, False]):
        formed.majorities.sent(formed.leader, other.name, frame)
    formed.majorities.sent(other, other.name, ["vote", term, True, False])
    formed.majorities.sent(other, other.name, ["vote", term, True, False])
    formed.majorities.check_election(other, _node(other))
    what = f"{other.name} leads term {term} with 1 of 3 votes"
    assert formed.world.violation == ("elected by a majority", what)
