"""Log time: how the replicated state knows that time has passed, though no member's wall clock can be trusted.

Log time is a count of nanoseconds in the state (`State.log_time`). What expires rests on it and on nothing else:
tokens with a TTL, remembered Idempotency-Keys, restores that nobody finished, nodes that are down for too long. It is
no date: what a user sees as a date is the wall clock of the member that took the request, and decides nothing.

How it moves. A leader measures with its monotonic clock how long ago the last move of log time was applied on it, and
proposes that measure (`commands.AdvanceTime`): every TICK_EVERY seconds while something can expire, at once when
something is due, and not at all otherwise. So an idle cluster writes nothing, and log time falls behind the clock on
the wall, which harms nobody. A member that becomes leader applied the last move, too, so it goes on from there.

Invariants, for any state of all wall clocks:

- It never goes back.
- It never runs faster than the monotonic clock of the leader that measured: a measure names the log time from which it
  was taken (`base`), and one whose base is not the present log time moves nothing. So no second is counted twice,
  whoever led, and whatever was late or repeated on its way.
- One entry moves it by at most MAX_STEP. What a leader measured beyond that is dropped, and so is the time in which
  no member ran that had applied the last move. So it may lag: by the time without a leader, mainly.
- It is not corrected towards any wall clock, not even slowly: such a correction would have to be slow to be harmless,
  and fast to be of use. No wall clock moves it by a nanosecond.

What begins now began up to MAX_STEP of log time later than `log_time` says, as the next measure also covers what passed
before. Something that must not end too early counts from `State.counted_from`. A token must not end too late, so the
member that proposes one with a TTL moves log time first (`timekeeping.py`).

Before all members are at level 2, log time is the greatest wall clock of any proposer, as level 1 has it. The first
`AdvanceTime` begins the measured time (`Timers.begin`) from wherever log time is. If a wrong clock had driven it into
the future, that heals it: what was stamped there expires once as much time was measured as it was meant to have.
"""

from __future__ import annotations

from collections.abc import Iterator

from volstore.core.frozen import Frozen
from volstore.core.tables import Table

MAX_STEP = 60 * 10**9
"""Nanoseconds by which one command moves log time at most."""
TICK_EVERY = 30 * 10**9
"""Nanoseconds between two moves while something can expire and nothing is due."""
FORGOTTEN_BY_A_MOVE = 1024
"""Rows of a kind that leave at most with one move of log time, if they have expired: some 5 ms of work."""

_HOUR = 3600 * 10**9

EPOCH, TOKEN, NODE = "epoch", "token", "node"
"""Kinds of timer: when the measured time began, when a token expires, since when a node is down."""


class Timer(Frozen, frozen=True, kw_only=True):
    """`at` is log time in nanoseconds. `wall`: what the leader's wall clock showed, for EPOCH alone."""

    kind: str
    id: str = ""
    at: int
    wall: int = 0


class Timers:
    """What is told in measured log time. Empty, and no part of the state's bytes, until that began."""

    __slots__ = ("_down", "measured", "table")

    def __init__(self) -> None:
        self.table: Table[tuple[str, str], Timer] = Table("timers", Timer, lambda row: (row.kind, row.id))
        self.measured = False
        """Whether log time moves by measures alone."""
        self._down: dict[str, int] = {}
        """Since when each node is down, oldest first."""

    @property
    def epoch(self) -> Timer | None:
        return self.table.get((EPOCH, ""))

    def begin(self, log_time: int, wall: int) -> None:
        """From now on only measures move log time."""
        self._put(Timer(kind=EPOCH, at=log_time, wall=wall))

    @property
    def ahead(self) -> int:
        """By how much log time was ahead of the leader's wall clock when the measured time began; 0 if by less than an
        hour. Dates that were stamped before are wrong by as much."""
        epoch = self.epoch
        ahead = epoch.at - epoch.wall if epoch is not None else 0
        return ahead if ahead >= _HOUR else 0

    # Tokens.

    def token(self, accessor_id: str) -> int | None:
        """When the token expires; None for one without a timer: from before, or without a TTL."""
        timer = self.table.get((TOKEN, accessor_id))
        return None if timer is None else timer.at

    def set_token(self, accessor_id: str, at: int) -> None:
        self._put(Timer(kind=TOKEN, id=accessor_id, at=at))

    def drop_token(self, accessor_id: str) -> None:
        if (TOKEN, accessor_id) in self.table.rows:
            self.table.remove((TOKEN, accessor_id))

    # Nodes.

    def down_since(self, node_id: str) -> int | None:
        """Since when a node that is down has been so. One that was down before the measured time began counts from
        its beginning, as nothing before can be trusted. None before that."""
        since = self._down.get(node_id)
        if since is not None:
            return since
        epoch = self.epoch
        return None if epoch is None else epoch.at

    def node_down(self, node_id: str, at: int) -> None:
        self.node_up(node_id)
        self._put(Timer(kind=NODE, id=node_id, at=at))

    def node_up(self, node_id: str) -> None:
        """It isn't down any more, or not there."""
        if self._down.pop(node_id, None) is not None:
            self.table.remove((NODE, node_id))

    def last_down(self) -> int | None:
        """Since when the node is down that went down last."""
        return next(reversed(self._down.values()), None)

    # The whole of it.

    def tables(self) -> Iterator[Table[tuple[str, str], Timer]]:
        """The table, once it is part of the state."""
        if self.measured:
            yield self.table

    def load(self, encoded: bytes) -> None:
        self._note(self.table.load(encoded))

    def _put(self, timer: Timer) -> None:
        self.table.put(timer)
        self._note(timer)

    def _note(self, timer: Timer) -> None:
        if timer.kind == EPOCH:
            self.measured = True
        elif timer.kind == NODE:
            self._down[timer.id] = timer.at
