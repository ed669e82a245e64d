"""Makes a failing run smaller: fewer faults, as long as the same promise is broken."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.run import Plan, run


def shrink(plan: Plan, invariant: str, *, attempts: int = 60) -> Plan:
    """Drop faults in halves, quarters, … and single ones, and time at the end; at most `attempts` runs.

    A run is a whole, and leaving out one fault shifts everything after it: what remains breaks the same invariant,
    though perhaps in another way.
    """
    best = plan
    tries = 0
    size = max(1, len(plan.faults) // 2)
    while size >= 1:
        start = 0
        while start < len(best.faults):
            if tries >= attempts:
                return best
            tries += 1
            smaller = replace(best, faults=best.faults[:start] + best.faults[start + size :])
            result = run(smaller)
            if result.violation is not None and result.violation[0] == invariant:
                best = replace(smaller, seconds=min(smaller.seconds, result.seconds))
            else:
                start += size
        if size == 1:
            return best
        size //= 2
    return best
