"""`python -m tests.simulation`: runs seeds, replays one with its trace, or hunts for as long as one likes."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.hunt import hunt, replay, until


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
        return replay(asked.seed)
    if asked.seeds is not None:
        return hunt(range(asked.first, asked.first + asked.seeds), asked.jobs)
    return hunt(until(time.perf_counter() + 60 * asked.minutes), asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
