"""The simulator finds each way in which a stranger's word, or an old view, could be believed: made to happen here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cluster.net import outsiders
from cluster.node.peers import OTHER_DISK, Peers
from tests.simulation.run import Plan, draw_plan, run

STRANGERS = {"stranger": 10.0, "kill": 2.0, "partition": 3.0}
REPLACEMENTS = {"replace": 12.0, "kill": 2.0, "transfer": 1.0}
SEEDS = range(6000, 6030)

Break = Callable[[pytest.MonkeyPatch], None]


def plan(seed: int, kinds: Mapping[str, float], nodes: int) -> Plan:
    changes = {"nodes": nodes, "registry": False, "think": 0.05, "snapshot_entries": 2000, "message_bytes": 300}
    return draw_plan(seed, kinds=lambda _random: dict(kinds), changes=changes)


def _takes_whoever_claims_to_know_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peers, "_is_vouched_for", lambda *_: True)


def _listens_to_all(patch: pytest.MonkeyPatch) -> None:
    _takes_whoever_claims_to_know_more(patch)
    patch.setattr(Peers, "listens", lambda *_: True)


def _believes_any_removal(patch: pytest.MonkeyPatch) -> None:
    _listens_to_all(patch)
    patch.setattr(Peers, "believes_removal", lambda *_: True)


def _lets_anybody_in(patch: pytest.MonkeyPatch) -> None:
    _takes_whoever_claims_to_know_more(patch)
    patch.setattr(Peers, "_has_no_leader", lambda _peers: True)
    patch.setattr(Peers, "leader_changed", lambda _peers: None)


def _refuses_by_its_old_view(patch: pytest.MonkeyPatch) -> None:
    """As commit a31797f did: whoever is named with another disk is told so, whatever it knows."""
    admit = Peers._admit_outsider

    def told(peers: Peers, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        if peers._host.engine.configuration.member(name) is not None:
            return f"{name!r} {OTHER_DISK} (was it wiped?)"
        return admit(peers, name, incarnation, meta)

    patch.setattr(Peers, "_admit_outsider", told)


def _believes_any_refusal(patch: pytest.MonkeyPatch) -> None:
    _refuses_by_its_old_view(patch)
    patch.setattr(outsiders, "refusal_counts", lambda *_, **__: True)


def _cuts_its_leader_by_its_old_view(patch: pytest.MonkeyPatch) -> None:
    judge = Peers._judge_outsiders_anew

    def forgets(peers: Peers, configuration: Any) -> None:
        judge(peers, configuration)
        peers._outsiders.clear()

    patch.setattr(Peers, "_judge_outsiders_anew", forgets)
    _believes_any_refusal(patch)


@pytest.mark.parametrize(
    ("broken", "kinds", "nodes", "invariants"),
    [
        (_listens_to_all, STRANGERS, 3, ("a stranger's word", "a wiped disk is another")),
        (
            _believes_any_removal,
            STRANGERS,
            3,
            ("a stranger's word", "a wiped disk is another", "no member ends for a word"),
        ),
        (_lets_anybody_in, STRANGERS, 3, ("nobody from outside", "a stranger's word", "a wiped disk is another")),
        (_takes_whoever_claims_to_know_more, STRANGERS, 3, ("a stranger's word", "a wiped disk is another")),
        (_believes_any_refusal, REPLACEMENTS, 5, ("no member ends for a refusal",)),
        (_cuts_its_leader_by_its_old_view, REPLACEMENTS, 5, ("no member ends for a refusal",)),
    ],
)
def test_each_mistake_is_found_by_seeds_that_pass_without_it(
    broken: Break, kinds: Mapping[str, float], nodes: int, invariants: tuple[str, ...]
) -> None:
    for seed in SEEDS:
        drawn = plan(seed, kinds, nodes)
        with pytest.MonkeyPatch.context() as patch:
            broken(patch)
            found = run(drawn).violation
        assert run(drawn).violation is None, f"seed {seed}"
        if found is not None:
            assert found[0] in invariants, f"seed {seed}: {found}"
            return
    pytest.fail(f"none of {SEEDS} shows it")
