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
    sound_snapshots: bool = True
    """5: a snapshot is acknowledged as installed when it was verified and restored, and asked for again otherwise."""
    prevote: bool = True
    """6: a node asks whether it could win before it disturbs anybody, and nobody deposes a leader that is heard."""
    check_quorum: bool = True
    """7: a leader without a majority steps down within an election time-out."""
    read_index: bool = True
    """7: a linearizable read waits for a round to the majority that began after it."""
    exactly_once: bool = True
    """8: a retry of a proposal returns the first outcome, and a leader writes no command that its log has already."""
    failed_apply_ends: bool = True
    """9: an exception in `apply` ends the node; the entry isn't tried again on a state that may hold half of it."""
    learners_first: bool = True
    """12: a new member gets its vote when it has caught up."""
    failed_step_ends: bool = True
    """16: an exception in a tick or in the handling of a message ends the node."""
    commit_told_anew: bool = True
    """17: after a start, only the leader says what of the log is committed, beyond the snapshot."""
    slow_disk_steps_down: bool = True
    """18: a sync that is slower than the minimum election time-out, or a failed one, ends a leadership."""
    votes_of_members: bool = True
    """19: votes are a set of voting members, of the current term."""
    position_first: bool = True
    """20: results are handed over when the position has moved past their entry."""
    fresh_timeout: bool = True
    """21: stepping down starts a fresh election time-out."""
    contact_by_round: bool = True
    """22: a member was in contact when the round was sent that its answer echoes, not when the answer came."""
    pinned_incarnations: bool = True
    """23: a wiped disk under an old name is another member."""
    refuse_unreadable: bool = True
    """24: a node whose log builds on a snapshot that can't be read doesn't start."""
    fresh_sessions: bool = True
    """24: a proposal's number is never used again, by no later run of its member."""
    proposals_expire: bool = True
    """24: a proposal ends at its deadline, whatever became of it."""
    bounded_window: bool = True
    """24: so many messages with entries are under way to a member, and no more."""
    transfer_stops_proposals: bool = True
    """24: a leader that hands over takes no proposals meanwhile, so that its successor has all of the log."""


ALL_CLOSED = Closings()
