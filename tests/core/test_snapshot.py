"""Snapshots: the same bytes again, in bounded pieces, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.core.machine import SECOND, Machine, claim, machine_with_plugin, volume
from volstore.core.commands import DeleteNode, DeregisterVolume, Idempotency, RegisterVolumes
from volstore.core.fsm import Fsm
from volstore.core.levels import LEVEL
from volstore.core.model import Allocation
from volstore.core.snapshot import MAGIC, PIECE_BYTES, Header, Trailer
from volstore.core.state import State


def full_machine() -> Machine:
    """A machine with a row in every table."""
    machine = machine_with_plugin()
    machine.report("n2")
    machine.do(
        RegisterVolumes("default", (volume("a"), volume("b", secrets={"k": "v"}))), key=Idempotency("", "k", b"h")
    )
    machine.claim("a", claim("alloc1", "n1"), claim("alloc2", "n2", 1))
    machine.state.put_allocation(Allocation(id="alloc1", stub={"ID": "alloc1", "TaskStates": {"t": {"Failed": False}}}))
    machine.done(DeregisterVolume("default", "b"))
    machine.done(DeleteNode("n2"))
    return machine


def snapshot(machine: Machine) -> bytes:
    return b"".join(machine.fsm.capture().chunks())


def test_a_restored_state_is_the_same_in_content_digest_and_bytes() -> None:
    machine = full_machine()
    other = machine.restored()
    assert other.fsm.digest() == machine.fsm.digest()
    assert snapshot(other) == snapshot(machine)
    assert other.state.index == machine.state.index
    assert other.state.log_time == machine.state.log_time
    assert other.volume("a") == machine.volume("a")
    assert other.state.allocation("alloc1") == machine.state.allocation("alloc1")
    assert other.state.node_instances("p") == machine.state.node_instances("p")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_snapshot_may_arrive_in_pieces_of_any_size(size: int) -> None:
    machine = full_machine()
    data = snapshot(machine)
    fsm = Fsm()
    fsm.restore(data[start : start + size] for start in range(0, len(data), size))
    assert fsm.digest() == machine.fsm.digest()


def test_pieces_are_bounded_also_when_a_row_is_large() -> None:
    machine = machine_with_plugin()
    machine.register(volume("large", context={"blob": "x" * (3 * PIECE_BYTES)}))
    for number in range(5):
        machine.register(*(volume(f"v{number}-{at}", name="n" * 200) for at in range(500)))
    pieces = list(machine.fsm.capture().chunks())
    assert max(map(len, pieces)) == PIECE_BYTES
    assert len(pieces) > 6
    fsm = Fsm()
    fsm.restore(pieces)
    assert fsm.digest() == machine.fsm.digest()


def test_a_capture_does_not_see_what_comes_after_it() -> None:
    machine = full_machine()
    before = snapshot(machine)
    captured = machine.fsm.capture()
    machine.register(volume("later"))
    machine.claim("a")
    machine.done(DeregisterVolume("default", "a"))
    assert b"".join(captured.chunks()) == before


def test_a_truncated_snapshot_is_refused_wherever_it_ends_and_nothing_changes() -> None:
    data = snapshot(full_machine())
    machine = machine_with_plugin()
    state, digest = machine.state, machine.fsm.digest()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="snapshot"):
            machine.fsm.restore([data[:end]])
    assert machine.state is state
    assert machine.fsm.digest() == digest


def test_a_damaged_byte_is_found_wherever_it_is() -> None:
    data = snapshot(full_machine())
    fsm = Fsm()
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ValueError, match=r"snapshot|row|departures|outcomes"):
            fsm.restore([damaged])


def test_a_snapshot_of_a_higher_level_is_refused_naming_it() -> None:
    with pytest.raises(ValueError, match=f"needs feature level {LEVEL + 1}, .* at {LEVEL}: upgrade this node"):
        Fsm().restore([MAGIC + bytes([LEVEL + 1])])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "truncated"),
        (b"something else entirely", "doesn't start as a snapshot"),
        (MAGIC, "truncated: 1 bytes"),
        (MAGIC + bytes([LEVEL]) + b"\x00\x00\x00\x01\xc0", "its header"),
        (MAGIC + bytes([LEVEL]) + b"\xff\xff\xff\xff", "truncated"),
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fsm().restore([data])


def frame(value: object) -> bytes:
    encoded = msgspec.msgpack.encode(value)
    return len(encoded).to_bytes(4, "big") + encoded


TABLES = tuple(table.name for table in State()._tables())


def crafted(counts: dict[str, int], rows: list[object], trailer: Trailer) -> bytes:
    header = Header(1, 1, 0, tuple((name, counts.get(name, 0)) for name in TABLES))
    return MAGIC + bytes([LEVEL]) + b"".join(map(frame, (header, *rows, trailer)))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (crafted({}, [], Trailer(1, b"")), "it has 0 rows, its trailer counts 1"),
        (crafted({}, [], Trailer(0, b"")), "its content isn't what its digest says"),
        (crafted({}, [], Trailer(0, b"")) + b"x", "something follows its trailer"),
        (crafted({"namespaces": 2}, [["a"], ["a"]], Trailer(2, b"")), "a row of namespaces is there twice"),
        (crafted({"volumes": 1}, [["a", 1]], Trailer(1, b"")), "a row of volumes is malformed"),
        (crafted({"namespaces": 1}, [["a", "", 0, 0, "new"]], Trailer(1, b"")), "a row of namespaces is malformed"),
        (
            crafted({"departures": 2}, [[1, 1, "volume", "", "a"], [3, 1, "volume", "", "a"]], Trailer(2, b"")),
            "departures are not in order",
        ),
        (
            crafted({"outcomes": 2}, [["", "a", b"", 2, 1, 200, ""], ["", "b", b"", 1, 1, 200, ""]], Trailer(2, b"")),
            "outcomes are not in the order of their time",
        ),
        (
            MAGIC + bytes([LEVEL]) + frame(Header(1, 1, 0, (("policies", 0),))),
            "holds the tables policies; this version of volstore knows namespaces, ",
        ),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fsm().restore([data])


def test_a_piece_after_the_trailer_is_refused() -> None:
    with pytest.raises(ValueError, match="something follows its trailer"):
        Fsm().restore([snapshot(full_machine()), b"", b"x"])


def test_digests_differ_when_states_do() -> None:
    machine = machine_with_plugin()
    seen = {machine.fsm.digest()}
    steps: list[Callable[[], object]] = [
        lambda: machine.register(volume("a")),
        lambda: machine.register(volume("a")),  # the same again: only indexes move
        lambda: machine.register(volume("")),  # a refusal: only the index and the time move
        lambda: machine.do(DeregisterVolume("default", "a"), time=0),
        lambda: machine.do(DeregisterVolume("default", "a"), time=machine.clock + SECOND),
        lambda: machine.do(DeregisterVolume("default", "a"), key=Idempotency("", "k", b"")),
    ]
    for number, step in enumerate(steps):
        step()
        seen.add(machine.fsm.digest())
        assert len(seen) == number + 2
