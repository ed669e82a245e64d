"""Log time: moved by measures alone, whatever any wall clock shows; and what rests on it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.machine import SECOND, Machine, node, volume
from volstore.agent import timekeeping
from volstore.agent.timekeeping import LogClock, is_due
from volstore.core import idempotency
from volstore.core.acl.commands import PutAclToken
from volstore.core.commands import (
    AdvanceTime,
    BeginRestore,
    CommitRestore,
    Idempotency,
    PutNode,
    RegisterVolumes,
    RestorePiece,
    SetNodeStatus,
    SweepNode,
)
from volstore.core.idempotency import Remembered
from volstore.core.logtime import MAX_STEP, TICK_EVERY
from volstore.http.endpoints.acl_views import token_view

YEARS = 10 * 365 * 86_400 * SECOND
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
KEY = Idempotency("me", "k", b"hash")
JUMPS = pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["ahead", "behind"])


def ready() -> Machine:
    machine = Machine().measured()
    machine.report("n1")
    return machine


def poisoned() -> Machine:
    """As the old build leaves a cluster through which one write went with a clock ten years ahead."""
    machine = Machine()
    machine.report("n1")
    machine.do(PutNode(node("n2")), time=machine.clock + YEARS)
    return machine


def token(machine: Machine, accessor: str, ttl: int = 0, *, time: int | None = None) -> None:
    command = PutAclToken(accessor, b"hash of " + accessor.encode(), accessor, "management", ttl=ttl)
    assert machine.do(command, time=time).status == 200


def works(machine: Machine, accessor: str) -> bool:
    return machine.state.access.token_of(b"hash of " + accessor.encode(), machine.state.log_time) is not None


def write(machine: Machine, name: str, *, time: int | None = None) -> int:
    return machine.do(RegisterVolumes("default", (volume("v", name=name),)), key=KEY, time=time).index


# What moves it.


def test_the_first_measure_moves_nothing_and_afterwards_no_stamp_does() -> None:
    machine = ready()
    before = machine.state.log_time
    shown = machine.clock + YEARS
    machine.do(PutNode(node("n2")), time=shown)
    assert machine.state.log_time == before
    assert machine.node("n2").status_updated_at == shown // SECOND


def test_a_measure_moves_it_by_what_passed_at_most_a_step_and_never_back() -> None:
    machine = ready()
    for elapsed, moved in ((SECOND, SECOND), (-SECOND, 0), (YEARS, MAX_STEP)):
        before = machine.state.log_time
        machine.done(AdvanceTime(before, elapsed))
        assert machine.state.log_time == before + moved


def test_no_time_is_counted_twice_by_two_who_measured_it() -> None:
    machine = ready()
    base = machine.state.log_time
    for _ in range(3):
        machine.done(AdvanceTime(base, 5 * SECOND))
    assert machine.state.log_time == base + 5 * SECOND


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90), st.booleans(), st.integers(-10, 10)), max_size=40))
def test_it_never_runs_faster_than_real_time_whoever_measures_and_however_late(
    acts: list[tuple[int, int, bool, int]],
) -> None:
    """Three members with clocks of their own apply the same log; a measure may lie about before it is applied."""
    machine, now, late = ready(), 0.0, list[AdvanceTime]()
    clocks = [LogClock(lambda: now, lambda: 0) for _ in range(3)]
    for each in clocks:
        each.follow(machine.state)
    began = machine.state.log_time
    for member, seconds, lies, years in acts:
        now += seconds
        late.append(clocks[member].measure(machine.state))
        if not lies:
            for command in late:
                machine.do(command, time=machine.clock + years * YEARS)
                for each in clocks:
                    if each.base != machine.state.log_time:
                        each.follow(machine.state)
            late.clear()
        assert machine.state.log_time - began <= now * SECOND


def test_a_member_that_was_not_there_counts_nothing_for_that_time() -> None:
    machine, now = ready(), [0.0]
    clock = LogClock(lambda: now[0], lambda: machine.clock + YEARS)
    now[0] = 1000.0  # it starts, and applies what it missed
    clock.follow(machine.state)
    assert clock.measure(machine.state) == AdvanceTime(machine.state.log_time, 0)
    now[0] += 7.0
    assert clock.now(machine.state) == machine.state.log_time + 7 * SECOND


# When a leader has it move.


def test_nothing_moves_while_nothing_can_expire() -> None:
    assert not is_due(ready().state, YEARS, DAY)


def test_it_moves_now_and_then_while_something_can_expire_and_at_once_when_it_does() -> None:
    machine = ready()
    token(machine, "t", 100 * SECOND)
    assert not is_due(machine.state, TICK_EVERY - 1, DAY)
    assert is_due(machine.state, TICK_EVERY, DAY)
    machine.pass_(95)
    assert not is_due(machine.state, 4 * SECOND, DAY)
    assert is_due(machine.state, 5 * SECOND, DAY)
    machine.pass_(5)
    assert machine.state.access.tokens.rows == {}
    assert not is_due(machine.state, YEARS, DAY)


def test_it_moves_for_a_remembered_key_until_that_is_forgotten() -> None:
    machine = ready()
    write(machine, "A")
    assert is_due(machine.state, TICK_EVERY, DAY)
    machine.pass_(660)
    assert len(machine.state.outcomes.table) == 0
    assert not is_due(machine.state, YEARS, DAY)


def test_it_moves_for_a_node_that_is_down_until_that_may_be_swept() -> None:
    machine = ready()
    machine.done(SetNodeStatus("n1", "down"))
    assert is_due(machine.state, TICK_EVERY, HOUR)
    machine.pass_(3660)
    assert not is_due(machine.state, YEARS, HOUR)
    machine.done(SetNodeStatus("n1", "ready"))
    assert not is_due(machine.state, YEARS, DAY)


def test_it_moves_for_a_node_that_was_down_before_time_was_measured() -> None:
    machine = Machine()
    machine.report("n1", status="down")
    machine.measured()
    assert is_due(machine.state, TICK_EVERY, HOUR)
    machine.pass_(3600)
    assert not is_due(machine.state, TICK_EVERY, HOUR)


# What a wrong clock did once (findings): a key, a token, tokens made afterwards, a full table, the sweep.


@JUMPS
def test_a_key_seconds_old_is_not_applied_again_whatever_the_clocks_show(jump: int) -> None:
    machine = ready()
    first = write(machine, "A")
    machine.do(PutNode(node("n2")), time=machine.clock + jump)
    write(machine, "B", time=machine.clock + jump)
    assert write(machine, "A") == first
    assert machine.volume("v").name == "A"


def test_a_key_is_never_forgotten_early_though_log_time_lagged_when_it_came() -> None:
    machine = ready()
    first = write(machine, "A")
    machine.pass_(60)  # what passed before the key came, and was measured after it
    machine.pass_(599)
    assert write(machine, "A") == first
    machine.pass_(1)
    assert write(machine, "A") > first


@JUMPS
def test_no_proposers_clock_ends_or_prolongs_a_token(jump: int) -> None:
    machine = ready()
    token(machine, "hour", 3600 * SECOND)
    token(machine, "there", 60 * SECOND, time=machine.clock + jump)
    machine.do(PutNode(node("n2")), time=machine.clock + jump)
    token(machine, "afterwards", 60 * SECOND)
    machine.pass_(59)
    assert [works(machine, id) for id in ("hour", "there", "afterwards")] == [True, True, True]
    machine.pass_(1)
    assert [works(machine, id) for id in ("hour", "there", "afterwards")] == [True, False, False]
    machine.pass_(3600)
    assert not works(machine, "hour")


def test_a_token_keeps_its_end_when_it_is_changed_and_a_new_one_of_its_name_has_its_own() -> None:
    machine = ready()
    token(machine, "t", 60 * SECOND)
    machine.done(PutAclToken("t", name="other", kind="management"))
    machine.pass_(60)
    assert not works(machine, "t")
    token(machine, "t")
    machine.pass_(600)
    assert works(machine, "t")


def test_the_date_of_expiry_that_a_user_sees_is_on_the_proposers_clock() -> None:
    machine = ready()
    machine.pass_(50)
    token(machine, "t", 60 * SECOND)
    row = machine.state.access.tokens.rows["t"]
    assert machine.state.access.expiration_date(row) == machine.clock + 60 * SECOND


@pytest.mark.parametrize("shown", [-(10**18), 0, 2**63 - 1])
def test_no_date_that_a_clock_can_show_stops_a_member(shown: int) -> None:
    machine = ready()
    token(machine, "t", 100 * 365 * DAY, time=shown)
    machine.do(PutNode(node("n2")), time=shown)
    row = machine.state.access.tokens.rows["t"]
    assert token_view(machine.state.access, row).expiration_time
    assert works(machine, "t")


def test_a_full_table_of_keys_is_taken_up_again_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volstore.core.fsm.CAPACITY", 3)
    monkeypatch.setattr(idempotency, "CAPACITY", 3)
    machine = ready()
    machine.do(PutNode(node("n2")), time=machine.clock + YEARS)
    for number in range(3):
        key = Idempotency("me", f"k{number}", b"")
        assert machine.do(PutNode(node("n1")), key=key, time=machine.clock + YEARS).status == 200
    assert machine.do(PutNode(node("n1")), key=KEY).status == 429
    machine.pass_(660)
    assert machine.do(PutNode(node("n1")), key=KEY).status == 200


# A state that was poisoned by a build of level 1.


def test_a_node_that_was_down_when_the_clock_was_wrong_is_swept_after_its_time_and_not_before() -> None:
    machine = Machine()
    machine.report("n1", status="down")  # before the wrong clock
    machine.do(PutNode(node("n2", status="down")), time=machine.clock + YEARS)
    machine.measured()
    sweeps = [SweepNode(id, 0, HOUR) for id in ("n1", "n2")]
    machine.pass_(3599)
    assert [machine.do(each).status for each in sweeps] == [409, 409]
    machine.pass_(1)
    assert [machine.do(each).status for each in sweeps] == [200, 200]


def test_a_token_that_was_made_in_the_future_ends_with_its_ttl_and_shows_when() -> None:
    machine = poisoned()
    token(machine, "minute", 60 * SECOND)  # ExpirationTime in ten years
    row = machine.state.access.tokens.rows["minute"]
    assert row.expiration_time > machine.clock + YEARS
    machine.measured()
    shown = token_view(machine.state.access, row).expiration_time
    assert shown == "2023-11-14T22:14:23Z"  # a minute after the upgrade
    machine.pass_(59)
    assert works(machine, "minute")
    machine.pass_(1)
    assert not works(machine, "minute")


def test_a_table_full_of_keys_from_the_future_is_empty_ten_minutes_after_the_upgrade() -> None:
    """At the real capacity, and as rows of the old build: after a snapshot, too."""
    machine = poisoned()
    future = machine.state.log_time
    outcomes = machine.state.outcomes
    for number in range(idempotency.CAPACITY):
        row = Remembered(caller="me", key=str(number), request_hash=b"", time=future, index=2, status=200, text="")
        outcomes.table.put(row)
        outcomes._queue.append(row)
    assert machine.do(PutNode(node("n1")), key=KEY).status == 429
    machine.fsm.restore(list(machine.fsm.capture().chunks()))
    machine.measured().pass_(540)
    assert machine.do(PutNode(node("n1")), key=KEY).status == 429
    machine.pass_(60)
    moves = 0
    while len(machine.state.outcomes.table):
        assert is_due(machine.state, 0, DAY)
        machine.done(AdvanceTime(machine.state.log_time, SECOND))
        moves += 1
    assert moves <= 100
    assert machine.do(PutNode(node("n1")), key=KEY).status == 200


def test_keys_from_before_the_upgrade_are_kept_for_their_ten_minutes() -> None:
    machine = poisoned()
    first = write(machine, "A")
    machine.measured()
    machine.pass_(599)
    assert write(machine, "A") == first


# Snapshots and backups.


def filled() -> Machine:
    machine = ready()
    token(machine, "t", 100 * SECOND)
    machine.report("n2", status="down")
    write(machine, "A")
    machine.pass_(10)
    return machine


def test_it_survives_a_snapshot_and_goes_on_alike() -> None:
    machine = filled()
    other = Machine()
    other.clock = machine.clock
    other.fsm.restore(list(machine.fsm.capture().chunks()))
    for each in (machine, other):
        token(each, "u", 10 * SECOND)
        each.done(SetNodeStatus("n2", "ready"))
        each.done(SetNodeStatus("n2", "down"))
        each.pass_(95)
        assert not works(each, "t")
    assert machine.fsm.digest() == other.fsm.digest()
    assert b"".join(machine.fsm.capture().chunks()) == b"".join(other.fsm.capture().chunks())


def test_before_the_first_measure_there_is_no_trace_of_it_in_the_state() -> None:
    machine = Machine()
    machine.report("n1", status="down")
    token(machine, "t", 100 * SECOND)
    assert "timers" not in [name for name, _ in machine.fsm.capture().header.tables]
    assert machine.state.level == 1


def put_on(machine: Machine, backup: Machine) -> None:
    data = b"".join(backup.fsm.capture().chunks())
    machine.done(BeginRestore("r", len(data), hashlib.sha256(data).digest()))
    machine.done(RestorePiece("r", 1, data))
    machine.done(CommitRestore("r"))


def test_time_stays_measured_when_an_old_backup_is_put_on() -> None:
    machine, backup = filled(), poisoned()
    token(backup, "minute", 60 * SECOND)
    put_on(machine, backup)
    before = machine.state.log_time
    machine.do(PutNode(node("n1")), time=machine.clock + 3 * YEARS)
    assert machine.state.log_time == before
    assert works(machine, "minute")
    machine.pass_(60)
    assert not works(machine, "minute")


def test_a_backup_with_measured_time_brings_its_timers() -> None:
    machine = Machine().measured()
    put_on(machine, filled())
    assert works(machine, "t")
    machine.pass_(90)
    assert not works(machine, "t")
    assert timekeeping.is_due(machine.state, TICK_EVERY, DAY)
