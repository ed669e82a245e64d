"""The simulator finds each wake-up that is lost, each one for nothing, each waiter that stays: made to happen here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from cluster.node.reads import Freshness
from tests.simulation.run import Plan, draw_plan, run
from volstore.core.events import Event, VolumeChanged
from volstore.http.server.deadlines import Deadlines
from volstore.http.server.pipeline import Pipeline
from volstore.http.server.watch import Watch

BEHIND = {"deaf": 6.0, "between-two": 4.0, "slow-link": 3.0, "kill": 1.0}
"""Followers fall behind and get snapshots."""
NEW_LEADERS = {"kill": 12.0, "slow-link": 12.0, "slow-disk": 12.0, "one-way": 4.0}
"""Leaders come and go, and are slow to commit what shows them what was committed before."""
SEEDS = (*range(5000, 5030), 7000)


def plan(seed: int, kinds: dict[str, float] = BEHIND) -> Plan:
    """Many follow what changes."""
    changes = {
        "registry": True,
        "clients": 16,
        "snapshot_entries": 20,
        "trailing_entries": 0,
        "think": 0.15,
        "nodes": 3,
    }
    return draw_plan(seed, kinds=lambda _random: dict(kinds), changes=changes)


Break = Callable[[pytest.MonkeyPatch], None]


def _loses_some_events(patch: pytest.MonkeyPatch) -> None:
    notify, count = Watch.notify, 0

    def lossy(watch: Watch, events: Iterable[Event]) -> None:
        nonlocal count
        count += 1
        if count % 50:
            notify(watch, events)

    patch.setattr(Watch, "notify", lossy)


def _wakes_no_lists(patch: pytest.MonkeyPatch) -> None:
    concerned = Watch._concerned

    def narrow(watch: Watch, event: Event) -> Any:
        topics = concerned(watch, event)
        return [next(topics)] if isinstance(event, VolumeChanged) else topics

    patch.setattr(Watch, "_concerned", narrow)


def _wakes_nobody_for_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "wake_all", lambda _watch: None)


def _waits_between_the_look_and_the_place(patch: pytest.MonkeyPatch) -> None:
    wait = Watch.wait

    async def late(watch: Watch, *given: Any) -> None:
        await asyncio.sleep(0.002)
        await wait(watch, *given)

    patch.setattr(Watch, "wait", late)


def _wakes_for_nothing(patch: pytest.MonkeyPatch) -> None:
    async def once(pipeline: Pipeline, question: Any, index: int, until: float, call: Any, contact: Any) -> Any:
        registry = call.service.registry
        if not question.moved_since(registry.state, index):
            await registry.watch.wait(question.topic(registry.state)[0], until)
        return await pipeline._barrier(call)

    patch.setattr(Pipeline, "_wait", once)


def _forgets_deadlines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deadlines, "add", lambda *_: None)


def _keeps_who_has_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "_leave", lambda *_: None)


def _waits_on_for_who_hung_up(patch: pytest.MonkeyPatch) -> None:
    wait = Watch.wait

    async def shielded(watch: Watch, *given: Any) -> None:
        await asyncio.shield(asyncio.get_running_loop().create_task(wait(watch, *given)))

    patch.setattr(Watch, "wait", shielded)


def _serves_all_from_what_is_here(patch: pytest.MonkeyPatch) -> None:
    async def stale(_pipeline: Pipeline, call: Any) -> Any:
        return await call.service.registry.barrier(stale=True, deadline=0.0)

    patch.setattr(Pipeline, "_barrier", stale)


def _keeps_lists_that_moved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("volstore.http.endpoints.lists._moved", lambda *_: False)


def _counts_a_new_leaders_state_as_fresh(patch: pytest.MonkeyPatch) -> None:
    applied = Freshness.applied
    patch.setattr(Freshness, "applied", lambda freshness, index, _same_term: applied(freshness, index, True))


def _counts_from_every_heartbeat(patch: pytest.MonkeyPatch) -> None:
    def heard(freshness: Freshness, now: float, _commit: int, applied: int, same_term: bool) -> None:
        freshness._awaited = (0, now)
        freshness.applied(applied, same_term)

    patch.setattr(Freshness, "heard", heard)


MISTAKES: tuple[tuple[Break, str, dict[str, float]], ...] = (
    (_loses_some_events, "no lost wake-up", BEHIND),
    (_wakes_no_lists, "no lost wake-up", BEHIND),
    (_wakes_nobody_for_a_snapshot, "no lost wake-up", BEHIND),
    (_waits_between_the_look_and_the_place, "no lost wake-up", BEHIND),
    (_wakes_for_nothing, "woken by changes alone", BEHIND),
    (_forgets_deadlines, "deadline", BEHIND),
    (_keeps_who_has_gone, "bounded", BEHIND),
    (_waits_on_for_who_hung_up, "who gives up is dropped", BEHIND),
    (_serves_all_from_what_is_here, "answers go on", BEHIND),
    (_keeps_lists_that_moved, "answers are the state's", BEHIND),
    (_counts_a_new_leaders_state_as_fresh, "as stale as claimed", NEW_LEADERS),
    (_counts_from_every_heartbeat, "as stale as claimed", BEHIND),
)


@pytest.mark.parametrize(("mistake", "invariant", "kinds"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_in_the_way_of_a_read_is_found_by_seeds_that_pass_without_it(
    mistake: Break, invariant: str, kinds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in SEEDS:
        with monkeypatch.context() as patch:
            mistake(patch)
            found = run(plan(seed, kinds)).violation
        if found is not None:
            assert found[0] == invariant, f"seed {seed}: {found}"
            assert run(plan(seed, kinds)).violation is None
            return
    pytest.fail(f"none of {SEEDS} finds it")


def test_who_follows_something_is_woken_by_changes_and_hangs_up_at_times() -> None:
    """Else the mistakes above would be found by nobody."""
    result = run(plan(SEEDS[0]), trace=True)
    assert result.violation is None
    assert result.woken > 50
    assert result.hung_up > 10
    assert result.counts["snapshot_installed"] > 0
