"""How many claims of a volume are from each node, and how many of its writers from each job.

A claim on a volume that thousands share must not cost a look at all of them: for such a volume the counts are kept
and moved, for the others they are made when they are asked for. They follow from the rows, so no snapshot has them.
"""

from __future__ import annotations

from collections.abc import Iterable

from volstore.core.model import Claim, Volume

MANY = 64
"""Claims of a volume above which its counts are kept, and its row's bytes are made only once they are needed."""

Job = tuple[str, str]
"""Its namespace and ID."""


def size(volume: Volume) -> int:
    """How many claims it has, of every kind."""
    return len(volume.read_claims) + len(volume.write_claims) + len(volume.past_claims)


class ClaimCounts:
    """Of one volume; nothing that is 0 is in them. `writers` counts by job."""

    __slots__ = ("nodes", "writers")

    def __init__(self, volume: Volume) -> None:
        self.nodes: dict[str, int] = {}
        self.writers: dict[Job, int] = {}
        for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
            for claim in by_allocation.values():
                _add(self.nodes, claim.node_id, 1)
        for claim in volume.write_claims.values():
            _add(self.writers, _job(claim), 1)

    def move(self, old: Volume, new: Volume, changed: Iterable[str]) -> tuple[set[str], set[str]]:
        """Follow the volume from `old` to `new`, which differ in the claims of the allocations `changed` alone; the
        nodes that have none any more, and those that had none before."""
        touched: dict[str, int] = {}
        for volume, step in ((old, -1), (new, 1)):
            for id in changed:
                for by_allocation in (volume.read_claims, volume.write_claims, volume.past_claims):
                    claim = by_allocation.get(id)
                    if claim is not None:
                        touched[claim.node_id] = touched.get(claim.node_id, 0) + step
                writer = volume.write_claims.get(id)
                if writer is not None:
                    _add(self.writers, _job(writer), step)
        left, came = set(), set()
        for node_id, step in touched.items():
            before = self.nodes.get(node_id, 0)
            after = _add(self.nodes, node_id, step)
            if before and not after:
                left.add(node_id)
            elif after and not before:
                came.add(node_id)
        return left, came


def _add(counts: dict[str, int] | dict[Job, int], key: str | Job, step: int) -> int:
    counted: dict[str | Job, int] = counts  # type: ignore[assignment]  # one of the two kinds, and its own keys
    count = counted.get(key, 0) + step
    if count:
        counted[key] = count
    else:
        counted.pop(key, None)
    return count


def _job(claim: Claim) -> Job:
    return claim.namespace, claim.job_id
