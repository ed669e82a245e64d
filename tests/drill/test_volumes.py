"""No volume is used more often than its history can be judged."""

from __future__ import annotations

from collections import Counter
from random import Random

from volstore.drill.volumes import OPERATIONS, VolumePool


def test_another_volume_takes_the_place_of_one_that_was_used_enough() -> None:
    volumes, random = VolumePool("d", 3), Random(1)
    drawn = [volumes.draw(random) for _ in range(1000)]
    counts = Counter(drawn)
    assert max(counts.values()) == OPERATIONS
    assert sum(count < OPERATIONS for count in counts.values()) <= 3
    assert len({volume.rpartition("-")[0] for volume in drawn}) == 3
    # One that was left is not taken up again.
    assert all(drawn[drawn.index(v) :].count(v) == counts[v] for v in counts)
