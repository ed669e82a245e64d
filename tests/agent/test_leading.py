"""What a node does while it leads: silent nodes go down, heard ones stay, what hangs is swept; and not otherwise."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.core.machine import allocation, node, volume
from tests.http.registry import InProcessRegistry
from tests.process.agents import until
from volstore.agent import leading
from volstore.agent.heartbeats import Heartbeats, HeartbeatSettings
from volstore.agent.leading import Leading, hear
from volstore.core.commands import (
    AdvanceTime,
    ClaimVolume,
    Command,
    DeleteAllocation,
    Idempotency,
    Outcome,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
    SweepNode,
)
from volstore.core.errors import ApiError, NoLeader


class Submitting(InProcessRegistry):
    """Keeps the commands that come, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Command] = []
        self.hold: asyncio.Event | None = None

    async def submit(
        self, command: Command, deadline: float, idempotency: Idempotency | None = None, caller: object = None
    ) -> Outcome:
        self.commands.append(command)
        if self.hold is not None:
            await self.hold.wait()
        if self.cut_off:
            raise NoLeader(may_happen=False)
        return self.apply(command)


@dataclass
class Leader:
    """A leader whose clocks the test moves, over nodes n1 and n2."""

    registry: Submitting
    leading: Leading
    heartbeats: Heartbeats
    failures: list[BaseException]
    now: float = 100.0
    wall: float = 1_700_000_000.0
    term: int | None = 1

    def pass_(self, seconds: float) -> None:
        """In steps that no pause makes."""
        self.now += seconds
        self.wall += seconds

    async def wait_out(self, seconds: float) -> None:
        """Let time pass as a running leader sees it: look after look."""
        for _ in range(math.ceil(seconds / 4)):
            self.pass_(4.0)
            looked = self.heartbeats._looked
            # Bound by a default, which mypy gives no type.
            await until(lambda looked=looked: self.heartbeats._looked != looked)  # type: ignore[misc]

    def status(self, id: str) -> str:
        found = self.registry.state.node(id)
        return "gone" if found is None else found.status

    async def hear(self, id: str) -> None:
        async def ask(question: bytes, deadline: float) -> bytes:
            answer = None
            while answer is None:
                answer = self.leading.answer(question)
                await asyncio.sleep(0)
            return answer

        await hear(id, ask, self.registry, 0.0)


@pytest.fixture
async def leader(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Leader]:
    monkeypatch.setattr(leading, "TICK", 0.001)
    registry = Submitting()
    made: Leader
    heartbeats = Heartbeats(HeartbeatSettings(), clock=lambda: made.now, wall=lambda: made.wall)
    failures: list[BaseException] = []
    duties = Leading(
        registry,
        heartbeats,
        term=lambda: made.term,
        node_gc_threshold=86_400,
        failed=failures.append,
        sweep_every=0.01,
    )
    made = Leader(registry, duties, heartbeats, failures)
    registry.leading = duties
    for id in ("n1", "n2"):
        registry.apply(PutNode(node(id)))
    duties.leadership_changed()
    await until(lambda: len(heartbeats) == 2)
    yield made
    await duties.stop()
    assert not failures


async def test_a_node_that_is_silent_goes_down_and_one_that_is_heard_does_not(leader: Leader) -> None:
    for _ in range(10):
        await leader.hear("n1")
        await leader.hear("n2")
        await leader.wait_out(5)
    for _ in range(7):
        await leader.hear("n1")
        await leader.wait_out(5)
    await until(lambda: leader.status("n2") == "down")
    assert leader.status("n1") == "ready"
    found = leader.registry.state.plugin("p")
    assert found is not None
    assert (found.nodes_healthy, found.nodes_expected) == (1, 2)
    assert len(leader.registry.commands) == 1


async def test_a_report_counts_as_a_heartbeat(leader: Leader) -> None:
    for _ in range(10):
        leader.registry.apply(PutNode(node("n1")))
        await leader.wait_out(5)
    assert leader.status("n1") == "ready"
    await leader.wait_out(35)
    await until(lambda: leader.status("n1") == "down")


async def test_a_node_that_is_down_is_ready_again_at_its_next_heartbeat(leader: Leader) -> None:
    leader.registry.apply(SetNodeStatus("n1", "down"))
    await leader.hear("n1")
    assert leader.status("n1") == "ready"
    assert leader.heartbeats.waits_for("n1")


async def test_a_heartbeat_that_comes_while_its_node_is_being_called_down_makes_it_ready_afterwards(
    leader: Leader,
) -> None:
    leader.registry.hold = asyncio.Event()
    await leader.hear("n1")
    await leader.wait_out(35)
    await until(lambda: leader.registry.commands)
    heard = asyncio.create_task(leader.hear("n1"))
    await asyncio.sleep(0.01)
    assert not heard.done()
    leader.registry.hold.set()
    await heard
    assert leader.status("n1") == "ready"
    down, ready = leader.registry.commands
    assert (down, ready) == (SetNodeStatus("n1", "down", 2), SetNodeStatus("n1", "ready"))


