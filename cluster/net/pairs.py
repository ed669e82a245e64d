"""Knows the two connections that each peer is made of, and says when both are there and when no longer.

Invariant: the two connections of a connected peer belong to one run of its process, and a newer connection has taken
the place of an older one before anything is read from it; so nothing of an earlier run comes after a later one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from cluster.net.frames import Frame
from cluster.net.handshake import Card, Identity
from cluster.net.links import Link, OutgoingLink
from cluster.net.rate_limit import RateLimitedLog


@dataclass(slots=True)
class Pair:
    """A peer's connections at present, whether they were reported as connected, and when it was last heard before."""

    incoming: Link | None = None
    outgoing: OutgoingLink | None = None
    connected: bool = False
    heard_at: float | None = None

    def links(self) -> list[Link]:
        return [link for link in (self.incoming, self.outgoing) if link is not None]


class Pairs:
    """All pairs of one member. `changed(name, connected)` is called whenever a peer comes or goes."""

    def __init__(self, log: RateLimitedLog, changed: Callable[[str, bool], Any]) -> None:
        self._log = log
        self._changed = changed
        self._pairs: dict[str, Pair] = {}
        self._peers: Collection[str] = ()
        self.closing = False
        """Links end because we stop: no news for the log."""

    def set_peers(self, names: Collection[str]) -> None:
        """Only these can be connected; the connections of others, who were peers until now, end."""
        gone, self._peers = set(self._peers) - set(names), names
        for name in [name for name in self._pairs if name in gone]:
            for link in self._pairs[name].links():
                self.lose(name, link, "no longer a member")
            self._pairs.pop(name, None)
        for name in names:
            self._reconsider(name)

    async def use(self, name: str, link: Link, deliver: Callable[[Frame], None]) -> None:
        """Make `link` the one of its direction, read it until it ends, and let go of it."""
        pair = self._pairs.get(name) or Pair()
        older, opposite = (
            (pair.outgoing, pair.incoming) if isinstance(link, OutgoingLink) else (pair.incoming, pair.outgoing)
        )
        if older is not None:
            self.lose(name, older, "replaced by a newer connection")
        if opposite is not None and not _same_run(opposite.card, link.card):
            self.lose(name, opposite, "left over from an earlier run of the peer")
        # Asked for again: the callbacks for a loss may have changed the peers, and this one with them.
        pair = self._pairs.setdefault(name, Pair())
        if isinstance(link, OutgoingLink):
            pair.outgoing = link
        else:
            pair.incoming = link
        try:
            self._reconsider(name)
            await link.read(deliver)
        finally:
            self.lose(name, link, "stopped")

    def lose(self, name: str, link: Link, reason: str) -> None:
        """End `link`, and where it is the present one of its direction, let go of it."""
        link.close(reason)
        pair = self._pairs.get(name)
        if pair is None or not any(link is one for one in pair.links()):
            return
        if link is pair.outgoing:
            pair.outgoing, direction = None, "outgoing"
        else:
            pair.incoming, direction = None, "incoming"
        pair.heard_at = max(link.heard_at, pair.heard_at or link.heard_at)
        if not self.closing:
            now = asyncio.get_running_loop().time()
            self._log.warning(now, (name, direction), "link_lost", peer=name, direction=direction, reason=link.end)
        self._reconsider(name)
        if name not in self._peers and not pair.links():
            self._pairs.pop(name, None)

    def keep_only(self, name: str, incarnation: bytes) -> None:
        """End this name's connections that came from another disk than that of `incarnation`."""
        pair = self._pairs.get(name)
        for link in pair.links() if pair is not None else ():
            if link.card.identity.incarnation != incarnation:
                self.lose(name, link, "it came with another disk than the one that is known now")

    def tick(self) -> None:
        """A keep-alive period has passed."""
        for name, pair in list(self._pairs.items()):
            for link in pair.links():
                link.tick()
                if link.end is not None:
                    self.lose(name, link, link.end)

    def outgoing(self, name: str) -> OutgoingLink | None:
        """Where frames to `name` go; None unless it is connected."""
        pair = self._pairs.get(name)
        return pair.outgoing if pair is not None and pair.connected else None

    def dialled(self, name: str) -> OutgoingLink | None:
        """The connection that we dialled, connected or not."""
        pair = self._pairs.get(name)
        return pair.outgoing if pair is not None else None

    def connected(self) -> frozenset[str]:
        return frozenset(name for name, pair in self._pairs.items() if pair.connected)

    def identity(self, name: str) -> Identity | None:
        link = self.outgoing(name)
        return link.card.identity if link is not None else None

    def last_heard(self, name: str) -> float | None:
        pair = self._pairs.get(name)
        if pair is None:
            return None
        times = [link.heard_at for link in pair.links()]
        if pair.heard_at is not None:
            times.append(pair.heard_at)
        return max(times, default=None)

    def _reconsider(self, name: str) -> None:
        pair = self._pairs.get(name)
        if pair is None:
            return
        connected = name in self._peers and len(pair.links()) == 2
        if connected == pair.connected:
            return
        pair.connected = connected
        self._changed(name, connected)


def _same_run(one: Card, two: Card) -> bool:
    return one.run == two.run and one.identity.incarnation == two.identity.incarnation
