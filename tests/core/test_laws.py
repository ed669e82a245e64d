"""Laws of the state machine, for any sequence of commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.answers import QUERIES, VOLUME_QUERIES, expected_list, rows
from tests.core.steps import PLUGIN_IDS, Step, new_fsm, perform, sequences
from volstore.core import departures, idempotency
from volstore.core.commands import AdvanceTime, Stamped, decode_outcome
from volstore.core.fsm import Fsm
from volstore.core.logtime import MAX_STEP
from volstore.core.model import Fingerprint
from volstore.core.state import State
from volstore.core.tables import Table

pytestmark = pytest.mark.timeout(600)  # time to shrink a failing sequence to the shortest that fails
ROOT = Path(__file__).parents[2]


def restored(fsm: Fsm) -> Fsm:
    other = Fsm()
    other.restore(fsm.capture().chunks())
    return other


def content(fsm: Fsm) -> bytes:
    return b"".join(fsm.capture().chunks())


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> Iterator[None]:
    """Limits that a short sequence reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(departures, "KEPT", 4)
        patch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 1)
        yield


@settings(max_examples=100, deadline=None)
@given(sequences, st.sets(st.integers(0, 40)))
def test_two_machines_give_the_same_bytes_though_one_is_restored_on_its_way(
    steps: list[Step], restores: set[int]
) -> None:
    straight, other = new_fsm(), new_fsm()
    for number, step in enumerate(steps):
        if number in restores:
            other = restored(other)
        assert perform(straight, step) == perform(other, step)
        assert straight.digest() == other.digest()
        assert straight.state.index == number + 2
    assert content(straight) == content(other)
    last = len(steps)
    for index in range(last + 2):
        for name, (_, moved) in QUERIES.items():
            assert moved(straight.state, index) == moved(other.state, index), (name, index)


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_indexes_and_counts_agree_with_the_bare_rows(steps: list[Step]) -> None:
    fsm = new_fsm()
    for step in steps:
        perform(fsm, step)
        check_plugins(fsm.state)
    check_lists(fsm.state)
    check_sums(fsm.state)


def check_plugins(state: State) -> None:
    used = {volume.plugin_id for volume in rows(state)}
    kept = {row.id for row in state._plugins}
    for id in PLUGIN_IDS:
        controllers = instances(state, id, controllers=True)
        nodes = instances(state, id, controllers=False)
        assert state.controller_instances(id) == controllers
        assert state.node_instances(id) == nodes
        assert (id in kept) == bool(controllers or nodes or id in used)
        row = state.plugin_row(id)
        if row is not None:
            assert row.present == bool(controllers or nodes)
            assert (row.controllers_expected, row.nodes_expected) == (len(controllers), len(nodes))
            assert row.controllers_healthy == sum(found.healthy for _, found in controllers)
            assert row.nodes_healthy == sum(found.healthy for _, found in nodes)
            assert row.create_index <= row.modify_index <= state.index
            assert row.touch_index <= row.modify_index


def instances(state: State, id: str, *, controllers: bool) -> list[tuple[str, Fingerprint]]:
    found = []
    for node in sorted(state._nodes, key=lambda node: node.id):
        fingerprint = (node.controller_plugins if controllers else node.node_plugins).get(id)
        if fingerprint is not None:
            healthy = fingerprint.healthy and node.status != "down"
            found.append((node.id, Fingerprint(**{**as_dict(fingerprint), "healthy": healthy})))
    return found


def as_dict(fingerprint: Fingerprint) -> dict[str, Any]:
    return {name: getattr(fingerprint, name) for name in fingerprint.__struct_fields__}


def check_lists(state: State) -> None:
    for query in VOLUME_QUERIES:
        expected = expected_list(state, query)
        assert list(state.volumes(query)) == expected, query
        for at, volume in enumerate(expected):
            assert list(state.volumes(query, (volume.namespace, volume.id))) == expected[at + 1 :], query
        assert list(state.volumes(query, ("default", "aa"))) == [
            volume for volume in expected if (volume.namespace, volume.id) > ("default", "aa")
        ]


def check_sums(state: State) -> None:
    for table in state._tables():
        again: Table[Any, Any] = Table(table.name, table.row_type, table._key)
        for row in table:
            again.put(row)
        assert (again.sum, again.frames) == (table.sum, table.frames)


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_a_refusal_changes_nothing_but_the_index_and_log_time(steps: list[Step]) -> None:
    fsm = new_fsm()
    for step in steps:
        fsm.take_events()
        before, index, log_time = fsm.capture(), fsm.state.index, fsm.state.log_time
        measured = fsm.state.timers.measured
        outcome = perform(fsm, step)
        assert fsm.state.index == index + 1
        command, time = (step.command, step.time) if isinstance(step, Stamped) else (None, 0)
        if isinstance(command, AdvanceTime):
            assert log_time <= fsm.state.log_time <= log_time + MAX_STEP
        else:
            assert fsm.state.log_time == (log_time if measured else max(log_time, time))
        if outcome and (decode_outcome(outcome).status != 200 or decode_outcome(outcome).index != index + 1):
            after = fsm.capture()
            changed = [
                name
                for (name, _), was, now in zip(before.header.tables, before.tables, after.tables, strict=True)
                if was != now
            ]
            assert changed in ([], ["outcomes"])
            assert fsm.take_events() == []


@settings(max_examples=100, deadline=None)
@given(sequences, st.sets(st.integers(0, 40)))
def test_a_query_moved_since_an_index_exactly_when_its_answer_changed_after_it(
    steps: list[Step], restores: set[int]
) -> None:
    fsm = new_fsm()
    changed_last = dict.fromkeys(QUERIES, 0)
    answers = {name: answer(fsm.state) for name, (answer, _) in QUERIES.items()}
    for number, step in enumerate(steps):
        if number in restores:
            fsm = restored(fsm)
        perform(fsm, step)
        index = fsm.state.index
        for name, (answer, moved) in QUERIES.items():
            now = answer(fsm.state)
            if now != answers[name]:
                changed_last[name] = index
                answers[name] = now
            for since in {0, changed_last[name] - 1, changed_last[name], index - 1, index}:
                if since < 0:
                    continue
                if changed_last[name] > since:
                    assert moved(fsm.state, since), f"{name}: a wake-up since {since} is lost at {index}"
                elif fsm.state.departures.floor <= since and not (name == "namespaces" and since == 0):
                    assert not moved(fsm.state, since), f"{name}: woken for nothing since {since} at {index}"


@settings(max_examples=50, deadline=None)
@given(sequences)
def test_events_tell_every_change_of_a_row(steps: list[Step]) -> None:
    fsm = new_fsm()
    for step in steps:
        before = {name: answer(fsm.state) for name, (answer, _) in QUERIES.items()}
        fsm.take_events()
        perform(fsm, step)
        events = fsm.take_events()
        after = {name: answer(fsm.state) for name, (answer, _) in QUERIES.items()}
        assert events or before == after


def test_the_hash_seed_of_the_process_does_not_show() -> None:
    results = {
        subprocess.run(
            [sys.executable, "-m", "tests.core.seeded"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "271828")
    }
    assert len(results) == 1
    assert len(results.pop()) == 2 * 64
