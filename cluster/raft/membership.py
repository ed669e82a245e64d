"""The members of the cluster: configurations as entries of the log, changed one member at a time.

A node uses the latest configuration in its log, committed or not. Single-member changes keep every old majority
overlapping every new one (Raft dissertation §4.1). New members are learners first (§4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from cluster.api import LogError, Member

MOST_REMOVED = 256
"""The latest removed disks that are remembered."""


def majority(voters: int) -> int:
    """The smallest number of voters such that any two groups of that size overlap."""
    return voters // 2 + 1


def majority_reached(values: Iterable[int], voters: int) -> int:
    """The greatest value that a majority of `voters` has reached, given one value for each of them."""
    return sorted(values, reverse=True)[majority(voters) - 1]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members. `index` is the log index of its entry, 0 for the list of the first boot.

    `removed` has the names and disks of former members, as far back as this node's log and its snapshots tell. It
    isn't in the entry: it follows from the entries before it.
    """

    members: tuple[Member, ...]
    index: int = 0
    removed: tuple[tuple[str, bytes], ...] = field(default=(), compare=False)

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members if member.voter)

    @property
    def learners(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members if not member.voter)

    def encode(self) -> bytes:
        rows = [[m.name, m.address, m.incarnation, m.voter] for m in sorted(self.members, key=lambda m: m.name)]
        packed: bytes = msgpack.packb([1, rows])
        return packed

    def encode_removed(self) -> bytes:
        """For a snapshot, which replaces the entries that `removed` follows from. Empty for none."""
        packed: bytes = msgpack.packb({"removed": [list(one) for one in self.removed]}) if self.removed else b""
        return packed

    def following(self, before: Configuration) -> Configuration:
        """The same configuration, with `removed` as it is after `before`."""
        left = [(m.name, m.incarnation) for m in before.members if m.incarnation]
        present = {(m.name, m.incarnation) for m in self.members}
        removed = tuple(one for one in dict.fromkeys((*before.removed, *left)) if one not in present)
        return replace(self, removed=removed[-MOST_REMOVED:])

    @classmethod
    def decode(cls, data: bytes, index: int, removed: bytes = b"") -> Configuration:
        """`removed` is from `encode_removed`. Raises ValueError on anything that isn't an encoded configuration of a
        known format."""
        decoded: Any = msgpack.unpackb(data)
        if not (isinstance(decoded, list) and len(decoded) == 2 and decoded[0] == 1):
            raise ValueError("not a configuration of a known format: a newer member wrote it, upgrade this node")
        parted: Any = msgpack.unpackb(removed).get("removed", ()) if removed else ()
        return cls(
            tuple(Member(name, address, incarnation, voter) for name, address, incarnation, voter in decoded[1]),
            index,
            tuple((name, incarnation) for name, incarnation in parted),
        )

    def pinned(self, incarnations: dict[str, bytes]) -> Configuration:
        """The same members, each bound to its present disk."""
        members = tuple(replace(m, incarnation=incarnations.get(m.name, m.incarnation)) for m in self.members)
        return replace(self, members=members)

    def with_learner(self, member: Member) -> Configuration:
        if (present := self.member(member.name)) is not None:
            kind = "a voter" if present.voter else "a learner"
            raise LogError(f"{member.name!r} is {kind} of this cluster already; remove it first to replace it")
        if any(other.address == member.address for other in self.members):
            raise LogError(f"address {member.address} belongs to another member of this cluster")
        return Configuration((*self.members, replace(member, voter=False)))

    def with_voter(self, name: str, incarnation: bytes) -> Configuration:
        """Give a learner its vote, bound to the disk that caught up."""
        if self.member(name) is None:
            raise LogError(f"{name!r} is not a member of this cluster")
        return Configuration(
            tuple(
                replace(m, voter=True, incarnation=m.incarnation or incarnation) if m.name == name else m
                for m in self.members
            )
        )

    def without(self, name: str) -> Configuration:
        if self.member(name) is None:
            names = ", ".join(sorted(m.name for m in self.members))
            raise LogError(f"{name!r} is not a member of this cluster; its members are {names}")
        rest = tuple(m for m in self.members if m.name != name)
        if not any(m.voter for m in rest):
            raise LogError(f"{name!r} is the last voter; a cluster without one can't go on")
        return Configuration(rest)


class Configurations:
    """The configurations in a node's log, newest last, after the one of its snapshot (or first boot)."""

    def __init__(self, base: Configuration) -> None:
        self.latest = base
        self._held = [base]

    def at(self, index: int) -> Configuration:
        """The configuration at log index `index`, for a snapshot of it."""
        return next((held for held in reversed(self._held) if held.index <= index), self._held[0])

    def added(self, configuration: Configuration) -> None:
        self.latest = configuration.following(self.latest)
        self._held.append(self.latest)

    def dropped_from(self, index: int) -> bool:
        """Entries from `index` on left the log. Returns whether that changed the latest configuration."""
        before = self.latest
        self._held = [self._held[0], *(held for held in self._held[1:] if held.index < index)]
        self.latest = self._held[-1]
        return self.latest is not before

    def forget_before(self, index: int) -> None:
        """A snapshot covers the log up to `index`."""
        base = self.at(index)
        self._held = [base, *(held for held in self._held if held.index > index and held is not base)]
        self.latest = self._held[-1]
