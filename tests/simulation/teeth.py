"""For every hole in `holes.py`: the runs that find it when it is open, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation import holes
from tests.simulation.faults import draw_kinds
from tests.simulation.holes import Hole
from tests.simulation.run import Plan, draw_plan


@dataclass(frozen=True, slots=True)
class Tooth:
    """With `hole` open, one of `seeds` breaks one of the `invariants`; otherwise none of them does.

    The first seed of each range finds it at present; the rest is for the day on which `cluster` changes.
    `kinds` are the faults with how often each comes (none: drawn by each seed), `changes` are settings.
    """

    row: int
    hole: Hole
    seeds: range
    invariants: tuple[str, ...]
    kinds: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)

    def plan(self, seed: int, *, open: bool) -> Plan:
        return draw_plan(
            seed,
            kinds=lambda random: dict(self.kinds) or draw_kinds(random),
            changes={**self.changes, "hole": self.hole if open else None},
        )


TEETH = (
    Tooth(
        1,
        holes.drop_matching_entries,
        range(1000, 1020),
        ("what matches stays", "bounded", "committed stays", "log matching"),
        {"reset": 6, "kill": 2, "slow-link": 2},
        {"message_bytes": 300, "think": 0.1, "nodes": 3, "snapshot_entries": 2000},
    ),
    Tooth(
        1,
        holes.move_next_back,
        range(1000, 1020),
        ("never back",),
        {"slow-link": 6, "reset": 3, "pause": 3},
        {"message_bytes": 300, "think": 0.05, "snapshot_entries": 2000},
    ),
    Tooth(
        2,
        holes.commit_unverified,
        range(1000, 1040),
        ("committed stays", "exactly once"),
        {"partition": 6, "slow-link": 4},
        {"message_bytes": 300, "think": 0.05, "snapshot_entries": 2000},
    ),
    Tooth(
        3,
        holes.count_acks_of_any_term,
        range(1003, 1043),
        ("acks of this term",),
        {"slow-link": 8, "one-way": 3, "transfer": 8},
        {"dead_after": 60.0},
    ),
    Tooth(4, holes.send_before_sync, range(1000, 1020), ("on a majority's disks",)),
    Tooth(
        5,
        holes.acknowledge_damaged_snapshots,
        range(1001, 1021),
        ("installed is installed",),
        {"spoil": 8, "kill": 4, "pause": 4},
        {"think": 0.05, "snapshot_entries": 20, "trailing_entries": 0},
    ),
    Tooth(6, holes.stand_without_prevote, range(1000, 1020), ("a heard leader stays",), {"estrange": 3}),
    Tooth(7, holes.lead_without_majority, range(1000, 1020), ("no leader alone",), {"cut-off-leader": 3}),
    Tooth(
        7,
        holes.read_without_round,
        range(1000, 1020),
        ("linearizable",),
        {"kill": 12, "slow-link": 12, "slow-disk": 12, "one-way": 4},
        {"think": 0.05, "clients": 8, "nodes": 3, "registry": False},
    ),
    Tooth(
        8,
        holes.apply_again,
        range(1003, 1033),
        ("exactly once",),
        {"partition": 3, "pause": 2, "reset": 3, "deaf": 2},
        {"think": 0.05},
    ),
    Tooth(9, holes.survive_failed_apply, range(1000, 1020), ("same state", "same results"), {"poison": 4, "kill": 1}),
    Tooth(12, holes.vote_at_once, range(1000, 1020), ("learners first",), {"add": 12, "kill": 1}),
    Tooth(
        16,
        holes.survive_failed_step,
        range(1000, 1020),
        ("liveness", "a reachable follower catches up"),
        {"stumble": 8, "partition": 2, "reset": 2},
    ),
    Tooth(
        17,
        holes.believe_own_log,
        range(1006, 1046),
        ("committed stays", "same state", "same results", "exactly once", "on a majority's disks", "fail-stop"),
        {"cold": 6, "kill": 3, "partition": 4, "power": 3},
        {"think": 0.05, "registry": False, "snapshot_entries": 2000},
    ),
    Tooth(
        18,
        holes.lead_with_slow_disk,
        range(1000, 1020),
        ("a hanging disk doesn't stop writes",),
        {"stall-leader-disk": 3},
    ),
    Tooth(
        19,
        holes.count_any_vote,
        range(1017, 1057),
        ("elected by a majority", "one leader a term"),
        {"stutter": 10, "kill": 3, "partition": 3},
        {"nodes": 5},
    ),
    Tooth(20, holes.answer_before_position, range(1000, 1020), ("applied in order",), {"reenter": 6}, {"think": 0.05}),
    Tooth(21, holes.stand_again_at_once, range(1000, 1020), ("fresh time-out",), {"partition": 4, "transfer": 2}),
    Tooth(22, holes.contact_when_answered, range(1000, 1020), ("contact is proven",)),
    Tooth(23, holes.ignore_incarnations, range(1000, 1020), ("a wiped disk is another",), {"wipe": 8, "kill": 1}),
    Tooth(
        24,
        holes.start_without_snapshot,
        range(1006, 1046),
        ("state reaches the log",),
        {"flip": 40, "kill": 1},
        {"trailing_entries": 0, "snapshot_entries": 20, "segment_bytes": 64 << 10},
    ),
    Tooth(24, holes.number_proposals_again, range(1000, 1020), ("honest answers", "first outcome"), {"kill": 4}),
    Tooth(24, holes.wait_for_ever, range(1000, 1020), ("deadline",), {"partition": 4}),
    Tooth(24, holes.send_without_window, range(1002, 1022), ("bounded",), {"slow-link": 4}, {"think": 0.05}),
    Tooth(
        24,
        holes.propose_while_handing_over,
        range(1000, 1040),
        ("a hand-over is no outage",),
        {"hand-over": 10},
        {"think": 0.02, "clients": 8},
    ),
)
