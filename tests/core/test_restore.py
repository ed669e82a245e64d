"""A backup that comes through the log, piece by piece: all of it or nothing, and indexes only go up."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tests.core.machine import SECOND, Machine, volume
from volstore.core import staging
from volstore.core.commands import AbandonRestore, BeginRestore, CommitRestore, Outcome, RestorePiece
from volstore.core.events import Restored
from volstore.core.fsm import Fsm
from volstore.core.snapshot import Reader


def backup_of(machine: Machine) -> bytes:
    return b"".join(machine.state.capture().chunks())


def rows(data: bytes) -> list[bytes]:
    """All rows of all tables, as they lie in the backup."""
    reader = Reader([data])
    return [row for _, count in reader.header.tables for row in reader.rows(count)]


def filled(count: int) -> Machine:
    machine = Machine()
    machine.report("n1")
    for number in range(count):
        machine.register(volume(f"v{number}"))
    return machine


def stage(machine: Machine, data: bytes, id: str = "r", size: int = 400) -> None:
    machine.done(BeginRestore(id, len(data), sha256(data).digest()))
    for number, start in enumerate(range(0, len(data), size), 1):
        machine.done(RestorePiece(id, number, data[start : start + size]))


def staged(machine: Machine) -> bool:
    return machine.state.staging.announced is not None


def restore(machine: Machine, data: bytes) -> Outcome:
    stage(machine, data)
    return machine.done(CommitRestore("r"))


def test_a_restored_backup_is_the_same_backup_again_row_by_row() -> None:
    source, target = filled(20), Machine()
    backup = backup_of(source)
    target.report("other")
    restore(target, backup)
    assert rows(backup_of(target)) == rows(backup)
    again = Machine()
    restore(again, backup_of(target))
    assert rows(backup_of(again)) == rows(backup)


@pytest.mark.parametrize(("source_size", "target_size"), [(50, 0), (0, 50)])
def test_the_index_after_a_restore_is_above_both_states(source_size: int, target_size: int) -> None:
    source, target = filled(source_size), filled(target_size)
    backup = backup_of(source)
    stage(target, backup)
    before = target.state.index
    outcome = target.done(CommitRestore("r"))
    assert outcome.index == target.state.index == target.state.restored_at > max(before, source.state.index)
    target.report("n1")
    assert target.state.index == outcome.index + 1


def test_everybody_is_woken_and_the_state_is_another_object() -> None:
    machine = filled(3)
    backup, before = backup_of(machine), machine.state
    stage(machine, backup)
    machine.fsm.take_events()
    machine.done(CommitRestore("r"))
    assert machine.fsm.take_events() == [Restored()]
    assert machine.state is not before
    assert machine.state.staging.announced is None


def test_log_time_does_not_go_back() -> None:
    source, target = Machine(), Machine()
    source.clock += 1000 * SECOND
    source.report("n1")
    restore(target, backup_of(source))
    assert target.state.log_time >= source.state.log_time
    early = Machine()
    backup = backup_of(early)
    restore(source, backup)
    assert source.state.log_time == source.clock


def test_a_member_that_starts_in_the_middle_finishes_the_same() -> None:
    data = backup_of(filled(10))
    machine = Machine()
    stage(machine, data)
    other = Machine()
    other.clock = machine.clock
    other.fsm = Fsm()
    other.fsm.restore(list(machine.fsm.capture().chunks()))
    assert other.fsm.digest() == machine.fsm.digest()
    for one in (machine, other):
        one.done(CommitRestore("r"))
    assert other.fsm.digest() == machine.fsm.digest()
    third = Fsm()
    third.restore(list(machine.fsm.capture().chunks()))
    assert third.digest() == machine.fsm.digest()
    assert third.state.restored_at == machine.state.restored_at


def test_what_is_not_whole_or_not_a_backup_changes_nothing() -> None:
    data = backup_of(filled(5))
    machine = filled(2)
    kept = rows(backup_of(machine))

    def refused(outcome: Outcome, status: int, text: str) -> None:
        assert outcome.status == status
        assert text in outcome.text

    refused(machine.do(CommitRestore("r")), 409, "has not begun")
    refused(machine.do(RestorePiece("r", 1, b"x")), 409, "has not begun")
    machine.done(BeginRestore("r", len(data), sha256(data).digest()))
    refused(machine.do(RestorePiece("other", 1, data)), 409, "another one replaced it")
    refused(machine.do(RestorePiece("r", 2, data)), 409, "piece 2 came before piece 1")
    machine.done(RestorePiece("r", 1, data[:100]))
    machine.done(RestorePiece("r", 1, data[:100]))
    refused(machine.do(RestorePiece("r", 1, data[:99])), 409, "other bytes")
    refused(machine.do(CommitRestore("r")), 409, "of")
    refused(machine.do(RestorePiece("r", 2, data)), 409, "longer than")
    machine.done(RestorePiece("r", 2, bytes(len(data) - 100)))
    refused(machine.do(CommitRestore("r")), 409, "SHA-256 differs")
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    stage(machine, damaged)
    refused(machine.do(CommitRestore("r")), 400, "the backup can't be restored")
    machine.done(AbandonRestore("r"))
    assert rows(backup_of(machine)) == kept


def test_an_abandoned_or_forgotten_restore_leaves_nothing_behind() -> None:
    machine = filled(1)
    data = backup_of(machine)
    stage(machine, data)
    machine.done(AbandonRestore("another"))
    assert staged(machine)
    machine.done(AbandonRestore("r"))
    assert not staged(machine)
    stage(machine, data)
    machine.clock += staging.KEPT_FOR
    machine.report("n2")
    assert not staged(machine)
    assert machine.do(CommitRestore("r")).status == 409


def test_a_backup_with_a_restore_under_way_restores_without_it() -> None:
    machine = filled(2)
    stage(machine, backup_of(machine), id="unfinished")
    target = Machine()
    restore(target, backup_of(machine))
    assert target.state.staging.announced is None


def test_pieces_show_nothing_of_what_they_hold() -> None:
    assert "secret" not in repr(RestorePiece("r", 1, b"secret")) + repr(staging.Piece(id="r", number=1, data=b"secret"))


def test_rows_are_loaded_as_their_pieces_come_wherever_these_are_cut() -> None:
    data = backup_of(filled(30))
    for size in (11, 100, 1000, len(data)):
        machine = Machine()
        stage(machine, data, size=size)
        machine.done(CommitRestore("r"))
        assert rows(backup_of(machine)) == rows(data)


def test_a_damaged_row_in_the_middle_is_told_at_the_commit_alike_on_all_members() -> None:
    data = backup_of(filled(30))
    place = data.index(b"ext-v15")
    damaged = data[:place] + b"\xff" + data[place + 1 :]
    machine = Machine()
    stage(machine, damaged)
    other = machine.restored()
    outcomes = {one.do(CommitRestore("r")).text for one in (machine, other)}
    assert len(outcomes) == 1
    assert "the backup can't be restored: " in outcomes.pop()
    assert machine.fsm.digest() == other.fsm.digest()
