"""Peers from outside this node's configuration: why they may connect, and which of their messages count.

A member that was away may meet a leader that it has never heard of, and must listen to it (Raft dissertation §4.1);
all else is for members alone. A certificate of the cluster's authority proves a name, not that its bearer is a member,
and whoever comes may say of itself what it likes: so it is let in only where this node has no leader of its own and a
member vouches for its name and disk, is heard in nothing but Raft's own messages, and is let go as soon as a member
leads. Where every member's disk was replaced meanwhile, a majority of their names stands for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.api import Member
from cluster.net.tcp import split_address
from cluster.raft.membership import Configuration, majority

MOST_OUTSIDERS = 16
"""Peers from outside that are let in at a time. Each is dialled back at the address that it names."""

HEARD = frozenset({"vote?", "app", "commit", "snap", "known"})
"""What an outsider may say to a node without a leader: it stands for election, or leads, or vouches for another."""
ANSWERS = frozenset({"no", "read", "told"})
"""What it may say besides once this node follows it: answers to questions that this node put to its leader."""


@dataclass(frozen=True, slots=True)
class Outsider:
    """`configuration` is the log index of the configuration that it says it has, `meta` what else it says of itself."""

    address: str
    incarnation: bytes
    configuration: int
    meta: Mapping[str, str]


def claimed(meta: Mapping[str, str]) -> int:
    """The log index of the configuration that somebody says it has; 0 for none, and for what isn't a number."""
    told = meta.get("configuration", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else 0


def read_outsider(incarnation: bytes, meta: Mapping[str, str]) -> Outsider | str:
    """What it says of itself, or what is wrong with that."""
    try:
        split_address(meta.get("raft", ""))
    except OSError as error:
        return f"it names no address to be dialled at: {error}"
    return Outsider(meta["raft"], incarnation, claimed(meta), meta)


def is_disk_of(member: Member | None, incarnation: bytes) -> bool:
    """Whether a configuration names this disk, or lets any pass under the name."""
    return member is not None and member.incarnation in (b"", incarnation)


def removal_counts(
    me: tuple[str, bytes], ours: Configuration, sender: str, index: int, *, follows: bool, rival: bool
) -> bool:
    """Whether this node, `me` (its name and disk), must believe `sender` that configuration `index` is without it.

    `follows`: the sender is the leader that this node follows; `rival`: it follows another one, in the term that the
    sender speaks of. A removal is told once it is committed, by the leader that made it: by a voter, who knows a later
    configuration than the one that names this node. A node that is named by no configuration that it knows of (a new
    disk, while it catches up) has nobody but the leader that it follows to go by.
    """
    mine = ours.member(me[0])
    if mine is None or not is_disk_of(mine, me[1]):
        return follows and index >= ours.index
    teller = ours.member(sender)
    return teller is not None and teller.voter and index > ours.index and not rival


def refusal_counts(
    me: tuple[str, bytes],
    ours: Configuration,
    refuser: tuple[str, bytes],
    index: int,
    *,
    known: bytes,
    accepted: frozenset[str],
) -> bool:
    """Whether this node must believe `refuser` (name and disk), whose configuration is that of `index`, that another
    disk has taken its place.

    `known` is the refuser's disk as this node knows it, empty if it doesn't; `accepted` are the members that are
    connected to this node, so that they let it in. Only a voter's word counts, for it can't have its vote and lack
    what came before; never a view that is older than our own, as a member's that still catches up; and never against
    a majority that takes this node for the one that its configuration names. A disk that is named by none of the
    configurations in its log got these from a leader, which knows it: it catches up, and who refuses it lags too.
    """
    voter = ours.member(refuser[0])
    if voter is None or not voter.voter or index < ours.index or known not in (b"", refuser[1]):
        return False
    if ours.index == 0:
        return True  # It has nothing but the list of its first start, and may be an empty disk under an old name.
    mine = ours.member(me[0])
    accepts = len(({me[0]} | accepted) & set(ours.voters)) >= majority(len(ours.voters))
    return mine is not None and mine.incarnation == me[1] and not accepts
