"""Idempotency keys: the first outcome again, for ten minutes of log time, never evicted early."""

from __future__ import annotations

import pytest

from tests.core.machine import SECOND, Machine, machine_with_plugin, volume
from volstore.core import idempotency
from volstore.core.commands import DeregisterVolume, Idempotency, RegisterVolumes

KEY = Idempotency("anonymous", "k", b"hash")
REGISTER = RegisterVolumes("default", (volume(),))


def test_the_same_key_returns_the_first_outcome_and_applies_nothing() -> None:
    machine = machine_with_plugin()
    first = machine.do(REGISTER, key=KEY)
    stored = machine.volume("v")
    again = machine.do(REGISTER, key=KEY)
    assert again == first
    assert machine.volume("v") is stored
    assert machine.state.index == first.index + 1


def test_a_refusal_is_an_outcome_too() -> None:
    machine = machine_with_plugin()
    first = machine.do(DeregisterVolume("default", "v"), key=KEY)
    machine.register(volume())
    assert machine.do(DeregisterVolume("default", "v"), key=KEY) == first
    assert machine.state.volume("default", "v") is not None


def test_a_key_of_another_request_is_a_409() -> None:
    machine = machine_with_plugin()
    machine.do(REGISTER, key=KEY)
    outcome = machine.do(DeregisterVolume("default", "v"), key=Idempotency("anonymous", "k", b"other"))
    assert outcome.status == 409
    assert outcome.text.startswith('the Idempotency-Key "k" was used for another request')
    assert machine.state.volume("default", "v") is not None


def test_callers_do_not_share_keys() -> None:
    machine = machine_with_plugin()
    first = machine.do(REGISTER, key=KEY)
    second = machine.do(REGISTER, key=Idempotency("another", "k", b"hash"))
    assert second.index == first.index + 1


def test_a_key_is_kept_until_ten_minutes_of_log_time_have_passed() -> None:
    machine = machine_with_plugin()
    start = machine.clock
    first = machine.do(REGISTER, key=KEY, time=start)
    assert machine.do(REGISTER, key=KEY, time=start + 600 * SECOND - 1) == first
    later = machine.do(REGISTER, key=KEY, time=start + 600 * SECOND)
    assert later.index > first.index
    assert machine.volume("v").modify_index == later.index


def test_a_slow_clock_does_not_make_a_key_live_longer() -> None:
    machine = machine_with_plugin()
    start = machine.clock
    first = machine.do(REGISTER, key=KEY, time=start)
    machine.do(DeregisterVolume("default", "none"), time=start + 600 * SECOND)
    assert machine.do(REGISTER, key=KEY, time=start).index != first.index


def test_expired_keys_leave_a_few_with_each_command_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 2)
    machine = machine_with_plugin()
    for number in range(5):
        machine.do(REGISTER, key=Idempotency("", str(number), b""))
    left = []
    for _ in range(4):
        machine.do(DeregisterVolume("default", "none"), time=machine.clock + 600 * SECOND)
        left.append([row.key for row in machine.state.outcomes.table])
    assert left == [["2", "3", "4"], ["4"], [], []]


def test_a_full_table_refuses_new_keys_and_keeps_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "CAPACITY", 2)
    machine = machine_with_plugin()
    first = machine.do(REGISTER, key=KEY)
    machine.do(REGISTER, key=Idempotency("", "2", b""))
    refused = machine.do(DeregisterVolume("default", "v"), key=Idempotency("", "3", b""))
    assert refused.status == 429
    assert machine.state.volume("default", "v") is not None
    assert machine.do(REGISTER, key=KEY) == first
    assert machine.register(volume("w")).status == 200  # without a key there is no limit


def test_room_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "CAPACITY", 1)
    machine = machine_with_plugin()
    machine.do(REGISTER, key=KEY)
    assert machine.do(REGISTER, key=Idempotency("", "2", b"")).status == 429
    machine.clock += 600 * SECOND
    assert machine.do(REGISTER, key=Idempotency("", "2", b"")).status == 200


def test_a_key_that_is_used_again_after_its_time_is_the_youngest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 1)
    machine = machine_with_plugin()
    machine.do(REGISTER, key=Idempotency("", "1", b""))
    machine.do(REGISTER, key=KEY)
    machine.clock += 500 * SECOND
    machine.do(REGISTER, key=Idempotency("", "3", b""))
    machine.clock += 100 * SECOND
    machine.do(REGISTER, key=KEY)  # only "1" has left so far
    assert [row.key for row in machine.state.outcomes.table] == ["3", "k"]
    assert machine.restored().fsm.digest() == machine.fsm.digest()


def test_a_restored_machine_forgets_the_same_keys_at_the_same_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 1)
    machine = machine_with_plugin()
    machine.do(REGISTER, key=Idempotency("", "1", b""))
    machine.do(REGISTER, key=KEY)
    machine.clock += 600 * SECOND
    machine.do(REGISTER, key=KEY)
    other = machine.restored()
    for each in (machine, other):
        each.clock += 600 * SECOND
        each.do(DeregisterVolume("default", "none"))
        assert len(each.state.outcomes.table) == 0
    assert machine.fsm.digest() == other.fsm.digest()


def test_outcomes_keep_no_secret_of_the_request() -> None:
    machine = machine_with_plugin()
    machine.do(RegisterVolumes("default", (volume(secrets={"password": "xyzzy"}),)), key=KEY)
    machine.do(DeregisterVolume("default", "v"))
    assert b"xyzzy" not in b"".join(machine.fsm.capture().chunks())


def test_the_first_command_of_a_new_cluster_has_index_two() -> None:
    assert Machine().register().index == 2
