"""A state machine with short words for what tests do to it."""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.commands import (
    AdvanceTime,
    Command,
    Idempotency,
    Outcome,
    PutNode,
    RegisterVolumes,
    Stamped,
    decode_outcome,
    encode,
)
from volstore.core.fsm import Fsm
from volstore.core.logtime import MAX_STEP
from volstore.core.model import Allocation, Claim, ControllerInfo, Fingerprint, Node, Plugin, Volume
from volstore.core.state import State

SECOND = 10**9


class Machine:
    """Applies commands as the log does: as bytes, each stamped a second after the one before."""

    def __init__(self) -> None:
        self.fsm = Fsm()
        self.clock = 1_700_000_000 * SECOND

    @property
    def state(self) -> State:
        return self.fsm.state

    def do(self, command: Command, *, key: Idempotency | None = None, time: int | None = None) -> Outcome:
        self.clock += SECOND
        return decode_outcome(self.fsm.apply(encode(Stamped(self.clock if time is None else time, command, key))))

    def done(self, command: Command) -> Outcome:
        """As `do`, for a command that must not be refused."""
        outcome = self.do(command)
        assert outcome.status == 200, outcome
        return outcome

    def measured(self) -> Machine:
        """This one, with log time that moves by measures alone."""
        self.done(AdvanceTime(0, 0, self.clock))
        return self

    def pass_(self, seconds: float) -> None:
        """Have leaders measure so much time, in as many moves as that takes."""
        left = round(seconds * SECOND)
        while left > 0:
            self.done(AdvanceTime(self.state.log_time, min(left, MAX_STEP)))
            left -= MAX_STEP

    def register(self, *volumes: Volume, namespace: str = "default") -> Outcome:
        return self.do(RegisterVolumes(namespace, volumes))

    def report(self, id: str, **changes: object) -> Outcome:
        return self.do(PutNode(node(id, **changes)))

    def claim(self, id: str, *claims: Claim, namespace: str = "default") -> None:
        """Make these the volume's only claims, past the rules: also such as no command leads to."""
        self.state.advance(self.clock)
        volume = self.volume(id, namespace)
        by_mode: tuple[dict[str, Claim], ...] = ({}, {}, {})
        for claim in claims:
            by_mode[claim.mode][claim.allocation_id] = claim
        read, write, past = by_mode
        index = self.state.index
        self.state.put_volume(
            replace(
                volume, read_claims=read, write_claims=write, past_claims=past, modify_index=index, touch_index=index
            )
        )

    def volume(self, id: str, namespace: str = "default") -> Volume:
        found = self.state.volume(namespace, id)
        assert found is not None
        return found

    def plugin(self, id: str) -> Plugin:
        found = self.state.plugin(id)
        assert found is not None
        return found

    def node(self, id: str) -> Node:
        found = self.state.node(id)
        assert found is not None
        return found

    def restored(self) -> Machine:
        """Another machine, restored from a snapshot of this one."""
        other = Machine()
        other.clock = self.clock
        other.fsm.restore(self.fsm.capture().chunks())
        return other


def volume(id: str = "v", **changes: object) -> Volume:
    """A volume that can be registered once plugin "p" is there."""
    plain = Volume(
        id=id,
        name=id,
        external_id=f"ext-{id}",
        plugin_id="p",
        access_mode="multi-node-single-writer",
        attachment_mode="file-system",
    )
    return replace(plain, **changes)


def fingerprint(**changes: object) -> Fingerprint:
    return replace(Fingerprint(healthy=True, provider="ebs", provider_version="1.0"), **changes)


def controller(**changes: object) -> Fingerprint:
    """A controller that is required."""
    plain = fingerprint(requires_controller_plugin=True, controller_info=ControllerInfo(supports_attach_detach=True))
    return replace(plain, **changes)


def node(id: str = "n1", **changes: object) -> Node:
    """A ready node that runs plugin "p", healthy."""
    return replace(Node(id=id, node_plugins={"p": fingerprint()}), **changes)


def allocation(id: str = "a1", /, **changes: object) -> Allocation:
    """An allocation of job "web" that runs on node n1."""
    plain = Allocation(id=id, node_id="n1", job_id="web", client_status="running", desired_status="run")
    return replace(plain, **changes)


def claim(allocation_id: str, node_id: str = "n1", mode: int = 0) -> Claim:
    return Claim(allocation_id=allocation_id, node_id=node_id, mode=mode, job_id="web")


def machine_with_plugin() -> Machine:
    machine = Machine()
    machine.done(PutNode(node()))
    return machine
