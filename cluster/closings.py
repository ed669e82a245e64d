"""Which of pysyncobj's holes are closed: all of them, always; the simulator opens one at a time to prove its need.

The numbers are the rows of the list of holes (see README, "What pysyncobj gets wrong and what we do about it").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Closings:
    keep_matching_entries: bool = True
    """1: a follower drops only what conflicts, and acknowledges only what the message at hand verified."""
    forward_only_next: bool = True
    """1: a late acknowledgement doesn't move the leader's next index back."""
    verified_commit: bool = True
    """2: a follower commits only what the message at hand verified."""
    acks_carry_term: bool = True
    """3: acknowledgements of another term count for nothing, those of a higher one end a leadership."""
    sync_before_send: bool = True
    """4: nothing that depends on the disk leaves before it was synced; a leader counts itself when it was, too."""
    prevote: bool = True
    """6: a node asks whether it could win before it disturbs anybody, and nobody deposes a leader that is heard."""
    check_quorum: bool = True
    """7: a leader without a majority steps down within an election time-out."""
    read_index: bool = True
    """7: a linearizable read waits for a round to the majority that began after it."""
    exactly_once: bool = True
    """8: a retry of a proposal returns the first outcome."""
    learners_first: bool = True
    """12: a new member gets its vote when it has caught up."""
    commit_told_anew: bool = True
    """17: after a start, only the leader says what of the log is committed, beyond the snapshot."""
    slow_disk_steps_down: bool = True
    """18: a sync that is slower than the minimum election time-out, or a failed one, ends a leadership."""
    votes_of_members: bool = True
    """19: votes are a set of voting members, of the current term."""
    fresh_timeout: bool = True
    """21: stepping down starts a fresh election time-out."""
    contact_by_round: bool = True
    """22: a member was in contact when the round was sent that its answer echoes, not when the answer came."""
    pinned_incarnations: bool = True
    """23: a wiped disk under an old name is another member."""


ALL_CLOSED = Closings()
