"""The state machines that the simulated nodes replicate: plain registers, and the real registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from random import Random
from typing import Protocol

import msgpack
from msgspec.structs import replace

from cluster.api import Captured, StateMachine
from tests.core.machine import allocation, controller, fingerprint, node, volume
from volstore.agent.state_machine import WatchedFsm
from volstore.agent.timekeeping import LogClock
from volstore.core import commands
from volstore.core.attach.commands import (
    DrainNode,
    FenceNode,
    PutManagedNode,
    ReportAttachments,
    ReportOutcome,
    TargetState,
    VolumeState,
)
from volstore.core.attach.rows import DETACH
from volstore.core.commands import (
    ClaimVolume,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    Idempotency,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    SetNodeStatus,
    Stamped,
    TakeClaim,
)
from volstore.http.server.watch import Watch

EPOCH = 1_700_000_000 * 10**9
_SHARED = {
    "shared-1": "single-node-writer",
    "shared-2": "multi-node-single-writer",
    "shared-3": "multi-node-multi-writer",
}
_STATUSES = ("running", "running", "complete", "lost")


class Flavour(Protocol):
    """How operations of the checker's register become commands of one kind of state machine, and back."""

    retries: bool
    """Whether a client may repeat a command whose outcome it doesn't know (under the same Idempotency-Key)."""

    def machine(self, clock: LogClock) -> StateMachine:
        """`clock` is what its process measures log time by."""
        ...

    def prepared(self, machine: StateMachine) -> bool:
        """Whether clients may begin: log time is measured, where there is any."""
        ...

    def first(self, time: float) -> bytes | None:
        """A command that must be applied before all others, another one at every `time`."""
        ...

    def command(self, key: str, input: tuple[object, ...], tag: str, time: float) -> bytes: ...

    def background(self, number: int, time: float) -> bytes:
        """A command beside the registers, for the load that it is."""
        ...

    def output(self, input: tuple[object, ...], result: bytes) -> object: ...

    def index(self, result: bytes) -> int:
        """The state machine's own index at which a command was applied; 0 where it has none."""
        ...

    def flaw(self, machine: StateMachine) -> str | None:
        """What the state shows that no sequence of commands may bring about."""
        ...

    def read(self, machine: StateMachine, key: str) -> object: ...


