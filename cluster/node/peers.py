"""Who is let in and who parts: the other members as the log names them, the disks they come with, what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster.api import LogError, Member
from cluster.raft.engine import CONFIGURATION
from cluster.raft.membership import Configuration

if TYPE_CHECKING:
    from cluster.node.node import Node

OTHER_DISK = "comes with another disk than the one that this cluster knows"
"""In the reason of a refusal: whoever is told so can't be a member as it is, and stops."""


class Peers:
    """`card` is what this node says of itself to whom it meets. `adopted` is the configuration that was followed last,
    `leaving` are those whose removal isn't known to be committed. `recognised`: see `Engine.recognised`."""

    def __init__(self, node: Node) -> None:
        self.card = {**node.options.meta, "raft": node.options.advertise, "configuration": "0"}
        self.adopted: Configuration | None = None
        self.leaving: tuple[Member, ...] = ()
        self.recognised = False
        self._node = node
        self._incarnations: dict[str, bytes] = {}
        self._metas: dict[str, Mapping[str, str]] = {}
        self._connected_at: dict[str, float] = {}
        self._callers: dict[str, str] = {}

    # As the log says.

    def adopt(self, configuration: Configuration) -> None:
        """The log's latest configuration is another one than before."""
        node = self._node
        before, self.adopted = self.adopted, configuration
        leaving = (*self.leaving, *before.members) if before is not None and node.engine.leads else self.leaving
        # A removal that was lost with its leadership is none: who was to leave is a member as before.
        self.leaving = tuple(m for m in leaving if configuration.member(m.name) is None)
        self.card["configuration"] = str(configuration.index)
        self._callers.clear()
        for member in before.members if before is not None else ():
            if configuration.member(member.name) is None:
                self._metas.pop(member.name, None)  # who comes back under this name is another member
        if configuration.members:
            self._set_peers()
        for member in configuration.members:
            self._keep_pinned(member.name)
        node.log.info(
            "configuration", index=configuration.index, voters=configuration.voters, learners=configuration.learners
        )

    def pin(self) -> None:
        """The first entry of a new cluster binds each first member to its disk; nothing is taken before it."""
        node = self._node
        known = self._incarnations | {node.options.name: node.incarnation}
        pinned = node.engine.configuration.pinned(known)
        node.engine.append(node.loop.time(), bytes([CONFIGURATION]) + pinned.encode())

    def part(self) -> None:
        """Once the removal of those that are leaving is committed: tell them, so that they stop, and let them go."""
        node, engine = self._node, self._node.engine
        if engine.commit_index >= engine.configuration.index:
            for member in self.leaving:
                node.send(member.name, ["gone", engine.term, engine.configuration.index])
            self.leaving = ()
            # The connection goes once what was queued on it has left.
            node.loop.call_later(node.options.timing.election_max, self._forget)

    def _forget(self) -> None:
        if self._node.running and self._node.engine.configuration.members:
            self._set_peers()

    def _set_peers(self) -> None:
        node = self._node
        members = (*node.engine.configuration.members, *self.leaving)
        peers = self._callers | {member.name: member.address for member in members}
        peers.pop(node.options.name, None)
        node.transport.set_peers(peers)

    def _keep_pinned(self, name: str) -> None:
        """Who was let in before its disk was known to this node's log may have come with another one (hole 23)."""
        node = self._node
        member = node.engine.configuration.member(name)
        if member is not None and member.incarnation and node.options.closings.pinned_incarnations:
            node.transport.keep_only(name, member.incarnation)

    # What is known of them.

    def incarnation_of(self, name: str) -> bytes:
        """The disk that a member came with when it connected to this run of this node. LogError when it never did."""
        if name not in self._incarnations:
            raise LogError(f"{name!r} was not connected to this node yet")
        return self._incarnations[name]

    def connected_since(self, name: str) -> float:
        """When (loop time) this member, which is connected, came."""
        return self._connected_at[name]

    def last_meta(self, name: str) -> Mapping[str, str]:
        """What a member said of itself when it last connected to this run of this node; empty if it never did."""
        return self._metas.get(name, {})

    # What the transport asks and tells.

    def admit(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        """Whether a member that calls, or answers, under this name is the one that the log names (hole 23)."""
        engine = self._node.engine
        configuration = engine.configuration
        member = configuration.member(name)
        # One whose removal isn't committed may have been elected without it, and undo it (Raft dissertation §4.1).
        staying = member or engine.configurations.at(engine.commit_index).member(name)
        if staying is None:
            known_there = meta.get("configuration", "")
            if known_there.isdecimal() and int(known_there) > configuration.index and "raft" in meta:
                # It knows of a later configuration than this node's log, which waits to be added or was away: whoever
                # leads may be one that it hasn't heard of (Raft dissertation §4.1).
                self._callers[name] = meta["raft"]
                self._metas[name] = meta
                self._set_peers()
                return None
            return f"{name!r} is not a member of this cluster"
        known = staying.incarnation or self._incarnations.get(name, b"")
        if known and incarnation != known and self._node.options.closings.pinned_incarnations:
            return f"{name!r} {OTHER_DISK} (was it wiped?): remove the old {name!r} first, then add it anew"
        self._incarnations[name] = incarnation
        self._metas[name] = meta
        if member is None:
            self._callers[name] = staying.address
            self._set_peers()
        return None

    def on_peer(self, peer: str, connected: bool) -> None:
        node = self._node
        node.log.info("peer_connected" if connected else "peer_lost", peer=peer)
        self._connected_at[peer] = node.loop.time()
        if (info := node.transport.peer_info(peer)) is not None and info.meta.get("configuration", "0") != "0":
            self.recognised = node.engine.recognised = True
        if connected:
            self._keep_pinned(peer)
        else:
            node.compaction.lost(peer)
        if peer == node.engine.leader:
            node.intake.lost()
            node.questions.lost()
            node.asks.lost()
        node.step(lambda: node.engine.peers_changed(node.loop.time(), node.transport.connected()))

    def on_refused(self, peer: str, reason: str) -> None:
        if OTHER_DISK in reason:
            self._node.fail(LogError(f"{peer} refuses this node: {reason}"))
