"""Which nodes a step breaks, and what a gauntlet draws."""

from __future__ import annotations

from random import Random

import pytest

from volstore.drill.scenario import Gauntlet, LoadSettings, Objective, Scenario, Step
from volstore.drill.selection import chosen, draw, fault_of, why_impossible
from volstore.drill.target import FaultKind
from volstore.quorum import may_fail

FIVE = ["s1", "s2", "s3", "s4", "s5"]
GAUNTLET = Gauntlet(tuple(FaultKind), 1.0, 6.0, 5)


def test_the_leader_is_the_one_that_leads_now() -> None:
    assert chosen("leader", FIVE, "s4", Random(1)) == [("s4",)]


def test_a_follower_is_any_node_that_does_not_lead() -> None:
    drawn = {chosen("follower", FIVE, "s4", Random(seed))[0][0] for seed in range(100)}
    assert drawn == {"s1", "s2", "s3", "s5"}


def test_a_single_node_is_its_own_follower() -> None:
    assert chosen("follower", ["s1"], "s1", Random(1)) == [("s1",)]


@pytest.mark.parametrize(("nodes", "lost"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (7, 3)])
def test_a_minority_leaves_a_majority_and_its_leader(nodes: int, lost: int) -> None:
    names = [f"s{n + 1}" for n in range(nodes)]
    (group,) = chosen("minority", names, "s1", Random(3))
    assert len(group) == len(set(group)) == lost == may_fail(nodes)
    assert "s1" not in group


def test_each_is_one_after_the_other_and_the_leader_last() -> None:
    assert chosen("each", FIVE[:3], "s1", Random(1)) == [("s2",), ("s3",), ("s1",)]


def test_all_are_hit_at_once_and_a_name_means_that_node() -> None:
    assert chosen("all", FIVE, "s1", Random(1)) == [tuple(FIVE)]
    assert chosen("s3", FIVE, "s1", Random(1)) == [("s3",)]


def test_a_fault_has_what_its_step_says() -> None:
    fault = fault_of(Step(FaultKind.SLOW_LINK, "s2", lasts=3.0, delay=0.1, jitter=0.02, loss=0.5), ("s2",))
    assert (fault.nodes, fault.lasts, fault.delay, fault.jitter, fault.loss) == (("s2",), 3.0, 0.1, 0.02, 0.5)
    assert str(fault) == "slow-link of s2"


def test_the_same_seed_draws_the_same_gauntlet() -> None:
    def drawn(seed: int) -> list[Step]:
        random = Random(seed)
        return [draw(GAUNTLET, GAUNTLET.kinds, 3, random) for _ in range(50)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_a_gauntlet_draws_every_kind_for_times_between_its_bounds_and_never_all_nodes() -> None:
    random = Random(1)
    steps = [draw(GAUNTLET, GAUNTLET.kinds, 5, random) for _ in range(500)]
    assert {step.kind for step in steps} == set(FaultKind)
    assert all(step.lasts is not None and 1.0 <= step.lasts <= 6.0 for step in steps)
    assert {step.target for step in steps} == {"leader", "follower", "minority"}
    assert {step.target for step in (draw(GAUNTLET, GAUNTLET.kinds, 2, random) for _ in range(300))} == {
        "leader",
        "follower",
    }


def test_what_cannot_be_had_is_not_drawn() -> None:
    random = Random(1)
    assert {draw(GAUNTLET, [FaultKind.KILL], 3, random).kind for _ in range(50)} == {FaultKind.KILL}


def test_a_step_that_has_no_nodes_to_break_is_told_before_anything_begins() -> None:
    def with_nodes(target: str, nodes: int) -> Scenario:
        steps = (Step(None, lasts=1.0), Step(FaultKind.KILL, target, lasts=1.0))
        return Scenario("own", "a test", Objective(1, 1, 0, "a test"), steps, nodes, LoadSettings())

    assert why_impossible(with_nodes("minority", 2)) == "kill of a minority needs 3 nodes at least, not 2"
    assert why_impossible(with_nodes("s5", 3)) == "kill of s5: there are s1, s2, s3 only"
    assert (
        why_impossible(with_nodes("minority", 3))
        == why_impossible(with_nodes("s3", 3))
        == why_impossible(with_nodes("leader", 1))
        == ""
    )
