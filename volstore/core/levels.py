"""The feature level: which commands a build of volstore knows, and with that which bytes it may meet.

A build of level N knows all that came with the levels up to N. What one level has said is never said otherwise by a
later one: a kind of command, once it came, keeps its fields and what it does, and a row keeps its bytes. So the state
and its digest follow from the commands alone, whatever build applied them, and members of different builds may be
compared like any others. What is new comes as a new kind of command, at a new level (`commands.CAME_AT`), and shows
in the state's bytes only once such a command was applied. An entry's first byte, and the byte after a snapshot's
magic, is the level that one needs to read it; who knows less stops, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LEVEL = 2
"""This build's."""

META = "level"
"""Under which a member says its own in its handshake."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a member said of itself when this node saw it last; empty if it never did."""

    name: str
    meta: Mapping[str, str]

    @property
    def level(self) -> int:
        """0 where it isn't known. A build that says none is older than any that does: it is of level 1."""
        if not self.meta:
            return 0
        said = self.meta.get(META, "1")
        return int(said) if said.isascii() and said.isdecimal() else 0


def lacking(level: int, members: Iterable[Known]) -> str | None:
    """Why what came with `level` can't be said in a cluster of these members, None if all of them know it."""
    if level <= 1:
        return None
    for member in sorted(members, key=lambda member: member.name):
        if member.level == 0:
            return (
                f"this needs feature level {level} on every member, and this node hasn't seen {member.name!r} since "
                "it started: bring it back, or remove it from the cluster, then repeat"
            )
        if member.level < level:
            version = member.meta.get("version", "")
            return (
                f"this needs feature level {level} on every member, and {member.name!r} (volstore {version}) is at "
                f"{member.level}: upgrade it, then repeat"
            )
    return None
