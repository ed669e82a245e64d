"""For every hole that a switch can open again: the runs that find it, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cluster.closings import Closings
from tests.simulation.faults import draw_kinds
from tests.simulation.run import Plan, draw_plan


@dataclass(frozen=True, slots=True)
class Tooth:
    """With `closing` switched off, one of `seeds` breaks one of the `invariants`; with it on, none of them does.

    The first seed of each range finds it at present; the rest is for the day on which `cluster` changes.
    `kinds` are the faults with how often each comes (none: drawn by each seed), `changes` are settings.
    """

    row: int
    closing: str
    seeds: range
    invariants: tuple[str, ...]
    kinds: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)

    def plan(self, seed: int, *, closed: bool) -> Plan:
        closings = replace(Closings(), **{self.closing: closed})
        return draw_plan(
            seed,
            kinds=lambda random: dict(self.kinds) or draw_kinds(random),
            changes={**self.changes, "closings": closings},
        )


TEETH = (
    Tooth(
        1,
        "keep_matching_entries",
        range(1000, 1020),
        ("what matches stays", "bounded", "committed stays", "log matching"),
        {"reset": 6, "kill": 2, "slow-link": 2},
        {"message_bytes": 300, "think": 0.1, "nodes": 3, "snapshot_entries": 2000},
    ),
    Tooth(1, "forward_only_next", range(1006, 1026), ("never back",)),
    Tooth(
        2,
        "verified_commit",
        range(1000, 1040),
        ("committed stays", "exactly once"),
        {"partition": 6, "slow-link": 4},
        {"message_bytes": 300, "think": 0.05, "snapshot_entries": 2000},
    ),
    Tooth(
        3,
        "acks_carry_term",
        range(1003, 1043),
        ("acks of this term",),
        {"slow-link": 8, "one-way": 3, "transfer": 8},
        {"dead_after": 60.0},
    ),
    Tooth(4, "sync_before_send", range(1000, 1020), ("on a majority's disks",)),
    Tooth(
        5,
        "sound_snapshots",
        range(1001, 1021),
        ("installed is installed",),
        {"spoil": 8, "kill": 4, "pause": 4},
        {"think": 0.05, "snapshot_entries": 20, "trailing_entries": 0},
    ),
    Tooth(6, "prevote", range(1000, 1020), ("a heard leader stays",), {"estrange": 3}),
    Tooth(7, "check_quorum", range(1000, 1020), ("no leader alone",), {"cut-off-leader": 3}),
    Tooth(
        7,
        "read_index",
        range(1000, 1020),
        ("linearizable",),
        {"kill": 12, "slow-link": 12, "slow-disk": 12, "one-way": 4},
        {"think": 0.05, "clients": 8, "nodes": 3, "registry": False},
    ),
    Tooth(
        8,
        "exactly_once",
        range(1003, 1033),
        ("exactly once",),
        {"partition": 3, "pause": 2, "reset": 3, "deaf": 2},
        {"think": 0.05},
    ),
    Tooth(9, "failed_apply_ends", range(1000, 1020), ("same state", "same results"), {"poison": 4, "kill": 1}),
    Tooth(12, "learners_first", range(1000, 1020), ("learners first",), {"add": 12, "kill": 1}),
    Tooth(
        16,
        "failed_step_ends",
        range(1000, 1020),
        ("liveness", "a reachable follower catches up"),
        {"stumble": 8, "partition": 2, "reset": 2},
    ),
    Tooth(
        17,
        "commit_told_anew",
        range(1014, 1054),
        ("committed stays", "same state", "same results", "exactly once", "on a majority's disks", "fail-stop"),
        {"cold": 6, "kill": 3, "partition": 2},
        {"think": 0.05},
    ),
    Tooth(
        18,
        "slow_disk_steps_down",
        range(1000, 1020),
        ("a hanging disk doesn't stop writes",),
        {"stall-leader-disk": 3},
    ),
    Tooth(
        19,
        "votes_of_members",
        range(1017, 1057),
        ("elected by a majority", "one leader a term"),
        {"stutter": 10, "kill": 3, "partition": 3},
        {"nodes": 5},
    ),
    Tooth(20, "position_first", range(1000, 1020), ("applied in order",), {"reenter": 6}, {"think": 0.05}),
    Tooth(21, "fresh_timeout", range(1000, 1020), ("fresh time-out",), {"partition": 4, "transfer": 2}),
    Tooth(22, "contact_by_round", range(1000, 1020), ("contact is proven",)),
    Tooth(23, "pinned_incarnations", range(1000, 1020), ("a wiped disk is another",), {"wipe": 8, "kill": 1}),
    Tooth(
        24,
        "refuse_unreadable",
        range(1006, 1046),
        ("state reaches the log",),
        {"flip": 40, "kill": 1},
        {"trailing_entries": 0, "snapshot_entries": 20, "segment_bytes": 64 << 10},
    ),
    Tooth(24, "fresh_sessions", range(1000, 1020), ("honest answers", "first outcome"), {"kill": 4}),
    Tooth(24, "proposals_expire", range(1000, 1020), ("deadline",), {"partition": 4}),
    Tooth(24, "bounded_window", range(1002, 1022), ("bounded",), {"slow-link": 4}, {"think": 0.05}),
    Tooth(
        24,
        "transfer_stops_proposals",
        range(1000, 1040),
        ("a hand-over is no outage",),
        {"hand-over": 10},
        {"think": 0.02, "clients": 8},
    ),
)
