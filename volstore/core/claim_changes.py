"""What one command changes of claims, collected by volume: each row is copied once and put once, however many of its
claims end.

To whoever looks afterwards it is as if the claims had ended one after the other: departures are recorded in that
order, as level 1 (levels.py) has them.
"""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.attach import claiming
from volstore.core.holders import claims_of
from volstore.core.model import RELEASE, UNPUBLISHING, Claim, Volume
from volstore.core.queries import Key
from volstore.core.state import State


class ClaimChanges:
    """Make it, tell it what changes, and `put` it, all while one command is applied."""

    __slots__ = ("_drafts", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._drafts: dict[Key, _Draft] = {}

    def release(self, volume: Volume, allocation_id: str, node_id: str | None = None, *, force: bool = False) -> None:
        """End the claims of an allocation, only those from `node_id` where it is given. None is no change.

        Those that a node's agent holds become past ones, and end once it reports that nothing of them is left.
        """
        for claim in list(claims_of(volume, allocation_id)):
            if node_id in (None, claim.node_id) and claiming.holds(self._state, volume, claim.node_id, allocation_id):
                self._draft(volume).unpublish(allocation_id)
                claiming.release(self._state, volume, claim.node_id, allocation_id, force=force)
                return
        self.free(volume, allocation_id, node_id)

    def free(self, volume: Volume, allocation_id: str, node_id: str | None = None) -> None:
        """As `release`, at once."""
        left = self._draft(volume).release(allocation_id, node_id)
        if left:
            self._state.volume_left(volume, left)

    def show(self, volume: Volume, allocation_id: str) -> None:
        """The allocation moved: a volume's answer shows those that read or write it, though its row stays as it is."""
        if allocation_id in volume.read_claims or allocation_id in volume.write_claims:
            self._draft(volume).shown = True

    def put(self) -> None:
        state = self._state
        for draft in self._drafts.values():
            volume = draft.volume
            if draft.released:
                volume = replace(
                    volume,
                    read_claims=draft.claims[0],
                    write_claims=draft.claims[1],
                    past_claims=draft.claims[2],
                    modify_index=state.index,
                )
            if draft.released or draft.shown:
                state.put_volume(replace(volume, touch_index=state.index), draft.released, noted=True)

    def _draft(self, volume: Volume) -> _Draft:
        key = (volume.namespace, volume.id)
        draft = self._drafts.get(key)
        if draft is None:
            draft = self._drafts[key] = _Draft(volume, dict(self._state.claimed_nodes(volume)))
        return draft


class _Draft:
    """A volume's claims while they change. `nodes` counts them by node; `released` are allocations, in order."""

    __slots__ = ("_copied", "claims", "nodes", "released", "shown", "volume")

    def __init__(self, volume: Volume, nodes: dict[str, int]) -> None:
        self.volume = volume
        self.claims = [volume.read_claims, volume.write_claims, volume.past_claims]
        self.nodes = nodes
        self.released: list[str] = []
        self.shown = False
        self._copied = [False, False, False]

    def unpublish(self, allocation_id: str) -> None:
        """The allocation's claim is a past one from now on, if it isn't already."""
        held = [by_allocation.get(allocation_id) for by_allocation in self.claims]
        claim = held[1] or held[0]
        if claim is None:
            return
        self._without(0, allocation_id)
        self._without(1, allocation_id)
        self._copy(2)[allocation_id] = replace(claim, mode=RELEASE, state=UNPUBLISHING)
        self.nodes[claim.node_id] += 1 - sum(one is not None for one in held)
        self.released.append(allocation_id)

    def _copy(self, kind: int) -> dict[str, Claim]:
        if not self._copied[kind]:
            self._copied[kind] = True
            self.claims[kind] = self.claims[kind].copy()
        return self.claims[kind]

    def _without(self, kind: int, allocation_id: str) -> None:
        if allocation_id in self.claims[kind]:
            del self._copy(kind)[allocation_id]

    def release(self, allocation_id: str, node_id: str | None) -> set[str]:
        """The nodes that have no claim any more."""
        ended: list[Claim] = []
        for kind, by_allocation in enumerate(self.claims):
            claim = by_allocation.get(allocation_id)
            if claim is None or node_id not in (None, claim.node_id):
                continue
            self._without(kind, allocation_id)
            ended.append(claim)
        left = set()
        for claim in ended:
            self.nodes[claim.node_id] -= 1
            if not self.nodes[claim.node_id]:
                del self.nodes[claim.node_id]
                left.add(claim.node_id)
        if ended:
            self.released.append(allocation_id)
        return left
