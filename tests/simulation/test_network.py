"""The simulated TCP does what TCP does: late, slowly, in order, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from random import Random

import pytest

from cluster.ports import Stream
from tests.simulation.loop import NodeLoop, Scheduler
from tests.simulation.network import Host, Wire


def _failed(error: BaseException) -> None:
    raise error


class Pair:
    """Two hosts; `b` keeps what it is sent."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.loops: list[NodeLoop] = []
        self.wire = Wire(self.loop(), Random(1))
        self.a, self.b = (Host(self.wire, name, self.loop()) for name in "ab")
        self.got: list[bytes] = []
        self.ends: list[str] = []
        self.accepted: list[Stream] = []
        self.b.loop.create_task(self.b.listen("b:1", self._serve))
        self.scheduler.run(0.1)

    def loop(self) -> NodeLoop:
        self.loops.append(NodeLoop(self.scheduler, failed=_failed))
        return self.loops[-1]

    async def _serve(self, stream: Stream) -> None:
        self.accepted.append(stream)
        try:
            while data := await stream.read(1 << 20):
                self.got.append(data)
            self.ends.append("end")
        except ConnectionError:
            self.ends.append("reset")

    def do(self, work: Callable[[], Awaitable[None]], until: float) -> None:
        """As a process on `a`."""

        async def doing() -> None:
            await work()

        self.a.loop.create_task(doing())
        self.scheduler.run(until)

    def connect(self) -> Stream:
        streams: list[Stream] = []

        async def work() -> None:
            streams.append(await self.a.connect("b:1"))

        self.do(work, self.scheduler.now + 1)
        return streams[0]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    for loop in pair.loops:
        loop.kill()


def test_bytes_arrive_in_order(pair: Pair) -> None:
    stream = pair.connect()
    for number in range(200):
        stream.write(bytes([number]))
    pair.scheduler.run(5)
    assert b"".join(pair.got) == bytes(range(200))


def test_what_is_written_to_a_cut_link_arrives_when_it_is_whole_again(pair: Pair) -> None:
    stream = pair.connect()
    pair.wire.block("a", "b")
    stream.write(b"late")
    pair.scheduler.run(60)
    assert pair.got == []
    pair.wire.unblock("a", "b")
    pair.scheduler.run(61)
    assert pair.got == [b"late"]


def test_a_link_cut_in_one_direction_carries_the_other(pair: Pair) -> None:
    stream = pair.connect()
    pair.wire.block("a", "b")
    pair.accepted[0].write(b"back")
    heard: list[bytes] = []

    async def work() -> None:
        heard.append(await stream.read(100))

    pair.do(work, 3)
    assert heard == [b"back"]


def test_lost_packets_are_late_and_not_lost(pair: Pair) -> None:
    stream = pair.connect()
    pair.wire.link("a", "b").loss = 0.5
    for number in range(50):
        stream.write(bytes([number]))
    pair.scheduler.run(100)
    assert b"".join(pair.got) == bytes(range(50))


def test_a_reset_reaches_both_sides_and_may_cut_a_frame(pair: Pair) -> None:
    stream = pair.connect()
    stream.write(b"x" * 1000)
    pair.wire.break_connections("a", "b")
    pair.scheduler.run(5)
    assert len(b"".join(pair.got)) < 1000
    assert pair.ends == ["reset"]

    async def work() -> None:
        with pytest.raises(ConnectionResetError):
            await stream.read(10)
        with pytest.raises(ConnectionResetError):
            await stream.drain()
        pair.ends.append("known")

    pair.do(work, 6)
    assert pair.ends == ["reset", "known"]


def test_a_process_that_dies_has_its_connections_ended_by_its_kernel(pair: Pair) -> None:
    pair.connect()
    pair.a.die(silently=False)
    pair.scheduler.run(5)
    assert len(pair.ends) == 1


def test_a_machine_without_power_leaves_the_other_side_half_open(pair: Pair) -> None:
    pair.connect()
    pair.a.die(silently=True)
    pair.scheduler.run(600)
    assert pair.ends == []
    Host(pair.wire, "a", pair.loop())
    pair.accepted[0].write(b"are you there?")
    pair.scheduler.run(601)
    assert pair.ends == ["reset"]


def test_nobody_listens_and_nobody_is_there_are_different(pair: Pair) -> None:
    pair.b.serves = None
    seen: list[str] = []

    async def work() -> None:
        for _ in range(2):
            try:
                async with asyncio.timeout(5):
                    await pair.a.connect("b:1")
            except ConnectionRefusedError:
                seen.append("refused")
                pair.b.die(silently=True)
            except TimeoutError:
                seen.append("silence")

    pair.do(work, 30)
    assert seen == ["refused", "silence"]


def test_a_slow_link_holds_the_sender_back(pair: Pair) -> None:
    stream = pair.connect()
    pair.wire.link("a", "b").bandwidth = 1000.0
    left: list[float] = []

    async def work() -> None:
        stream.write(b"x" * (64 << 10))
        await stream.drain()
        left.append(pair.scheduler.now)
        stream.write(b"y" * 2000)
        await stream.drain()
        left.append(pair.scheduler.now)

    began = pair.scheduler.now
    pair.do(work, 200)
    assert left[0] == began
    assert left[1] > began + 60


def test_what_was_sent_before_a_clean_close_arrives(pair: Pair) -> None:
    stream = pair.connect()
    stream.write(b"goodbye")
    stream.close()
    pair.scheduler.run(5)
    assert pair.got == [b"goodbye"]
    assert len(pair.ends) == 1
