"""How `cluster` once behaved where the simulator didn't look: each can be put back for a run, to see it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.node.intake import Intake
from cluster.node.sessions import Item, ReplicatedState
from cluster.node.snapshotting import Snapshotting
from cluster.node.transfer import Sending
from cluster.raft.progress import Progress
from cluster.raft.rounds import RoundTimes

Patch = pytest.MonkeyPatch

_ROUNDS_KEPT = 32
"""As many as the simulator's small sizes keep now; it were 1,024 then."""
_RESEND_AFTER = 1.0


def rounds_are_forgotten(patch: Patch) -> None:
    """An answer to a round whose time isn't kept any more frees nothing, and proves no contact."""
    times: dict[int, dict[int, float]] = {}
    known = True
    acknowledged = Progress.acknowledged

    def sent(self: RoundTimes, round_: int, now: float) -> None:
        kept = times.setdefault(id(self), {})
        kept[round_] = now
        while len(kept) > _ROUNDS_KEPT:
            del kept[next(iter(kept))]

    def of(self: RoundTimes, round_: int) -> float:
        nonlocal known
        found = times.get(id(self), {}).get(round_)
        known = found is not None
        return -1e9 if found is None else found

    def freed(self: Progress, match: int) -> None:
        if known:
            acknowledged(self, match)

    patch.setattr(RoundTimes, "sent", sent)
    patch.setattr(RoundTimes, "of", of)
    patch.setattr(Progress, "acknowledged", freed)


def commands_are_written_again(patch: Patch) -> None:
    """What has waited for a second is sent again, and the leader writes whatever comes."""
    resend, take = Intake.resend, Intake.take
    sent_at: dict[tuple[int, int], float] = {}

    def again(self: Intake, now: float) -> None:
        for pending in self.proposals._pending.values():
            if pending.sent and now - sent_at.setdefault((id(self), pending.number), now) >= _RESEND_AFTER:
                sent_at[id(self), pending.number] = now
                pending.sent, pending.queued_in = False, 0
        resend(self, now)

    def taken(self: Intake, peer: str, items: list[Item]) -> None:
        self._held.clear()
        take(self, peer, items)
        self._held.clear()

    patch.setattr(Intake, "resend", again)
    patch.setattr(Intake, "take", taken)
    patch.setattr(ReplicatedState, "settled", lambda self, session, number: False)


def unreadable_snapshots_end(patch: Patch) -> None:
    """Whatever error keeps a leader from reading its snapshot ends it."""
    put_off = Snapshotting._put_off

    def failing(self: Snapshotting, peer: str, sending: Sending, error: Any) -> None:
        if not isinstance(error, TimeoutError | ConnectionError | FileNotFoundError):
            self._host.fail(error)
        put_off(self, peer, sending, error)

    patch.setattr(Snapshotting, "_put_off", failing)


OldWay = Callable[[Patch], None]
