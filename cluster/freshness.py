"""How old what a follower shows may be: the time since it had all that the leader, when last heard, had committed."""

from __future__ import annotations


class Freshness:
    """Hearing the leader isn't enough to be fresh: a member that catches up hears it all the time.

    Times in seconds of one clock, indexes are the log's. Before it has caught up once, a node can't tell how old its
    state is: `known` is False then.
    """

    def __init__(self, now: float) -> None:
        self.known = False
        self._since = now
        self._awaited: tuple[int, float] | None = None

    def heard(self, now: float, commit_index: int, applied: int) -> None:
        """The leader said at `now` that it has committed so much."""
        self.applied(applied)
        if applied >= commit_index:
            self._reached(now)
        elif self._awaited is None:
            # One at a time: what is heard meanwhile only makes the answer older than it need be.
            self._awaited = (commit_index, now)

    def applied(self, index: int) -> None:
        if self._awaited is not None and index >= self._awaited[0]:
            self._reached(self._awaited[1])

    def age(self, now: float) -> float:
        return now - self._since

    def _reached(self, heard_at: float) -> None:
        self.known = True
        self._since = heard_at
        self._awaited = None
