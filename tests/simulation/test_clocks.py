"""Clocks that jump: what the simulator draws holds, and what it looks for it finds where log time is as it once was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.faults import Fault
from tests.simulation.run import Plan, draw_plan, run
from volstore.core.acl.tables import Access, AclToken
from volstore.core.logtime import Timers
from volstore.core.state import State

_JUMPS = tuple(Fault(3.0 + 2 * number, "clock", "follower", "leader", 1.0, 0.5) for number in range(5))


def plan(seed: int, *, faults: tuple[Fault, ...] = _JUMPS) -> Plan:
    """A quiet run of the registry in which nothing goes wrong but clocks."""
    drawn = draw_plan(seed, seconds=15.0, kinds=lambda random: {}, changes={"registry": True, "nodes": 3})
    return replace(drawn, faults=faults)


@pytest.mark.parametrize("who", ["leader", "follower", "n1"])
@pytest.mark.parametrize("amount", [0.1, 0.2, 0.5, 0.9], ids=["all, back", "all, ahead", "one, ahead", "for good"])
def test_no_jump_of_a_clock_is_noticed(who: str, amount: float) -> None:
    faults = tuple(replace(fault, who=who, amount=amount) for fault in _JUMPS)
    assert run(plan(1, faults=faults)).violation is None


def as_it_once_was(state: State, time: int) -> None:
    """Log time is the greatest stamp."""
    state.index += 1
    state.stamp = state.log_time = max(state.log_time, time)


def test_stamps_that_move_log_time_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "advance", as_it_once_was)
    violation = run(plan(1)).violation
    assert violation is not None
    assert violation[0] in ("log time", "keys are kept", "tokens live", "swept in time")


def test_tokens_that_end_by_their_date_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_date(timers: Timers, accessor_id: str) -> int | None:
        return None

    monkeypatch.setattr(Timers, "token", by_date)
    behind = tuple(replace(fault, amount=0.1) for fault in _JUMPS)
    violation = run(plan(1, faults=behind)).violation
    assert violation is not None
    assert violation[0] == "tokens live"


def test_tokens_that_never_end_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(access: Access, token: AclToken, now: int) -> bool:
        return False

    monkeypatch.setattr(Access, "expired", never)
    monkeypatch.setattr(Access, "remove_expired", lambda access, now, index, most: None)
    violation = run(plan(1)).violation
    assert violation is not None
    assert violation[0] == "tokens end"
