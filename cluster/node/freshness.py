"""How old what a follower shows may be: the time since it had all that the leader, when last heard, had committed."""

from __future__ import annotations


class Freshness:
    """Hearing the leader isn't enough to be fresh: a member that catches up hears it all the time.

    A new leader doesn't know of all that was committed before it, until an entry of its own term is (Raft §6.4): what
    it says counts only for a state that has such an entry applied, which the caller knows as `same_term`.
    Times in seconds of one clock, indexes are the log's. Before it has caught up once, a node can't tell how old its
    state is: `known` is False then.
    """

    def __init__(self, now: float) -> None:
        self.known = False
        self._since = now
        self._awaited: tuple[int, float] | None = None

    def waits_for(self, index: int) -> bool:
        """Whether what the leader said is covered by `index`, and wasn't when `applied` was told last."""
        return self._awaited is not None and index >= self._awaited[0]

    def heard(self, now: float, commit_index: int, applied: int, same_term: bool) -> None:
        """The leader said at `now` that it has committed so much."""
        if self._awaited is None or (applied >= commit_index and same_term):
            # Else one at a time: what is heard meanwhile only makes the answer older than it need be.
            self._awaited = (commit_index, now)
        self.applied(applied, same_term)

    def applied(self, index: int, same_term: bool) -> None:
        if self._awaited is not None and index >= self._awaited[0] and same_term:
            self.known = True
            self._since = self._awaited[1]
            self._awaited = None

    def leader_changed(self) -> None:
        """What an earlier leader said says nothing of what the present one has committed."""
        self._awaited = None

    def age(self, now: float) -> float:
        return now - self._since