async def test_a_node_that_is_heard_before_its_turn_to_be_called_down_comes_stays(
    leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "_DOWN_AT_ONCE", 1)
    leader.term = 2
    leader.leading.leadership_changed()
    await until(lambda: leader.leading.answer(b"n1"))
    leader.registry.hold = asyncio.Event()
    await leader.hear("n2")
    await leader.wait_out(35)
    await until(lambda: leader.registry.commands)
    (first,) = leader.registry.commands
    assert isinstance(first, SetNodeStatus)
    second = "n2" if first.id == "n1" else "n1"
    await leader.hear(second)
    leader.registry.hold.set()
    await until(lambda: leader.status(first.id) == "down")
    await leader.wait_out(4)
    assert leader.status(second) == "ready"
    assert leader.registry.commands == [first]


async def test_a_report_that_comes_first_beats_the_command_that_calls_its_node_down(leader: Leader) -> None:
    leader.registry.hold = asyncio.Event()
    await leader.hear("n1")
    await leader.wait_out(35)
    await until(lambda: leader.registry.commands)
    leader.registry.apply(PutNode(node("n1")))
    leader.registry.hold.set()
    await until(lambda: not leader.leading._going_down)
    assert leader.status("n1") == "ready"
    assert leader.heartbeats.waits_for("n1")


async def test_a_node_that_could_not_be_called_down_is_tried_again(leader: Leader) -> None:
    await leader.hear("n1")
    leader.registry.cut_off = True
    await leader.wait_out(35)
    await until(lambda: leader.registry.commands and leader.heartbeats.waits_for("n1"))
    leader.registry.cut_off = False
    await leader.wait_out(6)
    await until(lambda: leader.status("n1") == "down")


async def test_a_leader_that_was_paused_gives_everybody_time(leader: Leader) -> None:
    await leader.hear("n1")
    began = leader.heartbeats._looked
    leader.pass_(60)
    await until(lambda: leader.heartbeats._looked != began)
    await leader.wait_out(200)
    assert leader.status("n1") == "ready"
    assert not leader.registry.commands


async def test_an_id_that_is_no_text_is_unknown(leader: Leader) -> None:
    """Any member can send one, and the leader must go on."""
    await leader.hear("n1")
    answer = leader.leading.answer(b"\xff\xfe")
    assert answer == leader.leading.answer(b"n9")


async def test_who_does_not_lead_calls_nobody_down_and_answers_nobody(leader: Leader) -> None:
    await leader.hear("n1")
    leader.term = None
    leader.leading.leadership_changed()
    leader.pass_(1000)
    await asyncio.sleep(0.02)
    assert leader.leading.answer(b"n1") is None
    leader.registry.apply(PutNode(node("n1")))
    assert not leader.registry.commands
    leader.term = 2
    leader.leading.leadership_changed()
    await until(lambda: leader.leading.answer(b"n1"))


async def test_a_heartbeat_of_an_unknown_node_says_so(leader: Leader) -> None:
    with pytest.raises(ApiError, match="node not found"):
        await leader.hear("nobody")


def two_days(registry: Submitting) -> None:
    """Of measured time, from its beginning on."""
    for _ in range(2 * 1440 + 1):
        registry.apply(AdvanceTime(registry.state.log_time, 60 * 10**9))


async def test_what_hangs_is_swept_by_the_leader(leader: Leader) -> None:
    registry = leader.registry
    registry.apply(RegisterVolumes("default", (volume("v", access_mode="multi-node-reader-only"),)))
    registry.apply(PutAllocations((allocation("a1", node_id="unknown"),)))
    registry.apply(ClaimVolume("default", "v", "a1", 0))
    registry.apply(DeleteAllocation("a1"))
    registry.apply(SetNodeStatus("n2", "down"))

    def in_use() -> bool:
        found = registry.state.volume("default", "v")
        return found is not None and found.in_use

    await until(lambda: not in_use())
    two_days(registry)
    await until(lambda: leader.status("n2") == "gone")
    assert isinstance(registry.commands[-1], SweepNode)
    assert leader.status("n1") == "ready"


async def test_a_sweep_without_a_leader_is_taken_up_later(leader: Leader) -> None:
    leader.registry.cut_off = True
    leader.registry.apply(SetNodeStatus("n2", "down"))
    two_days(leader.registry)
    await until(lambda: leader.registry.commands)
    leader.registry.cut_off = False
    await until(lambda: leader.status("n2") == "gone")


async def test_a_defect_ends_the_node(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader.heartbeats, "silent", lambda: 1 / 0)
    await until(lambda: leader.failures)
    assert "ZeroDivisionError" in repr(leader.failures.pop())