class Registers:
    """A state machine of named registers."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._applied = 0
        self._sum = 0

    def apply(self, command: bytes) -> bytes:
        _tag, key, (kind, *arguments) = msgpack.unpackb(command)
        self._applied += 1
        before = self.values.get(key)
        if kind == "write":
            self._put(key, arguments[0])
            return b"\1"
        if kind == "delete":
            self._put(key, None)
            return bytes([before is not None])
        happens = before == arguments[0]
        if happens:
            self._put(key, arguments[1])
        return bytes([happens])

    def _put(self, key: str, value: object) -> None:
        if key in self.values:
            self._sum ^= _row(key, self.values.pop(key))
        if value is not None:
            self.values[key] = value
            self._sum ^= _row(key, value)

    def capture(self) -> Captured:
        return _Copied(self._applied, dict(self.values))

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        fresh = Registers()
        pieces = iter(chunks)
        fresh._applied = msgpack.unpackb(next(pieces))
        for piece in pieces:
            fresh._put(*msgpack.unpackb(piece))
        return lambda: self.__dict__.update(fresh.__dict__)

    def digest(self) -> bytes:
        return blake2b(msgpack.packb([self._applied, self._sum.to_bytes(16, "big")]), digest_size=16).digest()


def _row(key: str, value: object) -> int:
    return int.from_bytes(blake2b(msgpack.packb([key, value]), digest_size=16).digest(), "big")


class _Copied:
    def __init__(self, applied: int, values: dict[str, object]) -> None:
        self._applied = applied
        self._values = values

    def chunks(self) -> Iterator[bytes]:
        yield msgpack.packb(self._applied)
        for key in sorted(self._values):
            yield msgpack.packb([key, self._values[key]])


class RegisterFlavour:
    retries = False

    def machine(self, clock: LogClock) -> StateMachine:
        return Registers()

    def prepared(self, machine: StateMachine) -> bool:
        return True

    def first(self, time: float) -> bytes | None:
        return None

    def command(self, key: str, input: tuple[object, ...], tag: str, time: float) -> bytes:
        packed: bytes = msgpack.packb([tag, key, list(input)])
        return packed

    def background(self, number: int, time: float) -> bytes:
        return self.command(f"background-{number % 50}", ("write", "x" * (number % 400)), f"b{number}", time)

    def output(self, input: tuple[object, ...], result: bytes) -> object:
        return result == b"\1"

    def index(self, result: bytes) -> int:
        return 0

    def flaw(self, machine: StateMachine) -> str | None:
        return None

    def read(self, machine: StateMachine, key: str) -> object:
        assert isinstance(machine, Registers)
        return machine.values.get(key)


def _of_a_fleet(draw: Random, number: int) -> tuple[commands.Command, ...]:
    """Hosts whose agents manage their volumes, with plugin q: what they and their users say, true or not."""
    host, id = f"host-{draw.randrange(3)}", f"mount-{draw.randrange(4)}"
    there = (VolumeState("q", "ext-managed", draw.random() < 0.5, (TargetState(id, "published"),)),)
    return (
        PutManagedNode(
            node(host, node_plugins={"q": fingerprint()}, controller_plugins={"q": controller()} if number % 2 else {})
        ),
        RegisterVolumes("default", (volume("managed", plugin_id="q", access_mode="single-node-writer"),)),
        PutAllocations((allocation(id, node_id=host, client_status=draw.choice(_STATUSES)),)),
        TakeClaim("default", "managed", id, draw.choice((0, 1)), "", "/srv/x"),
        TakeClaim("default", "managed", id, 1),
        ReleaseClaim("default", "managed", id, 3),
        ReportAttachments(host, "boot", draw.randrange(2 * number + 1), there if draw.random() < 0.3 else ()),
        ReportOutcome(f"op-{draw.randrange(2 * number + 1)}-0", 1, draw.choice(("OK", "INTERNAL"))),
        FenceNode(host, draw.random() < 0.3, "simulated", True),
        DrainNode(host, draw.random() < 0.2),
    )


class RegistryFlavour:
    """The real FSM: a register is a volume, its value the volume's name."""

    retries = True

    def machine(self, clock: LogClock) -> StateMachine:
        return WatchedFsm(Watch(), clock)

    def prepared(self, machine: StateMachine) -> bool:
        assert isinstance(machine, WatchedFsm)
        return machine.fsm.state.timers.measured

    def first(self, time: float) -> bytes | None:
        return commands.encode(Stamped(EPOCH + int(time * 1e9), PutNode(node("steady"))))

    def command(self, key: str, input: tuple[object, ...], tag: str, time: float) -> bytes:
        command: commands.Command
        if input[0] == "write":
            command = RegisterVolumes("default", (volume(key, name=str(input[1])),))
        elif input[0] == "delete":
            command = DeregisterVolume("default", key)
        else:
            raise ValueError(f"the registry has no {input[0]!r}")
        return commands.encode(Stamped(EPOCH + int(time * 1e9), command, Idempotency("client", tag, tag.encode())))

    def background(self, number: int, time: float) -> bytes:
        """Nodes and allocations that come and go, and claim volumes that few may have at a time."""
        draw = Random(number)
        name, job = f"node-{draw.randrange(6)}", f"job-{draw.randrange(3)}"
        shared = draw.choice(sorted(_SHARED))
        kinds: tuple[commands.Command, ...] = (
            PutNode(node(name, node_plugins={"p": replace(fingerprint(), healthy=draw.random() < 0.7)})),
            PutAllocations(
                tuple(
                    replace(allocation(f"{job}-{k}"), job_id=job, node_id=name, client_status=draw.choice(_STATUSES))
                    for k in range(2)
                )
            ),
            RegisterVolumes("default", (volume(shared, access_mode=_SHARED[shared]),)),
            ClaimVolume("default", shared, f"{job}-{draw.randrange(2)}", draw.choice((0, 1, 1, 2)), 0, ""),
            TakeClaim("default", shared, f"{job}-{draw.randrange(2)}", draw.choice((0, 1, 1))),
            ReleaseClaim("default", shared, f"{job}-{draw.randrange(2)}", draw.choice((1, 3))),
            DetachVolume("default", shared, name),
            SetNodeStatus(name, draw.choice(("ready", "down"))),
            DeleteNode(name),
            *_of_a_fleet(draw, number),
        )
        return commands.encode(Stamped(EPOCH + int(time * 1e9), draw.choice(kinds)))

    def flaw(self, machine: StateMachine) -> str | None:
        assert isinstance(machine, WatchedFsm)
        for id in _SHARED:
            found = machine.fsm.state.volume("default", id)
            if found is None:
                continue
            jobs = sorted({claim.job_id for claim in found.write_claims.values()})
            if len(jobs) > 1:
                return f"volume {id} is written by {jobs}"
            nodes = sorted({c.node_id for c in (*found.read_claims.values(), *found.write_claims.values())})
            if _SHARED[id].startswith("single-node") and len(nodes) > 1:
                return f"volume {id} of a single node is claimed from {nodes}"
        attachments = machine.fsm.state.attachments
        if len(there := attachments.of_volume("q", "ext-managed")) > 1:
            return f"volume managed of a single node is had by {there}"
        for call in attachments.calls:
            row = attachments.get(call.attachment_key)
            if row is None or row.operation_id != call.id or (call.kind == DETACH and row.claims):
                return f"operation {call} is not what {row} needs"
        return None

    def output(self, input: tuple[object, ...], result: bytes) -> object:
        outcome = commands.decode_outcome(result)
        if outcome.status not in (200, 404):
            raise ValueError(f"{input} was refused: {outcome}")
        return outcome.status == 200

    def index(self, result: bytes) -> int:
        return commands.decode_outcome(result).index

    def read(self, machine: StateMachine, key: str) -> object:
        assert isinstance(machine, WatchedFsm)
        found = machine.fsm.state.volume("default", key)
        return None if found is None else found.name
