"""Commands as bytes: what a node doesn't know stops it, and no representation shows a secret."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.machine import Machine, machine_with_plugin, node, volume
from volstore.core.commands import PutNode, RegisterVolumes, Stamped, UnknownCommand, encode
from volstore.core.events import VolumeChanged
from volstore.core.levels import LEVEL
from volstore.core.model import MountOptions

SECRETIVE = volume(secrets={"password": "xyzzy"}, mount_options=MountOptions("ext4", ("password=xyzzy",)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes([LEVEL + 1]) + encode(Stamped(1, PutNode(node())))[1:],
        bytes([LEVEL]),
        bytes([LEVEL]) + b"\xff",
        bytes([LEVEL]) + msgspec.msgpack.encode([1, ["a-kind-of-tomorrow"], None]),
        bytes([LEVEL]) + msgspec.msgpack.encode([1, ["delete-node", "n1", "a field of tomorrow"], None]),
        bytes([LEVEL]) + msgspec.msgpack.encode([1, ["delete-node", "n1"], None, "a field of tomorrow"]),
        encode(Stamped(1, PutNode(node()))) + b"\x00",
        encode(Stamped(1, PutNode(node("n\xe9")))).replace(b"\xc3\xa9", b"\xff\xa9"),
    ],
)
def test_a_command_that_is_not_known_stops_the_node_and_changes_nothing(data: bytes) -> None:
    machine = machine_with_plugin()
    digest = machine.fsm.digest()
    with pytest.raises(UnknownCommand, match="this version of volstore"):
        machine.fsm.apply(data)
    assert machine.fsm.digest() == digest
    assert machine.state.index == 2


@pytest.mark.parametrize(
    "value",
    [
        SECRETIVE,
        SECRETIVE.mount_options,
        RegisterVolumes("default", (SECRETIVE,)),
        Stamped(1, RegisterVolumes("default", (SECRETIVE,))),
        VolumeChanged(SECRETIVE, SECRETIVE),
        PutNode(node(secret_hash=b"xyzzy")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_representation_shows_a_secret(value: object) -> None:
    assert "xyzzy" not in repr(value)
    assert "xyzzy" not in str(value)


def test_no_refusal_shows_a_secret() -> None:
    machine = Machine()
    for said in (SECRETIVE, msgspec.structs.replace(SECRETIVE, id="")):
        outcome = machine.register(said)
        assert outcome.status == 400
        assert "xyzzy" not in outcome.text
