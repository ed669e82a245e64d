"""Feature levels: what a build may say to members that know less, and what it may meet itself."""

from __future__ import annotations

import typing

import msgspec
import pytest

from tests.core.machine import Machine, machine_with_plugin, node
from tests.core.test_snapshot import full_machine
from volstore.core import commands
from volstore.core.commands import (
    CAME_AT,
    Command,
    DeleteNode,
    PutNode,
    RestorePiece,
    Stamped,
    UnknownCommand,
    level_of,
)
from volstore.core.levels import LEVEL, Known, lacking
from volstore.core.snapshot import MAGIC
from volstore.core.state import State

OLD = Known("s1", {"version": "0.1.0", "level": "1"})
NEW = Known("s2", {"version": "0.2.0", "level": "2"})

FIRST_LEVEL = {
    "AbandonRestore": "id",
    "BeginRestore": "id size digest",
    "BootstrapAcl": "accessor_id secret_hash reset_index",
    "ClaimVolume": "namespace id allocation_id mode state node_id",
    "CommitRestore": "id",
    "DeleteAclPolicy": "name",
    "DeleteAclToken": "accessor_id",
    "DeleteAllocation": "id",
    "DeleteNamespace": "name",
    "DeleteNode": "id if_modify_index",
    "DeregisterVolume": "namespace id force",
    "DetachVolume": "namespace id node_id",
    "PutAclPolicy": "name description text rules",
    "PutAclToken": "accessor_id secret_hash name kind policies global_ ttl",
    "PutAllocations": "allocations",
    "PutNamespace": "name description",
    "PutNode": "node",
    "RegisterVolumes": "namespace volumes",
    "RestorePiece": "id number data",
    "SetNodeStatus": "id status if_modify_index",
    "SweepClaims": "claims",
}
"""What level 1 says, and in which fields. It never changes: what is new is a new kind, with a new level."""


def at(monkeypatch: pytest.MonkeyPatch, kind: type, level: int) -> None:
    """Have `kind` be a command that came with `level`, in a build of that level."""
    for module in ("volstore.core.levels", "volstore.core.commands", "volstore.core.snapshot"):
        monkeypatch.setattr(f"{module}.LEVEL", level)
    monkeypatch.setitem(CAME_AT, kind, level)


def test_every_kind_of_command_has_a_level_and_none_is_above_this_builds() -> None:
    assert set(CAME_AT) == set(typing.get_args(Command))
    assert set(CAME_AT.values()) <= set(range(1, LEVEL + 1))


def test_the_commands_of_the_first_level_keep_their_fields() -> None:
    kinds = [kind for kind, level in CAME_AT.items() if level == 1]
    fields = {kind.__name__: " ".join(field.name for field in msgspec.structs.fields(kind)) for kind in kinds}
    assert fields == FIRST_LEVEL


def test_what_the_first_level_brings_about_keeps_its_bytes() -> None:
    """A member of another build compares its digest with this one: if this fails, members would stop in an upgrade.

    Give what is new a kind and a level of its own, and leave it out of the state's bytes until it is used.
    """
    assert full_machine().fsm.digest().hex() == "296b0d101b3e383509f583468ba58799"


@pytest.mark.parametrize(
    ("level", "members", "lacks"),
    [
        (1, [Known("s3", {})], None),
        (1, [OLD, NEW], None),
        (2, [NEW], None),
        (2, [NEW, OLD], "'s1' (volstore 0.1.0) is at 1: upgrade it"),
        (2, [NEW, Known("s3", {})], "hasn't seen 's3' since it started"),
        (2, [NEW, Known("s3", {"version": "0.0.9"})], "'s3' (volstore 0.0.9) is at 1: upgrade it"),
        (2, [Known("s3", {"level": "two"})], "'s3'"),
        (3, [NEW], "'s2' (volstore 0.2.0) is at 2: upgrade it"),
    ],
)
def test_a_level_is_used_once_every_member_is_known_to_have_it(
    level: int, members: list[Known], lacks: str | None
) -> None:
    why = lacking(level, members)
    assert (why is None) if lacks is None else (why is not None and lacks in why), why


def test_an_older_build_stops_at_a_command_of_a_higher_level(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        at(newer, DeleteNode, LEVEL + 1)
        command = commands.encode(Stamped(1, DeleteNode("n1")))
    machine = machine_with_plugin()
    with pytest.raises(UnknownCommand, match=f"needs feature level {LEVEL + 1}, .* upgrade this node"):
        machine.fsm.apply(command)
    assert machine.state.index == 2


def test_the_state_tells_the_highest_level_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        at(newer, DeleteNode, LEVEL + 1)
        machine = machine_with_plugin()
        assert machine.state.level == 1
        assert machine.do(DeleteNode("nobody")).status == 404  # refused, but the log holds it
        machine.done(PutNode(node("n2")))
        assert machine.state.level == LEVEL + 1
        assert machine.restored().state.level == LEVEL + 1
        assert machine.restored().fsm.digest() == machine.fsm.digest()
        chunks = list(machine.fsm.capture().chunks())
    with pytest.raises(ValueError, match=f"needs feature level {LEVEL + 1}"):
        State.restored(chunks)


def test_a_new_build_that_used_nothing_new_is_as_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    old = full_machine()
    with monkeypatch.context() as newer:
        at(newer, RestorePiece, LEVEL + 1)
        new = full_machine()
        chunks = list(new.fsm.capture().chunks())
    assert new.fsm.digest() == old.fsm.digest()
    assert b"".join(chunks) == b"".join(old.fsm.capture().chunks())
    Machine().fsm.restore(chunks)


def test_a_backup_needs_the_level_that_made_it() -> None:
    assert level_of(RestorePiece("r", 1, MAGIC + bytes([LEVEL + 1]))) == LEVEL + 1
    assert level_of(RestorePiece("r", 2, MAGIC + bytes([LEVEL + 1]))) == 1
    assert level_of(RestorePiece("r", 1, MAGIC)) == 1
