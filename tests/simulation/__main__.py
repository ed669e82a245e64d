"""`python -m tests.simulation`: runs seeds, replays one with its trace, or hunts for as long as one likes."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import count, takewhile
from random import SystemRandom

from tests.simulation.run import Result, draw_plan, run
from tests.simulation.shrink import shrink


def _one(seed: int) -> tuple[int, Result, float]:
    began = time.perf_counter()
    result = run(draw_plan(seed))
    return seed, result, time.perf_counter() - began


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


def _replay(seed: int) -> int:
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
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_one, seeds)


def _hunt(seeds: Iterable[int], jobs: int) -> int:
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


def _until(deadline: float) -> Iterator[int]:
    first = SystemRandom().randrange(1 << 40)
    return takewhile(lambda _seed: time.perf_counter() < deadline, count(first))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int, metavar="N", help="run the seeds from --first on")
    what.add_argument("--seed", type=int, metavar="N", help="replay one seed with a readable trace")
    what.add_argument("--minutes", type=float, metavar="M", help="run random seeds for so long")
    parser.add_argument("--first", type=int, default=1, help="the first of --seeds (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _replay(asked.seed)
    if asked.seeds is not None:
        return _hunt(range(asked.first, asked.first + asked.seeds), asked.jobs)
    return _hunt(_until(time.perf_counter() + 60 * asked.minutes), asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
