"""What a leader knows of each other member: how far its log goes, and what may be sent to it.

A member is in one of three states, as in etcd's raft (tracker/progress.go):

    PROBE       How far its log matches isn't known. One message with entries is in flight at a time.
    REPLICATE   Its log matches up to its last acknowledgement. A window of messages is in flight.
    SNAPSHOT    The leader's log no longer has what it lacks. It gets heartbeats only, and a snapshot beside them.

    PROBE -> REPLICATE      an acknowledgement came
    PROBE, REPLICATE -> SNAPSHOT    its next entry is covered by the leader's snapshot
    REPLICATE -> PROBE      it rejected a message
    SNAPSHOT -> REPLICATE   an acknowledgement shows that it has more than was known
    any -> PROBE            it connected again, or has installed a snapshot
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


# Names of their own: an enumeration's members are looked up slowly, and these at every message.
PROBE, REPLICATE, SNAPSHOT = State.PROBE, State.REPLICATE, State.SNAPSHOT


@dataclass(slots=True)
class Progress:
    """One member, as its leader sees it during one leadership.

    `match`, the last entry that it acknowledged, is kept by pysyncobj (`Engine.match_index`). Invariants:

    - 0 <= match < next.
    - `next` never goes back to or behind `match`: what was acknowledged isn't sent again (hole 1).
    - `unacknowledged` holds the last index of each message with entries in flight, in rising order: at most one
      message in PROBE, at most a window of them in REPLICATE, no new ones in SNAPSHOT (hole 24).
    - `round` and `contact` never decrease. `contact` is never later than the time when `round` was sent (hole 22).

    `round` is the last round that it answered, `contact` when that was sent (seconds). `told` is the commit index
    that was sent to it last.
    """

    next: int
    contact: float
    state: State = PROBE
    unacknowledged: deque[int] = field(default_factory=deque)
    round: int = 0
    told: int = 0

    @property
    def needs_snapshot(self) -> bool:
        return self.state is SNAPSHOT

    def may_send_entries(self, window: int) -> bool:
        if self.state is REPLICATE:
            return len(self.unacknowledged) < window
        return self.state is PROBE and not self.unacknowledged

    # Transitions.

    def become_probe(self, next_: int) -> None:
        """Find out from entry `next_` on where the logs match. What is in flight is lost, or of no use."""
        self.state = PROBE
        self.next = next_
        self.unacknowledged.clear()

    def become_replicate(self) -> None:
        self.state = REPLICATE

    def become_snapshot(self) -> None:
        self.state = SNAPSHOT

    # Events.

    def sent(self, last: int) -> None:
        """A message with entries up to `last` left."""
        self.next = last + 1
        self.unacknowledged.append(last)

    def answered(self, round_: int, contact: float) -> None:
        """An answer echoes the round of its message, which was sent at `contact` or later."""
        if round_ > self.round:
            self.round = round_
        if contact > self.contact:
            self.contact = contact

    def acknowledged(self, match: int) -> None:
        """The member has the log up to `match`: the messages that brought it are no longer in flight.

        The position frees them, not the round: a round's time may be forgotten long before its answer comes."""
        unacknowledged = self.unacknowledged
        while unacknowledged and unacknowledged[0] <= match:
            unacknowledged.popleft()

    def matched(self, match: int) -> None:
        """The logs match up to `match`. A late answer moves nothing back."""
        if match >= self.next:
            self.next = match + 1
        if self.state is not REPLICATE:
            self.become_replicate()

    def rejected(self, hint: int, match: int) -> None:
        """The member's log doesn't match at `next` - 1; its leader should try `hint`."""
        self.become_probe(max(match + 1, min(hint, self.next)))

    def restarted(self, match: int) -> None:
        """It connected again, or installed a snapshot: what was in flight is lost, or no longer of use."""
        self.become_probe(match + 1)
        self.told = 0
