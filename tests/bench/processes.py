"""What processes have used so far, as the kernel counts it: processor time and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(pids: Iterable[int]) -> float:
    """User and system time of all of them together, in steps of a hundredth of a second as a rule."""
    total = 0
    for pid in pids:
        # What comes before the last parenthesis is the program's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def resident_mib(pids: Iterable[int]) -> float:
    """The largest of them."""
    return max(int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024 for pid in pids)
