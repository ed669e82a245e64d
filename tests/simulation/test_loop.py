"""Virtual time and the processes that live in it: what the simulator's other parts rely on."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.loop import NodeLoop, Scheduler


def fail(error: BaseException) -> None:
    raise error


def test_time_jumps_to_what_is_due_next() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)
    seen: list[float] = []

    async def sleeper() -> None:
        await asyncio.sleep(3600)
        seen.append(loop.time())

    loop.create_task(sleeper())
    scheduler.run(10_000)
    assert seen == [3600]
    assert scheduler.now == 10_000


def test_each_process_has_a_clock_of_its_own() -> None:
    scheduler = Scheduler()
    fast = NodeLoop(scheduler, offset=500.0, rate=1.25, failed=fail)
    woke: list[tuple[float, float]] = []

    async def sleeper() -> None:
        await asyncio.sleep(10)
        woke.append((fast.time(), scheduler.now))

    fast.create_task(sleeper())
    scheduler.run(100)
    assert woke == [(510.0, 8.0)]


def test_asyncio_s_own_tools_work_on_it() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)
    seen: list[object] = []

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().create_future()
        lock, queue = asyncio.Lock(), asyncio.Queue[int]()
        async with lock:
            queue.put_nowait(7)
        seen.append(await asyncio.gather(queue.get(), asyncio.sleep(1, "slept")))
        seen.append(loop.time())

    loop.create_task(work())
    scheduler.run(10)
    assert seen == [[7, "slept"], 3.0]


def test_a_paused_process_does_what_was_withheld_once_it_is_resumed() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(loop.time())
        loop.call_later(1, tick)

    loop.call_later(1, tick)
    scheduler.run(1.5)
    loop.pause(freeze=False)
    scheduler.run(5.5)
    loop.resume()
    scheduler.run(7)
    assert ticks == [1, 5.5, 6.5]


def test_a_frozen_clock_stands_still_and_so_do_its_timers() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)
    rang: list[tuple[float, float]] = []
    loop.call_later(3, lambda: rang.append((loop.time(), scheduler.now)))
    scheduler.run(1)
    loop.pause(freeze=True)
    scheduler.run(11)
    assert loop.time() == 1
    loop.resume()
    scheduler.run(20)
    assert rang == [(3.0, 13.0)]


def test_nothing_of_a_dead_process_runs_any_more() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(5)
            seen.append("woke")
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    loop.create_task(work())
    scheduler.run(1)
    loop.kill()
    scheduler.run(10)
    assert seen == []


def test_what_asyncio_would_only_log_is_told() -> None:
    scheduler = Scheduler()
    told: list[BaseException] = []
    loop = NodeLoop(scheduler, failed=told.append)
    loop.call_soon(lambda: 1 / 0)
    scheduler.run(1)
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_a_loop_without_end_is_noticed() -> None:
    scheduler = Scheduler()
    loop = NodeLoop(scheduler, failed=fail)

    def again() -> None:
        loop.call_soon(again)

    def stop() -> None:
        scheduler.stopped = True

    scheduler.busy = stop
    loop.call_soon(again)
    scheduler.run(1)
    assert scheduler.now == 0
