"""How old a stale read may be, from what its claim rests on: the message that the node believes to be that fresh.

A node counts its age from when a message of its leader came. So what it shows may lack what was committed
- after that message was *sent*: it was under way for as long as the network took, at most until its connection was
  given up;
- before it was sent, as far as its sender didn't know any more: a leader that was deposed learns of it within the
  minimum election time-out of its own running time (CheckQuorum), so a pause of the sender comes on top;
and its clock may go wrong by as much as clocks are drawn to. All of these are known here, message by message.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.node.node import Node
    from cluster.raft.messages import Frame
    from tests.simulation.server import Server
    from tests.simulation.world import World

_KEPT = 4000
_ROUNDED = 0.001
"""Seconds: an answer says its age in whole milliseconds, and a sum of clocks isn't exact."""


class Ages:
    def __init__(self, world: World) -> None:
        self._world = world
        self._sent: dict[tuple[object, ...], float] = {}
        self._commit_times: list[float] = []
        """When each committed entry was first seen to be so: not before the one ahead of it, in the log's order."""
        self._first = 0
        self._heard: dict[str, dict[float, tuple[float, float, str]]] = {}
        self._pauses: dict[str, list[tuple[float, float]]] = {}
        """Of each server: from when to when it was paused; the last one may go on."""

    def committed(self, index: int) -> None:
        """Entry `index` was seen committed for the first time, anywhere."""
        if not self._commit_times:
            self._first = index
        missing = index - self._first + 1 - len(self._commit_times)
        self._commit_times.extend([self._world.scheduler.now] * missing)

    def started(self, server: Server) -> None:
        self._heard[server.name] = {}
        self.resumed(server.name)

    def paused(self, server: str) -> None:
        self._pauses.setdefault(server, []).append((self._world.scheduler.now, inf))

    def resumed(self, server: str) -> None:
        pauses = self._pauses.get(server)
        if pauses and pauses[-1][1] == inf:
            pauses[-1] = (pauses[-1][0], self._world.scheduler.now)

    def sent(self, sender: str, peer: str, frame: Frame) -> None:
        """A message that says how much is committed leaves its node; one that is sent again counts from the first."""
        if len(self._sent) > _KEPT:
            for key in list(self._sent)[: _KEPT // 2]:
                del self._sent[key]
        self._sent.setdefault(_key(sender, peer, frame), self._world.scheduler.now)

    def taken(self, server: Server, node: Node, peer: str, frame: Frame) -> None:
        """The node has taken such a message; whether it counts its age from it, shows in what it counts from."""
        now, local = self._world.scheduler.now, node.loop.time()
        heard = self._heard[server.name]
        sent = self._sent.get(_key(peer, server.name, frame))
        if sent is not None:
            heard.setdefault(local, (sent, now, peer))
        if len(heard) > _KEPT:
            del heard[next(iter(heard))]

    def check(self, server: Server, node: Node, claimed: float) -> None:
        """The node has just told a reader that its state is `claimed` seconds old, and that it knows its leader."""
        now, applied = self._world.scheduler.now, node.applier.index
        sent, came, sender = now, now, server.name
        if not node.has_all:
            found = self._heard[server.name].get(node.freshness._since)
            if found is None:
                return  # Before the first message, or so long ago that it isn't kept.
            sent, came, sender = found
        drift = 1 / (1 - self._world.settings.drift)
        if server.loop is not None and not server.loop.was_frozen and now - came > claimed * drift + _ROUNDED:
            self._violated(server, f"claims {claimed:.3f} s and heard {sender} {now - came:.3f} s ago")
        known_until = self._knew(sender, sent)
        behind = bisect_left(self._commit_times, known_until)
        if self._first and self._first + behind - 1 > applied:
            self._violated(
                server,
                f"shows entry {applied} and claims {claimed:.3f} s; {sender} sent at {sent:.3f} what it rests on, "
                f"and entry {self._first + behind - 1} was committed before {known_until:.3f}",
            )

    def _knew(self, leader: str, at: float) -> float:
        """Up to when a leader, who sends at `at`, must have known of all that was committed by anybody."""
        timing = self._world.timing
        # It looks at its quorum at every tick.
        unaware = (timing.election_min + timing.heartbeat / 3) / (1 - self._world.settings.drift) + _ROUNDED
        until = at - unaware
        for start, end in reversed(self._pauses.get(leader, [])):
            if start < at and end > until:
                until = min(until, start - unaware)
        return until

    def _violated(self, server: Server, text: str) -> None:
        self._world.violated("as stale as claimed", f"{server.name} {text}")


def _key(sender: str, peer: str, frame: Frame) -> tuple[object, ...]:
    """What tells a message that says how much is committed from others of its sender."""
    if frame[0] == "app":
        return sender, peer, frame[1], frame[2], frame[3], frame[5], len(frame[6])
    return sender, peer, frame[1], frame[2]
