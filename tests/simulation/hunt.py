"""Runs many seeds, in one process or several, and says what became of them."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import count, islice, takewhile
from random import SystemRandom

from tests.simulation.run import Result, draw_plan, run
from tests.simulation.shrink import shrink


def _one(seed: int) -> tuple[int, Result, float]:
    began = time.process_time()
    result = run(draw_plan(seed))
    return seed, result, time.process_time() - began


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _report(seed: int, result: Result) -> None:
    assert result.violation is not None
    invariant, text = result.violation
    _say(f"seed {seed}: VIOLATED {invariant}: {text}")
    small = shrink(result.plan, invariant)
    _say(f"  {len(result.plan.faults)} faults, of which these {len(small.faults)} are enough:")
    for fault in small.faults:
        _say(f"  {fault}")
    _say(f"  replay with: python -m tests.simulation --seed {seed}")


def replay(seed: int) -> int:
    """Write the trace of one seed; 1 when it fails."""
    result = run(draw_plan(seed), trace=True)
    for line in result.trace:
        _say(line)
    if result.violation is None:
        _say(f"seed {seed}: all promises held for {result.seconds:.1f} s")
        return 0
    _report(seed, result)
    return 1


def _run_all(seeds: Iterable[int], jobs: int) -> Iterator[tuple[int, Result, float]]:
    if jobs == 1:
        yield from map(_one, seeds)
        return
    # Processes that are started afresh: each run must depend on its seed alone.
    waiting = iter(seeds)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        # In portions: the pool would otherwise draw all seeds at once, and there may be no end to them.
        while portion := list(islice(waiting, 16 * jobs)):
            yield from pool.imap_unordered(_one, portion)


def hunt(seeds: Iterable[int], jobs: int) -> int:
    """Run them all, report what fails and how fast it went; 1 when any failed."""
    began = time.perf_counter()
    runs = failed = answered = 0
    simulated = worked = 0.0
    for seed, result, seconds in _run_all(seeds, jobs):
        runs += 1
        simulated += result.seconds
        answered += result.answered
        worked += seconds
        if result.violation is not None:
            failed += 1
            _report(seed, result)
    elapsed = time.perf_counter() - began
    _say(
        f"{runs} runs, {failed} failed; {simulated / 3600:.2f} simulated hours, {answered} answered requests in "
        f"{elapsed:.0f} s: {simulated / max(worked, 1e-9):.0f} virtual seconds per second of one core, "
        f"{simulated / 60 / max(elapsed, 1e-9):.1f} simulated hours per minute"
    )
    return 1 if failed else 0


def until(deadline: float) -> Iterator[int]:
    """Seeds from a random one on, for as long as `time.perf_counter` is before `deadline`."""
    first = SystemRandom().randrange(1 << 40)
    return takewhile(lambda _seed: time.perf_counter() < deadline, count(first))
